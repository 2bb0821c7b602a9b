package models

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// bundle writes a folder with these files.
func bundle(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func bottles() map[string]string {
	noise := make([]byte, 300_000)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(noise) // never fails
	return map[string]string{"manifest.json": `{"v":1}`, "labels.txt": "ok\nscratched\n", "model.onnx": string(noise), "golden/0.png": "png", "golden/deep/1.png": "png too"}
}

// contents reads a folder back.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		got[filepath.ToSlash(rel)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func pack(t testing.TB, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Pack(dir, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// put writes an archive to a file.
func put(t testing.TB, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "b.tar.zst")
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatIsPackedIsOpened(t *testing.T) {
	want := bottles()
	archive := pack(t, bundle(t, want))
	cache := filepath.Join(t.TempDir(), "cache", "models")
	dir, err := Open(put(t, archive), cache)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(archive)
	if dir != filepath.Join(cache, hex.EncodeToString(sum[:])) {
		t.Errorf("opened at %s", dir)
	}
	if got := contents(t, dir); !maps.Equal(got, want) {
		t.Errorf("got %v", slices.Collect(maps.Keys(got)))
	}
	info, err := os.Stat(filepath.Join(dir, "model.onnx"))
	if err != nil || info.Mode().Perm()&0o444 != 0o444&^umask(t) {
		t.Errorf("heron-vision, another user, could not read it: %v %v", info.Mode(), err)
	}
	noLeftovers(t, cache)
}

// umask finds out what the mode of new files lacks here.
func umask(t *testing.T) fs.FileMode {
	p := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(p, nil, 0o777); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	return 0o777 &^ info.Mode().Perm()
}

func noLeftovers(t testing.TB, cache string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(cache, tempPrefix+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestPackIsDeterministic(t *testing.T) {
	a, b := bundle(t, bottles()), bundle(t, bottles())
	if err := os.Chtimes(filepath.Join(b, "labels.txt"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(b, "model.onnx"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pack(t, a), pack(t, b)) {
		t.Error("the same files, and other bytes")
	}
}

func TestFoldersAreOpenedAsTheyAre(t *testing.T) {
	dir := bundle(t, bottles())
	cache := filepath.Join(t.TempDir(), "cache")
	got, err := Open(dir, cache)
	if err != nil || got != dir {
		t.Errorf("%s %v", got, err)
	}
	if _, err := os.Stat(cache); err == nil {
		t.Error("a cache was made for nothing")
	}
}

func TestTheSameArchiveIsUnpackedOnce(t *testing.T) {
	archive := pack(t, bundle(t, bottles()))
	cache := t.TempDir()
	first, err := Open(put(t, archive), cache)
	if err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(first, "labels.txt")
	if err := os.Chtimes(mark, time.Unix(7, 0), time.Unix(7, 0)); err != nil {
		t.Fatal(err)
	}
	second, err := Open(put(t, archive), cache)
	if err != nil || second != first {
		t.Fatalf("%s %v", second, err)
	}
	if info, err := os.Stat(mark); err != nil || info.ModTime().Unix() != 7 {
		t.Errorf("it was unpacked again: %v", err)
	}
}

func TestLeftoversAreRemovedAndHalfBundlesReplaced(t *testing.T) {
	archive := pack(t, bundle(t, bottles()))
	sum := sha256.Sum256(archive)
	cache := bundle(t, map[string]string{
		tempPrefix + "123/model.onnx":                 "half",
		hex.EncodeToString(sum[:]) + "/model.onnx":    "half, and in place: no manifest",
		"something/that/is/not/ours":                  "stays",
		strings.Repeat("ab", 32) + "/" + manifestName: "another bundle",
	})
	dir, err := Open(put(t, archive), cache)
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir); !maps.Equal(got, bottles()) {
		t.Error("not what was packed")
	}
	noLeftovers(t, cache)
	if got := contents(t, cache); got["something/that/is/not/ours"] != "stays" || got[strings.Repeat("ab", 32)+"/"+manifestName] != "another bundle" {
		t.Error("something that is no leftover was removed")
	}
}

// What a bad card makes of the unpacked files is no reason to be without a model while the archive is whole.
func TestDamagedFilesAreUnpackedAgain(t *testing.T) {
	files := bottles()
	sum := sha256.Sum256([]byte(files["model.onnx"]))
	files["manifest.json"] = fmt.Sprintf(`{"v":1,"files":[{"path":"model.onnx","size":%d,"sha256":"%x"}]}`, len(files["model.onnx"]), sum)
	archive := put(t, pack(t, bundle(t, files)))
	cache := t.TempDir()
	dir, err := Open(archive, cache)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(path string) error{
		"a bit":          func(p string) error { return flipIn(p, 1000) },
		"gone":           os.Remove,
		"cut off":        func(p string) error { return os.Truncate(p, 10) },
		"the manifest":   func(p string) error { return flipIn(filepath.Join(filepath.Dir(p), "manifest.json"), 0) },
		"no manifest":    func(p string) error { return os.Remove(filepath.Join(filepath.Dir(p), "manifest.json")) },
		"nothing at all": func(string) error { return nil },
	} {
		if err := damage(filepath.Join(dir, "model.onnx")); err != nil {
			t.Fatal(err)
		}
		if again, err := Open(archive, cache); err != nil || again != dir {
			t.Errorf("%s: %s %v", name, again, err)
		}
		if !maps.Equal(contents(t, dir), files) {
			t.Errorf("%s: not what was packed", name)
		}
	}
	noLeftovers(t, cache)
}

// flipIn changes a byte of a file.
func flipIn(path string, at int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, flip(b, at), 0o644)
}

func TestManyOpenAtOnce(t *testing.T) {
	path, cache := put(t, pack(t, bundle(t, bottles()))), t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := Open(path, cache)
			if err != nil {
				t.Error(err)
				return
			}
			if !maps.Equal(contents(t, dir), bottles()) {
				t.Error("seen before it was whole")
			}
		})
	}
	wg.Wait()
	noLeftovers(t, cache)
}

func TestALockThatIsHeldIsNotWaitedForForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), lockName)
	unlock, err := lock(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path, 30*time.Millisecond); err == nil || !strings.Contains(err.Error(), "another process has held") {
		t.Errorf("got %v", err)
	}
	unlock()
	unlock, err = lock(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

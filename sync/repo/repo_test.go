package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const phrase = "a test's passphrase"

func config(dir string) Config {
	return Config{Dir: dir, Cost: minCost, Passphrase: func(string, bool) ([]byte, error) { return []byte(phrase), nil }}
}

// made is an open repository with 2 of 3 root keys.
func made(t *testing.T) *Repo {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	if _, err := Init(config(dir), InitOptions{RootKeys: 3, Threshold: 2, Expiry: DefaultExpiry()}); err != nil {
		t.Fatal(err)
	}
	return opened(t, config(dir))
}

func opened(t *testing.T, conf Config) *Repo {
	t.Helper()
	r, err := Open(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // a test may have closed it
	return r
}

func bundle(t *testing.T, data string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bundle")
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// tree is every file below a folder with its content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			data, readErr := os.ReadFile(path)
			files[path], err = string(data), readErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestAddNeverReplacesAVersion(t *testing.T) {
	r := made(t)
	res, err := r.Add(bundle(t, "one"), "bottles/1", json.RawMessage(`{"runtime":"tflite"}`))
	if err != nil || !res.Published || !slices.Equal(res.Changed, []string{"bottles 1", "targets 2", "snapshot 2", "timestamp 2"}) {
		t.Fatalf("%+v, %v", res, err)
	}
	before := tree(t, r.conf.Dir)
	if res, err := r.Add(bundle(t, "one"), "bottles/1", nil); err != nil || res.Published || res.Note == "" {
		t.Errorf("the same again: %+v, %v", res, err)
	}
	if _, err := r.Add(bundle(t, "two"), "bottles/1", nil); err == nil {
		t.Error("other bytes under the same version were taken")
	}
	if after := tree(t, r.conf.Dir); len(after) != len(before) {
		t.Errorf("%d files became %d", len(before), len(after))
	}
	if res, err := r.Add(bundle(t, "two"), "bottles/2", nil); err != nil || !slices.Equal(res.Changed, []string{"bottles 2", "snapshot 3", "timestamp 3"}) {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestNamesThatAreRefused(t *testing.T) {
	r := made(t)
	for _, name := range []string{"", "bottles", "root/1", "targets/1", "../x/1", "Bottles/1", "bottles/../1", "bottles/", "a/b/c", "bottles/.1", strings.Repeat("a", 65) + "/1"} {
		if _, err := r.Add(bundle(t, "x"), name, nil); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if _, err := r.Add(bundle(t, ""), "bottles/1", nil); err == nil {
		t.Error("an empty bundle was taken")
	}
	if _, err := r.Add(bundle(t, "x"), "bottles/1", json.RawMessage(`{`)); err == nil {
		t.Error("a custom part that is no JSON was taken")
	}
	for file, want := range map[string]string{"/x/bottles-1.4.2.tar.zst": "bottles/1.4.2", "pet-bottles-2.tar.zst": "pet-bottles/2", "bottles.tar.zst": "", "-1.tar.zst": ""} {
		if got, err := NameOf(file); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
}

func TestDryRunWritesNothingAndAsksNothing(t *testing.T) {
	r := made(t)
	if _, err := r.Add(bundle(t, "one"), "bottles/1", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	conf := config(r.conf.Dir)
	conf.DryRun = true
	conf.Passphrase = func(string, bool) ([]byte, error) { t.Error("asked for a passphrase"); return nil, errors.New("no") }
	dry := opened(t, conf)
	before := tree(t, conf.Dir)
	for name, do := range map[string]func() (Result, error){
		"add":          func() (Result, error) { return dry.Add(bundle(t, "two"), "cans/1", nil) },
		"rotate":       func() (Result, error) { return dry.Rotate("root", Rotation{Replace: "root-1"}) },
		"family":       func() (Result, error) { return dry.Rotate("bottles", Rotation{}) },
		"refresh":      func() (Result, error) { return dry.Refresh(nil) },
		"refresh root": func() (Result, error) { return dry.Refresh([]string{"root"}) },
	} {
		if res, err := do(); err != nil || !res.DryRun || res.Published || len(res.Changed) == 0 {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}
	conf.Dir = filepath.Join(t.TempDir(), "new")
	if res, err := Init(conf, InitOptions{RootKeys: 1, Threshold: 1, Expiry: DefaultExpiry()}); err != nil || len(res.NewKeys) != 4 {
		t.Errorf("init: %+v, %v", res, err)
	}
	if _, err := os.Stat(conf.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("init --dry-run made a folder")
	}
	for path, data := range tree(t, r.conf.Dir) {
		if before[path] != data {
			t.Errorf("%s changed", path)
		}
	}
}

// Two holders in two places: the change waits, in public nothing moves, the second signature publishes it.
func TestAChangeOfRootWaitsForTheSecondHolder(t *testing.T) {
	r := made(t)
	away := t.TempDir()
	for _, name := range []string{"root-2.key", "root-3.key"} {
		if err := os.Rename(r.path(keysDir, name), filepath.Join(away, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	first := opened(t, config(r.conf.Dir))
	before := tree(t, first.Public())
	res, err := first.Rotate("timestamp", Rotation{})
	if err != nil || res.Published || len(res.Missing) != 1 || res.Missing[0].Role != "root" || res.Missing[0].Need != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	if after := tree(t, first.Public()); len(after) != len(before) {
		t.Error("something is public already")
	}
	if _, err := first.Add(bundle(t, "x"), "bottles/1", nil); !errors.Is(err, ErrStaged) {
		t.Errorf("another change on top: %v", err)
	}
	if res, err := first.Refresh(nil); err != nil || !res.Published {
		t.Errorf("timestamp could not be kept fresh meanwhile: %+v, %v", res, err)
	}
	if res, err := first.Sign(); err != nil || res.Published {
		t.Errorf("the same holder twice: %+v, %v", res, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	conf := config(r.conf.Dir)
	conf.Keys = []string{filepath.Join(away, "root-3.key")}
	second := opened(t, conf)
	if res, err := second.Sign(); err != nil || !res.Published {
		t.Fatalf("%+v, %v", res, err)
	}
	if left, err := second.stagedFiles(); err != nil || len(left) != 0 {
		t.Errorf("left in staged: %v, %v", left, err)
	}
	if res, err := second.Sign(); err != nil || res.Note == "" {
		t.Errorf("nothing to sign: %+v, %v", res, err)
	}
}

func TestDiscardDropsWhatIsStaged(t *testing.T) {
	r := made(t)
	delete(r.keys.keys, r.keyID(t, "targets-1"))
	if res, err := r.Add(bundle(t, "x"), "bottles/1", nil); err != nil || res.Published {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := r.Discard(); err != nil {
		t.Fatal(err)
	}
	if left, _ := r.stagedFiles(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func (r *Repo) keyID(t *testing.T, name string) string {
	t.Helper()
	for id, k := range r.keys.keys {
		if k.file.Name == name {
			return id
		}
	}
	t.Fatalf("no key %s", name)
	return ""
}

// A power cut after each file of a publication: the old whole or the new one is public, and sign finishes it.
func TestAPublicationCutShortIsFinishedBySign(t *testing.T) {
	for _, written := range []int{0, 1, 2, 3} {
		r := made(t)
		old := tree(t, r.Public())
		delete(r.keys.keys, r.keyID(t, "root-1"))
		delete(r.keys.keys, r.keyID(t, "root-2"))
		if res, err := r.Rotate("targets", Rotation{}); err != nil || res.Published {
			t.Fatalf("%+v, %v", res, err)
		}
		if err := r.keys.load(); err != nil {
			t.Fatal(err)
		}
		c, err := r.staged()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.signRole(c, metadata.ROOT, true); err != nil {
			t.Fatal(err)
		}
		if err := r.stage(c); err != nil {
			t.Fatal(err)
		}
		cut := []func() error{
			func() error { return write(c.sheet("targets"), r.path(metadataDir, "2.targets.json")) },
			func() error { return write(c.sheet("root"), r.path(metadataDir, "2.root.json")) },
			func() error { return os.WriteFile(r.path(metadataDir, "2.snapshot.json"), []byte("half"), 0o600) },
		}
		for _, f := range cut[:written] {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		if old[r.path(metadataDir, "timestamp.json")] != tree(t, r.Public())[r.path(metadataDir, "timestamp.json")] {
			t.Fatal("timestamp moved before its time")
		}
		if res, err := r.Sign(); err != nil || !res.Published {
			t.Fatalf("after %d files: %+v, %v", written, res, err)
		}
		s, err := r.published()
		if err != nil || s.root.Signed.Version != 2 || s.targets["targets"].Signed.Version != 2 {
			t.Errorf("after %d files: %v", written, err)
		}
	}
}

func TestRefreshSignsSnapshotWhenHalfItsLifeIsOver(t *testing.T) {
	r := made(t)
	if res, err := r.Refresh(nil); err != nil || !slices.Equal(res.Changed, []string{"timestamp 2"}) {
		t.Errorf("%+v, %v", res, err)
	}
	r.conf.Now = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	if res, err := r.Refresh(nil); err != nil || !slices.Equal(res.Changed, []string{"snapshot 2", "timestamp 3"}) {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err := r.Refresh([]string{"root", "targets"}); err != nil || !res.Published {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := r.Refresh([]string{"nobody"}); err == nil {
		t.Error("a role that does not exist was refreshed")
	}
}

func TestRotateAsksWhichKey(t *testing.T) {
	r := made(t)
	if _, err := r.Rotate("root", Rotation{}); err == nil || !strings.Contains(err.Error(), "root-1, root-2, root-3") {
		t.Errorf("%v", err)
	}
	if _, err := r.Rotate("root", Rotation{Replace: "root-9"}); err == nil {
		t.Error("a key that does not exist was replaced")
	}
	if _, err := r.Rotate("nobody", Rotation{}); err == nil {
		t.Error("a role that does not exist was rotated")
	}
	if left, _ := r.stagedFiles(); len(left) != 0 {
		t.Errorf("refusals left %v behind", left)
	}
}

func TestInitRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := InitOptions{RootKeys: 1, Threshold: 1, Expiry: DefaultExpiry()}
	if _, err := Init(config(full), good); err == nil {
		t.Error("a folder with files was taken")
	}
	for _, o := range []InitOptions{{}, {RootKeys: 2, Threshold: 3, Expiry: DefaultExpiry()}, {RootKeys: 17, Threshold: 1, Expiry: DefaultExpiry()}, {RootKeys: 1, Threshold: 1},
		{RootKeys: 1, Threshold: 1, TargetsKeys: 1, TargetsThreshold: 2, Expiry: DefaultExpiry()}, {RootKeys: 1, Threshold: 1, TargetsThreshold: 1, Expiry: DefaultExpiry()}} {
		if _, err := Init(config(filepath.Join(t.TempDir(), "r")), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	parent := t.TempDir()
	conf := config(filepath.Join(parent, "r"))
	conf.Passphrase = func(string, bool) ([]byte, error) { return []byte("short"), nil }
	if _, err := Init(conf, good); err == nil {
		t.Error("a short passphrase was taken")
	}
	if left, _ := os.ReadDir(parent); len(left) != 0 {
		t.Errorf("a refused init left %v", left)
	}
	if _, err := Open(config(parent)); err == nil {
		t.Error("a folder that is no repository was opened")
	}
}

func TestOneProcessAtATime(t *testing.T) {
	r := made(t)
	if _, err := Open(config(r.conf.Dir)); err == nil {
		t.Error("opened twice")
	}
}

func TestKeysOpenOnlyWithTheirPassphrase(t *testing.T) {
	r := made(t)
	path := r.path(keysDir, "root-1.key")
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := readKey(path)
	if err != nil {
		t.Fatal(err)
	}
	s := keystore{ask: func(string, bool) ([]byte, error) { return []byte("another passphrase"), nil }}
	if _, err := s.open(k); !errors.Is(err, ErrPassphrase) {
		t.Errorf("%v", err)
	}
	s.ask = func(string, bool) ([]byte, error) { return []byte(phrase), nil }
	priv, err := s.open(k)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(whole, priv.Seed()) {
		t.Error("the seed lies open in the file")
	}
	// A file whose name or public half was exchanged must not open: signatures would be laid at another's door.
	other, err := os.ReadFile(r.path(keysDir, "root-2.key"))
	if err != nil {
		t.Fatal(err)
	}
	var a, b keyFile
	if err := errors.Join(json.Unmarshal(whole, &a), json.Unmarshal(other, &b)); err != nil {
		t.Fatal(err)
	}
	a.Public = b.Public
	mixed, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, mixed, 0o600); err != nil {
		t.Fatal(err)
	}
	if k, err = readKey(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.open(k); !errors.Is(err, ErrPassphrase) {
		t.Errorf("mixed: %v", err)
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(`{"v":1,"name":"root-1","public":"00","kdf":"scrypt","cost":10,"salt":"AA==","cipher":"aes-256-gcm","nonce":"AA==","box":"AA=="}`))
	f.Add([]byte(`{"v":1,"name":"x","public":"` + strings.Repeat("00", 32) + `","kdf":"scrypt","cost":10,"salt":"AA==","cipher":"aes-256-gcm","nonce":"AA==","box":"AA=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "k.key")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := readKey(path)
		if err != nil || k.file.Cost > minCost {
			return
		}
		s := keystore{ask: func(string, bool) ([]byte, error) { return []byte(phrase), nil }}
		if _, err := s.open(k); err == nil {
			t.Error("opened")
		}
	})
}

func TestServeGivesRangesAndNothingElse(t *testing.T) {
	r := made(t)
	if _, err := r.Add(bundle(t, "0123456789"), "bottles/1", nil); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, r.Public()) }()
	base := "http://" + l.Addr().String()
	get := func(path, ranged string) (int, string, http.Header) {
		req, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ranged != "" {
			req.Header.Set("Range", ranged)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body), res.Header
	}
	files, err := filepath.Glob(filepath.Join(r.Public(), "targets", "bottles", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	name := "/targets/bottles/" + filepath.Base(files[0])
	if code, body, h := get(name, "bytes=4-"); code != http.StatusPartialContent || body != "456789" || h.Get("ETag") == "" {
		t.Errorf("%d %q %v", code, body, h)
	}
	for _, path := range []string{"/", "/metadata/", "/../keys/root-1.key", "/..%2fkeys%2froot-1.key", "/settings.json", "/metadata/9.root.json"} {
		if code, body, _ := get(path, ""); code != http.StatusNotFound {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

package models

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"heron/internal/delta"
)

// pair is two versions of a bundle of weights, of which the second has another last eightieth; the patch; and a fetch of the second.
type pair struct {
	old, new string // folders
	patch    string
	manifest string
	f        Fetching
}

func newPair(t *testing.T) pair {
	t.Helper()
	weights := make([]byte, 400<<10)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(weights)
	folder := func(version string) string {
		files := map[string]string{"labels.txt": "ok\nscratched\n", "golden/empty": "", "model.onnx": string(weights)}
		files[manifestName] = manifestOf("bottles", version, files)
		return bundle(t, files)
	}
	p := pair{old: folder("1.4.1")}
	_, _ = r.Read(weights[len(weights)-5<<10:])
	p.new = folder("1.4.2")
	var b bytes.Buffer
	if err := MakePatch(p.old, p.new, &b); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p.patch, p.manifest = filepath.Join(dir, "x.hdp"), filepath.Join(p.new, manifestName)
	if err := os.WriteFile(p.patch, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := Inspect(p.old)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Inspect(p.new)
	if err != nil || after.Name != "bottles" || after.Version != "1.4.2" || after.Unpacked < 400<<10 {
		t.Fatal(after, err)
	}
	custom, _ := json.Marshal(Custom{Unpacked: after.Unpacked, Manifest: after.Manifest, Deltas: []Delta{
		{From: "bottles/1.4.0", FromSHA256: digest([]byte("0")), Target: "bottles/1.4.0..1.4.2.hdp", Size: 10},
		{From: "bottles/1.4.1", FromSHA256: digest([]byte("1")), FromManifest: before.Manifest, Target: "bottles/1.4.1..1.4.2.hdp", Size: int64(b.Len())}}})
	p.f = Fetching{Offer: Offer{Target: "bottles/1.4.2", Size: 400 << 10, SHA256: digest([]byte("2")), Manifest: SignedManifest(custom), Custom: custom},
		Path: filepath.Join(dir, "incoming.tar.zst"), Have: []Bundle{{Dir: t.TempDir()}, {Dir: p.old}}}
	if int64(b.Len()) > p.f.Offer.Size*3/100 {
		t.Fatalf("the patch has %d bytes", b.Len())
	}
	return p
}

func TestABundleIsMadeByAPatch(t *testing.T) {
	p := newPair(t)
	d, base := p.f.Patch()
	if d.Target != "bottles/1.4.1..1.4.2.hdp" || base.Dir != p.old {
		t.Fatalf("%+v, %+v", d, base)
	}
	if p.f.Made() {
		t.Error("made before it was")
	}
	if err := p.f.ApplyPatch(context.Background(), base, p.manifest, p.patch); err != nil {
		t.Fatal(err)
	}
	got, err := Inspect(p.f.Path)
	if err != nil || got.Manifest != p.f.Offer.Manifest || !p.f.Made() {
		t.Errorf("%+v, %v", got, err)
	}
	if left, _ := filepath.Glob(p.f.Path + ".*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := os.WriteFile(filepath.Join(p.f.Path, "labels.txt"), []byte("scratched\nok\n"), 0o600); err != nil || p.f.Made() {
		t.Errorf("a folder that was changed since is taken: %v", err)
	}
}

func TestABaseGoesByItsArchiveToo(t *testing.T) {
	p := newPair(t)
	p.f.Have = []Bundle{{Dir: p.old, Digest: digest([]byte("1"))}}
	p.f.Offer.Custom = bytes.Replace(p.f.Offer.Custom, []byte(`"from_manifest"`), []byte(`"other"`), 1)
	if d, _ := p.f.Patch(); d.Target == "" {
		t.Error("not found by the archive's digest")
	}
}

func TestNoPatchIsChosen(t *testing.T) {
	for name, change := range map[string]func(*pair) error{
		"damaged base":         func(p *pair) error { return spoil(filepath.Join(p.old, "model.onnx")) },
		"none here":            func(p *pair) error { p.f.Have = nil; return nil },
		"no signed manifest":   func(p *pair) error { p.f.Offer.Manifest = ""; return nil },
		"too large to pay":     func(p *pair) error { p.f.Offer.Size = 6 << 10; return nil },
		"unreadable custom":    func(p *pair) error { p.f.Offer.Custom = json.RawMessage(`{"deltas":7}`); return nil },
		"another base's patch": func(p *pair) error { p.f.Have = []Bundle{{Dir: p.new}}; return nil },
	} {
		p := newPair(t)
		if err := change(&p); err != nil {
			t.Fatal(err)
		}
		if d, _ := p.f.Patch(); d.Target != "" {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func spoil(file string) error {
	b, err := os.ReadFile(file)
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(file, b, 0o600)
	}
	return err
}

func TestAPatchThatDoesNotFitLeavesNothing(t *testing.T) {
	for name, change := range map[string]func(*pair) error{
		"base damaged meanwhile": func(p *pair) error { return spoil(filepath.Join(p.old, "model.onnx")) },
		"base gone":              func(p *pair) error { return os.Remove(filepath.Join(p.old, "labels.txt")) },
		"damaged patch":          func(p *pair) error { return spoil(p.patch) },
		"another manifest":       func(p *pair) error { p.manifest = filepath.Join(p.old, manifestName); return nil },
		"base cut short":         func(p *pair) error { return os.Truncate(filepath.Join(p.old, "model.onnx"), 0) },
	} {
		p := newPair(t)
		if err := change(&p); err != nil {
			t.Fatal(err)
		}
		err := p.f.ApplyPatch(context.Background(), Bundle{Dir: p.old}, p.manifest, p.patch)
		if err == nil {
			t.Errorf("%s: applied", name)
		}
		if name == "damaged patch" && !errors.Is(err, delta.ErrPatch) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := filepath.Glob(p.f.Path + "*"); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// A signed manifest is not trusted with paths: whoever signs for one family must not write elsewhere.
func TestAManifestCannotLeaveTheFolder(t *testing.T) {
	p := newPair(t)
	for _, path := range []string{"../out", "/out", "a/../../out", manifestName, "golden"} {
		m := `{"v":1,"name":"bottles","version":"2","files":[{"path":"golden/x","size":0,"sha256":"` + digest(nil) + `"},{"path":"` + path + `","size":3,"sha256":"` + digest([]byte("abc")) + `"}]}`
		dir := t.TempDir()
		file := filepath.Join(dir, "m")
		var b bytes.Buffer
		old, err := wholeOf(p.old)
		if err = errors.Join(err, os.WriteFile(file, []byte(m), 0o600), delta.Make(old, []byte(m+"abc"), &b), os.WriteFile(p.patch, b.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
		p.f.Path, p.f.Offer.Manifest = filepath.Join(dir, "in", "x"), digest([]byte(m))
		if err := os.Mkdir(filepath.Dir(p.f.Path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := p.f.ApplyPatch(context.Background(), Bundle{Dir: p.old}, file, p.patch); err == nil {
			t.Errorf("%s: applied", path)
		}
		if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
			t.Errorf("%s was written", path)
		}
	}
}

// A folder that was damaged between being made and being verified is thrown away and had anew: no verdict on the model.
func TestAFolderThatIsNotWhatWasSignedIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.start(w.config(t.TempDir()), nil)
		defer d.stop()
		folder := filepath.Join(t.TempDir(), "x")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unpack(bytes.NewReader(w.repo["v1/1"]), folder, defaultLimits()); err != nil {
			t.Fatal(err)
		}
		about, err := Inspect(folder)
		if err != nil {
			t.Fatal(err)
		}
		w.said = map[string]Offer{"v1/1": {Size: int64(len(w.repo["v1/1"])), SHA256: digest(w.repo["v1/1"]), Manifest: about.Manifest}}
		n := 0
		w.onFetch = func(_ context.Context, f Fetching) error {
			if err := os.CopyFS(f.Path, os.DirFS(folder)); err != nil {
				return err
			}
			if n++; n == 1 {
				return spoil(filepath.Join(f.Path, "model.onnx"))
			}
			return nil
		}
		d.settle("v1/1")
		if n != 2 || len(d.Refused()) > 0 {
			t.Errorf("fetched %d times, refused %v", n, d.Refused())
		}
		d.well()
	})
}

// The disk that was reserved is what a patch may fill.
func TestAPatchMakesNoMoreThanIsSigned(t *testing.T) {
	p := newPair(t)
	m := `{"v":1,"name":"bottles","version":"2","files":[{"path":"a","size":2097152,"sha256":"` + digest(nil) + `"}]}`
	p.manifest = filepath.Join(t.TempDir(), "m")
	if err := os.WriteFile(p.manifest, []byte(m), 0o600); err != nil {
		t.Fatal(err)
	}
	p.f.Offer.Manifest = digest([]byte(m))
	if err := p.f.ApplyPatch(context.Background(), Bundle{Dir: p.old}, p.manifest, p.patch); err == nil || !strings.Contains(err.Error(), "more than are signed") {
		t.Error(err)
	}
}

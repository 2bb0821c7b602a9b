package repo

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
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
	for name, says := range map[string]string{"Bottles/1": "name in the bundle's manifest.json", "targets/1": "a role", "-b/1": "the first", "bottles/1 0": `version "1 0" of bottles`,
		"bottles/" + strings.Repeat("9", 65): "64 at most", "bottles": "FAMILY/VERSION", "mobilenet_0.25/1": "lower case"} {
		if err := CheckTarget(name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", name, err, says)
		}
	}
	if _, err := NameOf("/x/Bottles-1.0.0.tar.zst"); err == nil || !strings.Contains(err.Error(), `family "Bottles"`) {
		t.Errorf("a name that no --as helps: %v", err)
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

func TestOneProcessAtATime(t *testing.T) {
	r := made(t)
	if _, err := Open(config(r.conf.Dir)); err == nil {
		t.Error("opened twice")
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

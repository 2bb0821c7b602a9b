package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"heron/inference"
	"heron/sync/models"
)

// repoOf is a folder with a passphrase file and a bundle, and heron fleet repo over it.
func repoOf(t *testing.T) (dir string, run func(args ...string) (string, string, int)) {
	t.Helper()
	dir = t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "phrase"), []byte("a test's passphrase\n"), 0o600))
	packBundle(t, filepath.Join(dir, "bottles-1.4.2.tar.zst"), "bottles", "1.4.2", []byte("one"))
	packBundle(t, filepath.Join(dir, "bottles-1.5.0.tar.zst"), "cans", "9", []byte("two"))
	return dir, func(args ...string) (string, string, int) {
		t.Helper()
		return heron(t, append([]string{"fleet", "repo", "--repo", filepath.Join(dir, "repo"), "--passphrase-file", filepath.Join(dir, "phrase")}, args...)...)
	}
}

// packBundle writes an archive with weights as they are in the field: of floats, which hardly compress.
func packBundle(t *testing.T, archive, name, version string, weights []byte) {
	t.Helper()
	dir := t.TempDir()
	files := map[string][]byte{"labels.txt": []byte("dark\nmiddle\nbright\n"), "answers.json": []byte(`{"answers":[["dark",0.9],["middle",0.95],["bright",0.92]]}`), "weights.bin": weights}
	m := &inference.Manifest{V: 1, Name: name, Version: version, Labels: "labels.txt", Engines: []inference.EngineEntry{{Engine: "scripted", File: "answers.json"}},
		Input: inference.Input{Width: 16, Height: 16, Layout: "NHWC", DType: "uint8"}, Output: inference.Output{Kind: "probabilities", DType: "float32"}}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256(files[path])
		m.Files = append(m.Files, inference.File{Path: path, Size: int64(len(files[path])), SHA256: hex.EncodeToString(sum[:])})
		must(t, os.WriteFile(filepath.Join(dir, path), files[path], 0o600))
	}
	b, err := marshalManifest(m)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "manifest.json"), b, 0o600))
	w, err := os.Create(archive)
	must(t, err)
	must(t, errors.Join(models.Pack(dir, w), w.Close()))
}

func TestFleetRepoFromNothingToVerified(t *testing.T) {
	t.Parallel()
	notShort(t)
	dir, run := repoOf(t)
	steps := [][]string{{"init"}, {"add", filepath.Join(dir, "bottles-1.4.2.tar.zst")}, {"add", filepath.Join(dir, "bottles-1.5.0.tar.zst"), "--as", "cans/9"}, {"rotate", "timestamp"}, {"refresh"}}
	for _, step := range steps {
		if out, errOut, code := run(step...); code != exitOK || !strings.Contains(out, "published") {
			t.Fatalf("%v: %d %s%s", step, code, out, errOut)
		}
	}
	out, errOut, code := run("verify", "--json")
	var v verified
	if err := json.Unmarshal([]byte(out), &v); code != exitOK || err != nil || v.Targets != 4 || v.Bytes == 0 || len(v.Roles) != 6 {
		t.Fatalf("%d %v %s%s", code, err, out, errOut)
	}
	for _, r := range v.Roles {
		if r.Days < 2.9 || r.Version < 1 {
			t.Errorf("%+v", r)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "repo", "public", "targets", "bottles", "*.1.4.2"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte("0ne"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := run("verify"); code != exitFailed || !strings.Contains(errOut, "bottles/1.4.2") {
		t.Errorf("a changed target: %d %s", code, errOut)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := run("verify"); code != exitFailed || !strings.Contains(errOut, "target bottles/1.4.2") || !strings.Contains(errOut, "copy it back") {
		t.Errorf("a target that is gone: %d %s", code, errOut)
	}
}

func TestFleetRepoSaysWhatIsWrong(t *testing.T) {
	dir, run := repoOf(t)
	if _, errOut, code := run("add", filepath.Join(dir, "bottles-1.4.2.tar.zst")); code != exitUsage || !strings.Contains(errOut, "fleet repo init") {
		t.Errorf("no repository: %d %s", code, errOut)
	}
	if _, errOut, code := run("add", filepath.Join(dir, "phrase")); code != exitUsage || !strings.Contains(errOut, "--as") {
		t.Errorf("no name: %d %s", code, errOut)
	}
	if _, errOut, code := heron(t, "fleet", "repo", "--repo", filepath.Join(dir, "r"), "init"); code != exitUsage || !strings.Contains(errOut, "--passphrase-file") {
		t.Errorf("no terminal: %d %s", code, errOut)
	}
	if err := os.Chmod(filepath.Join(dir, "phrase"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := run("init"); code != exitUsage || !strings.Contains(errOut, "chmod 600") {
		t.Errorf("a passphrase for everybody: %d %s", code, errOut)
	}
	if err := os.Chmod(filepath.Join(dir, "phrase"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := run("init", "--root-keys", "1", "--threshold", "1"); code != exitOK {
		t.Fatal(out, errOut)
	}
	if _, errOut, code := run("verify", "--url", "http://127.0.0.1:1"); code != exitUnreachable {
		t.Errorf("no server: %d %s", code, errOut)
	}
	if err := os.WriteFile(filepath.Join(dir, "phrase"), []byte("not the passphrase\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := run("refresh"); code != exitFailed || !strings.Contains(errOut, "timestamp-1.key: wrong passphrase") {
		t.Errorf("wrong passphrase: %d %s", code, errOut)
	}
	if out, _, code := run("serve", "--dry-run"); code != exitOK || !strings.Contains(out, "127.0.0.1:8080") {
		t.Errorf("serve --dry-run: %d %s", code, out)
	}
}

func TestFleetRepoAddHoldsTheBundleToItsName(t *testing.T) {
	dir, run := repoOf(t)
	if out, errOut, code := run("init", "--root-keys", "1", "--threshold", "1"); code != exitOK {
		t.Fatal(out, errOut)
	}
	if _, errOut, code := run("add", filepath.Join(dir, "bottles-1.5.0.tar.zst")); code != exitFailed || !strings.Contains(errOut, "is cans/9 by its manifest") {
		t.Errorf("another's name: %d %s", code, errOut)
	}
	must(t, os.WriteFile(filepath.Join(dir, "bottles-1.6.0.tar.zst"), []byte("one"), 0o600))
	if _, errOut, code := run("add", filepath.Join(dir, "bottles-1.6.0.tar.zst")); code != exitFailed || !strings.Contains(errOut, "bottles-1.6.0.tar.zst") {
		t.Errorf("no bundle: %d %s", code, errOut)
	}
	must(t, os.WriteFile(filepath.Join(dir, "list.json"), []byte("[1]"), 0o600))
	if _, errOut, code := run("add", filepath.Join(dir, "bottles-1.4.2.tar.zst"), "--custom", filepath.Join(dir, "list.json")); code != exitFailed || !strings.Contains(errOut, "JSON object") {
		t.Errorf("custom: %d %s", code, errOut)
	}
	if _, errOut, code := run("add", filepath.Join(dir, "bottles-1.4.2.tar.zst"), "--delta-from", "17"); code != exitUsage || !strings.Contains(errOut, "--delta-from") {
		t.Errorf("too many patches: %d %s", code, errOut)
	}
}

func TestFleetRepoRotateChangesHowManyMustSign(t *testing.T) {
	t.Parallel()
	notShort(t)
	dir, run := repoOf(t)
	for _, step := range [][]string{{"init", "--root-keys", "1", "--threshold", "1", "--targets-keys", "2", "--targets-threshold", "2"},
		{"add", filepath.Join(dir, "bottles-1.4.2.tar.zst")}, {"rotate", "bottles", "--add", "--threshold", "2"}, {"rotate", "targets", "--remove", "targets-2", "--threshold", "1"}} {
		if out, errOut, code := run(step...); code != exitOK || !strings.Contains(out, "published") {
			t.Fatalf("%v: %d %s%s", step, code, out, errOut)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"--add", "--remove", "bottles-1"}, exitUsage, "at a time"},
		{[]string{"--threshold", "0"}, exitUsage, "--threshold 0"},
		{[]string{"--threshold", "3"}, exitUsage, "2 keys of bottles with a threshold of 3"},
		{[]string{"--remove", "bottles-1"}, exitUsage, "1 keys of bottles with a threshold of 2"},
		{nil, exitUsage, "--replace (bottles-1, bottles-2)"},
	} {
		if _, errOut, code := run(append([]string{"rotate", "bottles"}, c.args...)...); code != c.code || !strings.Contains(errOut, c.say) {
			t.Errorf("%v: %d %s", c.args, code, errOut)
		}
	}
	if out, _, code := run("rotate", "bottles", "--remove", "bottles-1", "--threshold", "1", "--dry-run"); code != exitOK || !strings.Contains(out, "would change bottles 3, targets 5") {
		t.Errorf("%d %s", code, out)
	}
}

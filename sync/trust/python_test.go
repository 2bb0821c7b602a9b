package trust_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/sync/repo"
	"heron/sync/trust"
)

// python is an interpreter that has python-tuf, the framework's reference implementation: PyPI tuf and securesystemslib[crypto].
type python string

// havePython is looked for once a test: an interpreter takes half a second to find its modules.
func havePython(t *testing.T) python {
	t.Helper()
	program := os.Getenv("HERON_TEST_PYTHON")
	if program == "" {
		program = "python3"
	}
	if out, err := exec.Command(program, "-c", "import tuf.ngclient, cryptography").CombinedOutput(); err != nil {
		t.Skipf("no python-tuf (pip install tuf 'securesystemslib[crypto]', and HERON_TEST_PYTHON): %v %s", err, bytes.TrimSpace(out))
	}
	return python(program)
}

// run is a script of testdata, and its last words.
func (p python) run(script string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, string(p), append([]string{filepath.Join("testdata", script)}, args...)...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		err = errors.Join(err, errors.New(errs.String()))
	}
	return strings.TrimSpace(string(out)), err
}

func TestReadsARepositoryThatPythonWrote(t *testing.T) {
	t.Parallel()
	py := havePython(t)
	for _, how := range []string{"", "later", "shared"} {
		c := py.writes(t, how)
		info, err := c.Target(context.Background(), "bottles/1.4.2")
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		var custom map[string]any
		if err := json.Unmarshal(info.Custom, &custom); err != nil || custom["runtime"] != "tflite" {
			t.Errorf("custom %s, %v", info.Custom, err)
		}
		file := filepath.Join(t.TempDir(), "bundle")
		if err := trust.NewHTTP(nil).Download(context.Background(), info, file); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != "a model in a bottle" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := py.writes(t, "short").Target(context.Background(), "bottles/1.4.2"); !errors.Is(err, trust.ErrThreshold) {
		t.Errorf("one signature of two: %v", err)
	}
}

// writes is a device at a repository that write_repo.py wrote.
func (p python) writes(t *testing.T, how string) *trust.Client {
	t.Helper()
	dir := t.TempDir()
	if out, err := p.run("write_repo.py", dir, how); err != nil {
		t.Fatal(out, err)
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(srv.Close)
	root, err := os.ReadFile(filepath.Join(dir, "metadata", "1.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := trust.Open(trust.Config{Dir: t.TempDir(), Root: root, MetadataURL: srv.URL + "/metadata", TargetsURL: srv.URL + "/targets"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Two keys of targets, both of which must sign; after each kind of rotation, a client that goes on and one that is new.
func TestPythonReadsARepositoryThatHeronWrote(t *testing.T) {
	t.Parallel()
	py := havePython(t)
	want := map[string]string{"bottles/1.4.2": "first", "bottles/1.5.0+exp.1": "second", "cans/1": "third"}
	r := published(t, filepath.Join(t.TempDir(), "repo"), want)
	srv := httptest.NewServer(http.FileServer(http.Dir(r.Public())))
	defer srv.Close()
	first := filepath.Join(r.Public(), "metadata", "1.root.json")
	known := t.TempDir()
	reads := func(when, cache, name string) {
		t.Helper()
		path, err := py.run("read_repo.py", srv.URL, first, cache, name)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want[name] {
			t.Errorf("%s: %s: %q, %v", when, name, got, err)
		}
	}
	reads("at first", known, "bottles/1.4.2")
	for _, step := range []struct {
		role string
		o    repo.Rotation
	}{
		{"timestamp", repo.Rotation{}}, {"snapshot", repo.Rotation{}}, {"bottles", repo.Rotation{}}, {"bottles", repo.Rotation{Add: true, Threshold: 2}},
		{"targets", repo.Rotation{Replace: "targets-1"}}, {"targets", repo.Rotation{Add: true, Threshold: 3}}, {"targets", repo.Rotation{Remove: "targets-2", Threshold: 2}},
		{"root", repo.Rotation{Replace: "root-2"}}, {"root", repo.Rotation{Add: true, Threshold: 3}}, {"root", repo.Rotation{Remove: "root-1", Threshold: 2}},
	} {
		when := fmt.Sprintf("after %s %+v", step.role, step.o)
		if _, err := r.Rotate(step.role, step.o); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		reads(when, known, "bottles/1.4.2")
	}
	for name := range want {
		reads("anew", t.TempDir(), name)
	}
	if _, err := py.run("read_repo.py", srv.URL, first, t.TempDir(), "bottles/9"); err == nil {
		t.Error("python found a target that nobody signed")
	}
}

// published makes a repository with these targets.
func published(t *testing.T, dir string, targets map[string]string) *repo.Repo {
	t.Helper()
	conf := repo.Config{Dir: dir, Cost: 10, Passphrase: func(string, bool) ([]byte, error) { return []byte("a test's passphrase"), nil }}
	if _, err := repo.Init(conf, repo.InitOptions{RootKeys: 3, Threshold: 2, TargetsKeys: 2, TargetsThreshold: 2, Expiry: repo.DefaultExpiry()}); err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, data := range targets {
		file := filepath.Join(t.TempDir(), "bundle")
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Add(file, name, nil); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// The device follows the publisher through additions and rotations, and learns the time from what was signed.
func TestFollowsAHeronRepository(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	r := published(t, dir, map[string]string{"bottles/1": "one"})
	srv := httptest.NewServer(http.FileServer(http.Dir(r.Public())))
	defer srv.Close()
	root, err := os.ReadFile(filepath.Join(r.Public(), "metadata", "1.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := trust.Open(trust.Config{Dir: t.TempDir(), Root: root, MetadataURL: srv.URL + "/metadata", TargetsURL: srv.URL + "/targets", Now: func() time.Time { return time.Unix(0, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Target(context.Background(), "bottles/1"); err != nil {
		t.Fatal(err)
	}
	if age := time.Since(c.State().Floor); age < 0 || age > time.Hour {
		t.Errorf("the floor is %s old: the field in timestamp has another name here than there", age)
	}
	for role, o := range map[string]repo.Rotation{"timestamp": {}, "bottles": {}, "snapshot": {}, "targets": {Replace: "targets-2"}} {
		if _, err := r.Rotate(role, o); err != nil {
			t.Fatal(err)
		}
		if err := c.Refresh(context.Background()); err != nil {
			t.Fatalf("after the rotation of %s: %v", role, err)
		}
		if _, err := c.Target(context.Background(), "bottles/1"); err != nil {
			t.Fatalf("after the rotation of %s: %v", role, err)
		}
	}
	all, err := c.All(context.Background())
	if err != nil || len(all) != 1 || all[0].Size != 3 {
		t.Errorf("%v, %v", all, err)
	}
}

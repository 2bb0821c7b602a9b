package trust_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// python runs a script of testdata with python-tuf, the framework's reference implementation: PyPI tuf and securesystemslib[crypto].
func python(t *testing.T, script string, args ...string) (string, error) {
	t.Helper()
	program := os.Getenv("HERON_TEST_PYTHON")
	if program == "" {
		program = "python3"
	}
	if out, err := exec.Command(program, "-c", "import tuf.ngclient, cryptography").CombinedOutput(); err != nil {
		t.Skipf("no python-tuf (pip install tuf 'securesystemslib[crypto]', and HERON_TEST_PYTHON): %v %s", err, bytes.TrimSpace(out))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, append([]string{filepath.Join("testdata", script)}, args...)...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		err = errors.Join(err, errors.New(errs.String()))
	}
	return strings.TrimSpace(string(out)), err
}

func TestReadsARepositoryThatPythonWrote(t *testing.T) {
	for _, later := range []bool{false, true} {
		dir := t.TempDir()
		args := []string{dir}
		if later {
			args = append(args, "later")
		}
		if out, err := python(t, "write_repo.py", args...); err != nil {
			t.Fatal(out, err)
		}
		srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
		defer srv.Close()
		root, err := os.ReadFile(filepath.Join(dir, "metadata", "1.root.json"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := trust.Open(trust.Config{Dir: t.TempDir(), Root: root, MetadataURL: srv.URL + "/metadata", TargetsURL: srv.URL + "/targets"})
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Target(context.Background(), "bottles/1.4.2")
		if err != nil {
			t.Fatal(err)
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
}

func TestPythonReadsARepositoryThatHeronWrote(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	r := published(t, dir, map[string]string{"bottles/1.4.2": "first", "bottles/1.5.0+exp.1": "second", "cans/1": "third"})
	for _, role := range []string{"timestamp", "snapshot", "targets", "bottles"} {
		if _, err := r.Rotate(role, repo.Rotation{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Rotate("root", repo.Rotation{Replace: "root-2"}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(r.Public())))
	defer srv.Close()
	first := filepath.Join(r.Public(), "metadata", "1.root.json")
	for name, want := range map[string]string{"bottles/1.4.2": "first", "bottles/1.5.0+exp.1": "second", "cans/1": "third"} {
		path, err := python(t, "read_repo.py", srv.URL, first, t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := python(t, "read_repo.py", srv.URL, first, t.TempDir(), "bottles/9"); err == nil {
		t.Error("python found a target that nobody signed")
	}
}

// published makes a repository with these targets.
func published(t *testing.T, dir string, targets map[string]string) *repo.Repo {
	t.Helper()
	conf := repo.Config{Dir: dir, Cost: 10, Passphrase: func(string, bool) ([]byte, error) { return []byte("a test's passphrase"), nil }}
	if _, err := repo.Init(conf, repo.InitOptions{RootKeys: 3, Threshold: 2, Expiry: repo.DefaultExpiry()}); err != nil {
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
	for _, role := range []string{"timestamp", "bottles", "snapshot", "targets"} {
		if _, err := r.Rotate(role, repo.Rotation{}); err != nil {
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

package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

func TestExitCodesAndOneLine(t *testing.T) {
	f := newField(t, nobody, "pictures:pictures")
	f.write(t, "bad.yaml", "cameras: []\n")
	pic := filepath.Join(f.dir, "pictures/0.png")
	bundle := filepath.Join(f.dir, "bundle")
	vision := "--vision=" + os.Args[0]
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"unknown command", []string{"fly"}, 2, "fly"},
		{"unknown flag", []string{"run", "--fast"}, 2, "fast"},
		{"no configuration", []string{"run", "--config", "/nowhere.yaml"}, 2, "/nowhere.yaml"},
		{"bad configuration", []string{"check", filepath.Join(f.dir, "bad.yaml")}, 2, "cameras"},
		{"classify without a model", []string{"classify", pic}, 2, "--model"},
		{"classify without a picture", []string{"classify", "--model", bundle}, 2, "classify"},
		{"no such model", []string{"classify", vision, "--model", "/nowhere", pic}, 1, "/nowhere"},
		{"no such engine", []string{"classify", vision, "--model", bundle, "--engine", "abacus", pic}, 1, "abacus"},
		{"no heron-vision", []string{"classify", "--vision", "/nowhere/heron-vision", "--model", bundle, pic}, 2, "/nowhere/heron-vision"},
		{"a picture whose name is no text", []string{"classify", vision, "--model", bundle, filepath.Join(f.dir, "caf\xe9.png")}, 1, "not UTF-8"},
		{"no outbox", []string{"outbox", "verify", "--file", "/nowhere.db"}, 1, "/nowhere.db"},
		{"outbox without a name", []string{"outbox", "verify"}, 2, "--file"},
		{"completion for no shell", []string{"completion", "tcsh"}, 2, "tcsh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, msg, code := heron(t, c.args...)
			if code != c.code || !strings.Contains(msg, c.says) {
				t.Errorf("exit %d, want %d: %s", code, c.code, msg)
			}
			if c.name != "bad configuration" && !strings.HasPrefix(c.name, "a picture") { // an excerpt follows there, and how many pictures were not classified
				oneLine(t, msg)
			}
		})
	}
}

func TestClassifyAnswersALineAPicture(t *testing.T) {
	f := newField(t, nobody, "pictures:pictures")
	bundle := filepath.Join(f.dir, "bundle")
	out, msg, code := heron(t, "classify", "--json", "--vision", os.Args[0], "--model", bundle,
		filepath.Join(f.dir, "pictures/0.png"), filepath.Join(f.dir, "none.png"), bundle+"/labels.txt", filepath.Join(f.dir, "pictures/2.png"))
	if code != 1 {
		t.Errorf("exit %d with two bad pictures, want 1: %s", code, msg)
	}
	want := []string{"dark", "", "", "bright"}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines: %s", len(lines), out)
	}
	for i, line := range lines {
		var a struct {
			Picture, Engine, Error string
			Top                    [][2]any
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case want[i] == "" && a.Error == "":
			t.Errorf("%s: no error", a.Picture)
		case want[i] != "" && (len(a.Top) == 0 || a.Top[0][0] != want[i] || a.Engine != "scripted"):
			t.Errorf("%s: %+v, want %s", a.Picture, a, want[i])
		}
	}
}

// A command that is over with its answer promises nothing for later, when a model takes heron-vision down.
func TestOneShotCommandsPromiseNoOtherTry(t *testing.T) {
	f := newField(t, nobody, "pictures:pictures")
	f.write(t, "bundle/labels.txt", "dark\nabort\n")
	f.write(t, "bundle/answers.json", `{"answers":[["abort",0.9]]}`)
	bundle := filepath.Join(f.dir, "bundle")
	for _, args := range [][]string{
		{"classify", "--model", bundle, "--vision", os.Args[0], filepath.Join(f.dir, "pictures/0.png")},
		{"accel", "bench", "--model", bundle, "--vision", os.Args[0], "--for", "1s"},
	} {
		out, msg, code := heron(t, args...)
		if said := out + msg; code != exitFailed || !strings.Contains(said, "took heron-vision down 2 times") || !strings.Contains(said, "use another model") || strings.Contains(said, "tried again") {
			t.Errorf("%s: exit %d, %s", args[0], code, said)
		}
	}
}

// Nothing can be told of a file that is no outbox: zeros with exit code 0 would be taken for an empty one.
func TestOutboxOfAnotherFile(t *testing.T) {
	f := newField(t, nobody, "pictures:pictures")
	f.write(t, "text.db", "hello, I am no outbox\n")
	f.write(t, "empty.db", "")
	other, err := bbolt.Open(filepath.Join(f.dir, "other.db"), 0o600, nil)
	if err == nil {
		err = errors.Join(other.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte("people"))
			return errors.Join(err, b.Put([]byte("ann"), []byte("bee")))
		}), other.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"text.db", "empty.db", "other.db"} {
		for _, what := range []string{"stats", "verify", "export"} {
			_, msg, code := heron(t, "outbox", what, "--file", filepath.Join(f.dir, name))
			if code != exitFailed || !strings.Contains(msg, name) || strings.Contains(msg, "deliver the rest") {
				t.Errorf("%s %s: %d %s", what, name, code, msg)
			}
			oneLine(t, msg)
		}
	}
}

func TestVersionAndCompletion(t *testing.T) {
	if out, _, code := heron(t, "version", "--json"); code != 0 || !strings.Contains(out, `"version"`) {
		t.Errorf("version: %d %s", code, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, _, code := heron(t, "completion", shell); code != 0 || !strings.Contains(out, "heron") {
			t.Errorf("%s: %d", shell, code)
		}
	}
	if out, _, code := heron(t, "--help"); code != 0 || !strings.Contains(out, "classify") {
		t.Errorf("help: %d %s", code, out)
	}
}

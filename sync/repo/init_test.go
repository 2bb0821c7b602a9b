package repo

import (
	"os"
	"path/filepath"
	"testing"
)

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

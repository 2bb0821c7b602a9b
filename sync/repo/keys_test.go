package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
}

// A file whose name or public half was exchanged must not open: signatures would be laid at another's door.
func TestAKeyFileMixedFromTwoDoesNotOpen(t *testing.T) {
	r := made(t)
	path := r.path(keysDir, "root-1.key")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
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
	k, err := readKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.keys.open(k); !errors.Is(err, ErrPassphrase) {
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

// A key that nobody asked to be cheap costs a thief what docs/operations/repository.md says: 64 MiB a guess.
func TestKeysAreDear(t *testing.T) {
	dir := t.TempDir()
	s := fresh(Config{Dir: dir, Passphrase: func(string, bool) ([]byte, error) { return []byte("a test's passphrase"), nil }}).keys
	s.keys = map[string]*key{}
	k, err := s.generate("root", false)
	if err != nil {
		t.Fatal(err)
	}
	if memory := 128 * 8 << k.file.Cost; memory != 64<<20 {
		t.Errorf("a guess takes %d bytes", memory)
	}
	k.priv = nil
	if _, err := s.open(k); err != nil {
		t.Error(err)
	}
}

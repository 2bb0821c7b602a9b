package trust

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFault_U4_ArbitrarySoftware(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.target("targets", "bottles/1", []byte("the signed bytes"))
	s.publish("targets", "snapshot", "timestamp")
	c := s.refreshed(t.TempDir())
	info, err := c.Target(context.Background(), "bottles/1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bundle")
	for _, bad := range []string{"the signed byteS", "the signed byte", "the signed bytes and more", ""} {
		s.edit(func(f map[string][]byte) { f[strings.TrimPrefix(info.URLs[0], s.url+"/")] = []byte(bad) })
		if err := NewHTTP(nil).Download(context.Background(), info, file); !errors.Is(err, ErrMismatch) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	s.edit(func(f map[string][]byte) { f[strings.TrimPrefix(info.URLs[0], s.url+"/")] = []byte("the signed bytes") })
	if err := NewHTTP(nil).Download(context.Background(), info, file); err != nil {
		t.Error(err)
	}
	if _, err := c.Target(context.Background(), "bottles/2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a target that nobody signed: %v", err)
	}
}

func TestFault_U4_EndlessData(t *testing.T) {
	s := newSim(t)
	s.target("targets", "bottles/1", []byte("small"))
	s.publish("targets", "snapshot", "timestamp")
	c := s.refreshed(t.TempDir())
	info, err := c.Target(context.Background(), "bottles/1")
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan int, 64)
	s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		n := 0
		for chunk := make([]byte, 64<<10); n < 64<<20; n += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				break
			}
		}
		sent <- n
		return true
	}
	refuses(t, c, ErrMismatch)
	if n := <-sent; n >= 64<<20 {
		t.Errorf("the client listened to %d bytes of a root", n)
	}
	if err := NewHTTP(nil).Download(context.Background(), info, filepath.Join(t.TempDir(), "b")); !errors.Is(err, ErrMismatch) {
		t.Errorf("target: %v", err)
	}
	if n := <-sent; n >= 64<<20 {
		t.Errorf("the client listened to %d bytes of a target of 5", n)
	}
}

func TestFault_U4_HostileMirror(t *testing.T) {
	good := newSim(t)
	good.target("targets", "bottles/1", []byte("one"))
	good.publish("targets", "snapshot", "timestamp")
	dir := t.TempDir()
	good.refreshed(dir)
	for _, c := range []struct {
		name string
		kind error
		say  func(http.ResponseWriter, *http.Request)
	}{
		{"500", ErrNetwork, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }},
		{"cut off", ErrNetwork, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "400")
			_, _ = w.Write([]byte("{"))
		}},
		{"a page of HTML", ErrMalformed, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>log in</html>") }},
		{"to another host", ErrNetwork, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.2:1/", http.StatusFound)
		}},
		{"round and round", ErrNetwork, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }},
		{"nothing there", ErrNotFound, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }},
		{"deep JSON", ErrMalformed, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("[", 15000)) }},
		{"null", ErrMalformed, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "null") }},
		{"empty", ErrMalformed, func(http.ResponseWriter, *http.Request) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			good.answer = func(w http.ResponseWriter, r *http.Request) bool { c.say(w, r); return true }
			defer func() { good.answer = nil }()
			refuses(t, good.client(dir), c.kind)
		})
	}
	good.refreshed(dir)
}

// Each byte of each file on the way, changed: nothing else is ever trusted.
func TestFault_U4_HostileMirrorFlipsEveryByte(t *testing.T) {
	s := newSim(t)
	s.target("targets", "bottles/1", []byte("one"))
	s.publish("root", "targets", "snapshot", "timestamp")
	for _, name := range []string{"2.root", "timestamp", "2.snapshot", "2.targets"} {
		path := "metadata/" + name + ".json"
		whole := s.files[path]
		step := max(1, len(whole)/150)
		for i := 0; i < len(whole); i += step {
			bad := bytes.Clone(whole)
			bad[i] ^= 0x04
			s.edit(func(f map[string][]byte) { f[path] = bad })
			dir := t.TempDir()
			if err := s.client(dir).Refresh(context.Background()); err == nil {
				if got := (store{dir}).read(strings.TrimLeft(name, "2.")); !harmless(got, whole) {
					t.Fatalf("%s with byte %d changed (%q) was trusted", name, i, bad[max(0, i-20):min(len(bad), i+20)])
				}
			}
		}
		s.edit(func(f map[string][]byte) { f[path] = whole })
	}
}

// harmless: outside what is signed, and the same once decoded.
func harmless(got, whole []byte) bool {
	a, b := bytes.Index(got, []byte(`"signed":`)), bytes.Index(whole, []byte(`"signed":`))
	return a >= 0 && b >= 0 && bytes.Equal(got[a:], whole[b:])
}

// Before any signature is looked at: what the library below does not survive must be a refusal all the same.
func TestFault_U4_HostileMirrorSendsNulls(t *testing.T) {
	const head = `{"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z",`
	for _, body := range []string{`"targets":{"a":null}}`, `"targets":null}`, `"targets":{},"delegations":null}`, `"targets":{},"delegations":{"keys":{"a":null},"roles":null}}`,
		`"targets":{},"delegations":{"keys":null,"roles":[null]}}`} {
		s := newSim(t)
		s.put("1.targets", []byte(head+body+`,"signatures":[]}`))
		if err := s.client(t.TempDir()).Refresh(context.Background()); err == nil {
			t.Errorf("%s was trusted", body)
		}
	}
}

func TestFault_U5_CacheDamagedOrGone(t *testing.T) {
	s := newSim(t)
	s.delegate("targets", "bottles", true, "bottles/*")
	s.target("bottles", "bottles/1", []byte("one"))
	s.publish("root", "bottles", "targets", "snapshot", "timestamp")
	for _, file := range []string{"root.json", "timestamp.json", "snapshot.json", "targets.json", "bottles.json", "floor.a", "floor.b", "all"} {
		for how, damage := range map[string]func(string) error{
			"deleted": os.Remove,
			"empty":   func(p string) error { return os.Truncate(p, 0) },
			"cut":     func(p string) error { return os.Truncate(p, 40) },
			"noise":   func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte{0xA5}, 500), 0o600) },
			"huge":    func(p string) error { return os.Truncate(p, 1<<30) },
		} {
			t.Run(file+" "+how, func(t *testing.T) {
				dir := t.TempDir()
				c := s.refreshed(dir)
				if _, err := c.Target(context.Background(), "bottles/1"); err != nil {
					t.Fatal(err)
				}
				files := []string{file}
				if file == "all" {
					files = []string{"root.json", "timestamp.json", "snapshot.json", "targets.json", "bottles.json", "floor.a", "floor.b"}
				}
				for _, f := range files {
					if err := damage(filepath.Join(dir, f)); err != nil {
						t.Fatal(err)
					}
				}
				if info, err := s.client(dir).Target(context.Background(), "bottles/1"); err != nil || info.Size != 3 {
					t.Errorf("%+v, %v", info, err)
				}
			})
		}
	}
}

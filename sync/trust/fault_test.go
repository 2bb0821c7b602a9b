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
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// refuses asserts that a refresh ends with an error of one kind.
func refuses(t *testing.T, c *Client, kind error) {
	t.Helper()
	if err := c.Refresh(context.Background()); !errors.Is(err, kind) {
		t.Errorf("refresh: %v; it should be refused because: %v", err, kind)
	}
}

func TestFault_U4_Rollback(t *testing.T) {
	old := func(s *sim, name string) []byte { return s.files["metadata/"+name+".json"] }
	for _, c := range []struct {
		name   string
		attack func(s *sim) func()
	}{
		{"timestamp", func(s *sim) func() {
			was := old(s, "timestamp")
			s.publish("timestamp")
			return func() { s.put("timestamp", was) }
		}},
		{"snapshot named by a newer timestamp", func(s *sim) func() {
			s.publish("snapshot", "timestamp")
			return func() { s.timestamp.Signed.Meta["snapshot.json"].Version = 1; s.publish("timestamp") }
		}},
		{"targets named by a newer snapshot", func(s *sim) func() {
			s.publish("targets", "snapshot", "timestamp")
			return func() { s.snapshot.Signed.Meta["targets.json"].Version = 1; s.publish("snapshot", "timestamp") }
		}},
		{"a role that is gone from the snapshot", func(s *sim) func() {
			s.delegate("targets", "bottles", true, "bottles/*")
			s.publish("bottles", "targets", "snapshot", "timestamp")
			return func() { delete(s.snapshot.Signed.Meta, "bottles.json"); s.publish("snapshot", "timestamp") }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, dir := newSim(t), t.TempDir()
			attack := c.attack(s)
			client := s.refreshed(dir)
			attack()
			refuses(t, client, ErrRollback)
			refuses(t, s.client(dir), ErrRollback) // after a restart too
		})
	}
}

func TestFault_U4_RollbackAfterTheCacheIsGone(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	old := s.files["metadata/timestamp.json"]
	s.publish("root", "targets", "snapshot", "timestamp")
	s.refreshed(dir)
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		if err := os.Remove(filepath.Join(dir, role+".json")); err != nil {
			t.Fatal(err)
		}
	}
	s.put("timestamp", old)
	refuses(t, s.client(dir), ErrRollback)
	s.edit(func(f map[string][]byte) { delete(f, "metadata/2.root.json") })
	refuses(t, s.client(dir), ErrRollback)
}

func TestFault_U4_Freeze(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.timestamp.Signed.Expires = day0.Add(3 * day)
	s.target("targets", "bottles/1", []byte("one"))
	s.publish("targets", "snapshot", "timestamp")
	c := s.refreshed(dir)
	s.now = day0.Add(4 * day)
	refuses(t, c, ErrExpired)
	if _, err := c.Target(context.Background(), "bottles/1"); !errors.Is(err, ErrExpired) {
		t.Errorf("a target from expired metadata: %v", err)
	}
	s.timestamp.Signed.Expires = day0.Add(9 * day)
	s.publish("timestamp")
	if err := c.Refresh(context.Background()); err != nil {
		t.Errorf("fresh again: %v", err)
	}
}

// What was fresh at the last refresh is not fresh for ever.
func TestFault_U4_FreezeWithoutAnyRefresh(t *testing.T) {
	s := newSim(t)
	s.target("targets", "bottles/1", []byte("one"))
	s.publish("targets", "snapshot", "timestamp")
	c := s.refreshed(t.TempDir())
	s.now = day0.Add(31 * day)
	if _, err := c.Target(context.Background(), "bottles/1"); !errors.Is(err, ErrExpired) {
		t.Errorf("%v", err)
	}
}

func TestFault_U4_MixAndMatch(t *testing.T) {
	for _, role := range []string{"snapshot", "targets"} {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			s.publish("targets", "snapshot", "timestamp")
			s.edit(func(f map[string][]byte) { f["metadata/2."+role+".json"] = f["metadata/1."+role+".json"] })
			refuses(t, s.client(t.TempDir()), ErrMismatch)
		})
	}
	t.Run("same version, other bytes", func(t *testing.T) {
		s := newSim(t)
		meta := metadata.MetaFile(1)
		meta.Hashes = metadata.Hashes{"sha256": bytes.Repeat([]byte{7}, 32)}
		s.snapshot.Signed.Meta["targets.json"] = meta
		s.publish("snapshot", "timestamp")
		refuses(t, s.client(t.TempDir()), ErrMismatch)
	})
}

func TestFault_U4_FastForward(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.timestamp.Signed.Version, s.snapshot.Signed.Version = 1_000_000, 1_000_000
	s.publish("snapshot", "timestamp")
	s.refreshed(dir) // the thief of the online keys has burnt a million versions
	s.timestamp.Signed.Version, s.snapshot.Signed.Version = 1, 1
	s.publish("snapshot", "timestamp")
	refuses(t, s.client(dir), ErrRollback)
	s.rotate("snapshot")
	s.rotate("timestamp")
	s.publish("root", "snapshot", "timestamp")
	s.refreshed(dir)
	if v := version(t, dir, "snapshot"); v != 3 {
		t.Errorf("snapshot %d after the recovery", v)
	}
	s.timestamp.Signed.Version = 1
	s.publish("timestamp")
	refuses(t, s.client(dir), ErrRollback) // and from there on no way back again
}

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

func TestFault_U4_WrongThreshold(t *testing.T) {
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			s.addKey(role)
			s.root.Signed.Roles[role].Threshold = 2
			s.publish("root")
			s.signers[role] = s.signers[role][:1]
			s.publish("targets", "snapshot", "timestamp")
			refuses(t, s.client(t.TempDir()), ErrThreshold)
		})
	}
	t.Run("one key under two names", func(t *testing.T) {
		s := newSim(t)
		role := s.root.Signed.Roles["timestamp"]
		twin := *s.root.Signed.Keys[role.KeyIDs[0]]
		s.root.Signed.Keys["twin"] = &twin
		role.KeyIDs, role.Threshold = append(role.KeyIDs, "twin"), 2
		s.publish("root")
		var doc *metadata.Metadata[metadata.TimestampType]
		doc, err := parse[metadata.TimestampType]("timestamp", signed(s, "timestamp", s.timestamp))
		if err != nil {
			t.Fatal(err)
		}
		again := doc.Signatures[0]
		again.KeyID = "twin"
		doc.Signatures = append(doc.Signatures, again)
		data, err := doc.ToBytes(false)
		if err != nil {
			t.Fatal(err)
		}
		s.put("timestamp", data)
		refuses(t, s.client(t.TempDir()), ErrThreshold)
	})
	t.Run("a root that the old keys did not sign", func(t *testing.T) {
		s := newSim(t)
		s.root.Signed.Roles["root"].KeyIDs, s.signers["root"] = nil, nil
		s.addKey("root")
		s.publish("root")
		refuses(t, s.client(t.TempDir()), ErrThreshold)
	})
	t.Run("a threshold of zero", func(t *testing.T) {
		s := newSim(t)
		s.root.Signed.Roles["timestamp"].Threshold = 0
		s.signers["timestamp"] = nil
		s.publish("root", "timestamp")
		refuses(t, s.client(t.TempDir()), ErrThreshold)
	})
}

// A key of a kind that is not known, or cut short, neither counts nor stops the others.
func TestKeysThatCannotBeUsedArePassedOver(t *testing.T) {
	s := newSim(t)
	s.root.Signed.Keys["new"] = &metadata.Key{Type: "ml-dsa", Scheme: "ml-dsa", Value: metadata.KeyVal{PublicKey: "00"}}
	s.root.Signed.Keys["cut"] = &metadata.Key{Type: "ed25519", Scheme: "ed25519", Value: metadata.KeyVal{PublicKey: "0011"}}
	role := s.root.Signed.Roles["timestamp"]
	role.KeyIDs = append([]string{"new", "cut", "gone"}, role.KeyIDs...)
	s.publish("root", "timestamp")
	s.refreshed(t.TempDir())
}

func TestFault_U4_RotationOverFiveRoots(t *testing.T) { rotationOverFiveRoots(t) }

func TestFault_U14_KeysRotatedWhileOfflineForAYear(t *testing.T) { rotationOverFiveRoots(t) }

func rotationOverFiveRoots(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.refreshed(dir)
	for i := range 6 {
		s.root.Signed.Expires = day0.Add(time.Duration(i+2) * 60 * day) // each but the last has expired when the device comes back
		s.rotate("root")
		s.publish("root")
		s.signers["root"] = s.signers["root"][:1]
		s.rotate("timestamp")
		s.rotate("targets")
	}
	s.root.Signed.Expires = day0.Add(500 * day)
	end := day0.Add(380 * day)
	s.timestamp.Signed.Expires, s.snapshot.Signed.Expires, s.targets["targets"].Signed.Expires = end, end, end
	s.publish("root", "targets", "snapshot", "timestamp")
	s.now = day0.Add(370 * day)
	c := s.refreshed(dir)
	if v := c.State().Roles[0].Version; v != 8 {
		t.Errorf("root %d", v)
	}
	s.requests()
	s.refreshed(dir)
	if asked := s.requests(); len(asked) != 2 || asked[0] != "metadata/9.root.json" {
		t.Errorf("the walk was not remembered: %v", asked)
	}
}

func TestFault_U4_ExpiredEverything(t *testing.T) {
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			past := day0.Add(-time.Second)
			switch role {
			case "root":
				s.root.Signed.Expires = past
			case "timestamp":
				s.timestamp.Signed.Expires = past
			case "snapshot":
				s.snapshot.Signed.Expires = past
			case "targets":
				s.targets[role].Signed.Expires = past
			}
			s.publish("root", "targets", "snapshot", "timestamp")
			refuses(t, s.client(t.TempDir()), ErrExpired)
		})
	}
	t.Run("a family", func(t *testing.T) {
		s := newSim(t)
		s.delegate("targets", "bottles", true, "bottles/*")
		s.targets["bottles"].Signed.Expires = day0.Add(-time.Second)
		s.target("bottles", "bottles/1", []byte("one"))
		s.publish("bottles", "targets", "snapshot", "timestamp")
		if _, err := s.client(t.TempDir()).Target(context.Background(), "bottles/1"); !errors.Is(err, ErrExpired) {
			t.Error(err)
		}
	})
}

func TestFault_U13_Clock1970(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.timestamp.Signed.Expires = day0.Add(3 * day)
	s.publish("timestamp")
	s.refreshed(dir)
	// The device was on for five more days: the floor is what it last saw, and the mirror still serves the old.
	s.now = day0.Add(5 * day)
	s.timestamp.Signed.Expires = day0.Add(8 * day)
	s.publish("timestamp")
	s.refreshed(dir)
	s.timestamp.Signed.Expires = day0.Add(3 * day)
	s.publish("timestamp")
	s.now = time.Unix(0, 0)
	c := s.client(dir)
	refuses(t, c, ErrExpired)
	if st := c.State(); !st.Now.Equal(day0.Add(5 * day)) {
		t.Errorf("the reference time is %s", st.Now)
	}
	// A device that has never seen anything knows when its program was built.
	fresh, err := Open(Config{Dir: t.TempDir(), Root: s.first, MetadataURL: s.url + "/metadata", Built: day0.Add(4 * day), Now: func() time.Time { return time.Unix(0, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, fresh, ErrExpired)
	// And with good metadata a clock in 1970 does no harm.
	s.timestamp.Signed.Expires = day0.Add(9 * day)
	s.timestamp.Signed.UnrecognizedFields = map[string]any{IssuedField: day0.Add(6 * day).Format(time.RFC3339)}
	s.publish("timestamp")
	if c = s.refreshed(dir); !c.State().Floor.Equal(day0.Add(6 * day)) {
		t.Errorf("floor %s: the signed time was not taken", c.State().Floor)
	}
}

// A clock that was once in the future, or a stolen timestamp key, must not lock the device out for good.
func TestFault_U13_ClockInTheFuture(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.refreshed(dir)
	s.now = day0.Add(80 * 365 * day)
	refuses(t, s.client(dir), ErrExpired)
	s.now = day0
	s.refreshed(dir)
	s.timestamp.Signed.Expires = day0.Add(9000 * day)
	s.timestamp.Signed.UnrecognizedFields = map[string]any{IssuedField: day0.Add(8000 * day).Format(time.RFC3339)}
	s.publish("timestamp")
	c := s.refreshed(dir)
	if f := c.State().Floor; f.After(day0.Add(day)) {
		t.Errorf("the floor went to %s, past the expiry of root", f)
	}
	s.refreshed(dir)
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

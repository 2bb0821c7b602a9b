package trust

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// family is a repository with one delegated role that signs one target.
func family(t *testing.T) *sim {
	t.Helper()
	s := newSim(t)
	s.delegate("targets", "bottles", true, "bottles/*")
	s.target("bottles", "bottles/1", []byte("one"))
	s.publish("bottles", "targets", "snapshot", "timestamp")
	return s
}

// endless answers for one file with data that do not end, and tells how much of it was taken, at most limit.
func (s *sim) endless(file string, limit int) <-chan int {
	sent := make(chan int, 1)
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/"+file+".json") {
			return false
		}
		n := 0
		for chunk := make([]byte, 64<<10); n < limit; n += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				break
			}
		}
		sent <- n
		return true
	}
	return sent
}

func TestFault_U4_EndlessDataOnEachFile(t *testing.T) {
	const most = 64 << 20
	for _, name := range []string{"2.root", "timestamp", "2.snapshot", "2.targets", "1.bottles"} {
		for _, announced := range []int64{0, 1 << 60} { // nothing, or more than a device has room for
			t.Run(name+" "+strconv.FormatInt(announced, 10), func(t *testing.T) {
				s := family(t)
				if m := s.snapshot.Signed.Meta[name[strings.IndexByte(name, '.')+1:]+".json"]; m != nil {
					m.Length = announced
					s.snapshot.Signed.Version = 1 // and 2 again
					s.publish("snapshot")
				}
				if name == "2.snapshot" {
					s.timestamp.Signed.Meta["snapshot.json"].Length = announced
				}
				s.publish("timestamp")
				sent := s.endless(name, most)
				if _, err := s.client(t.TempDir()).Target(context.Background(), "bottles/1"); !errors.Is(err, ErrMismatch) {
					t.Error(err)
				}
				if n := <-sent; n >= most {
					t.Errorf("the client listened to %d bytes", n)
				}
			})
		}
	}
}

func TestLengthsThatSnapshotAndTimestampAnnounce(t *testing.T) {
	for _, c := range []struct {
		name string
		say  func(is int64) int64
		kind error
	}{
		{"nothing", func(int64) int64 { return 0 }, nil},
		{"as it is", func(is int64) int64 { return is }, nil},
		{"one less", func(is int64) int64 { return is - 1 }, ErrMismatch},
		{"one more", func(is int64) int64 { return is + 1 }, ErrMismatch},
		{"negative", func(int64) int64 { return -1 }, ErrMismatch},
	} {
		for _, role := range []string{"snapshot", "targets", "bottles"} {
			t.Run(role+" "+c.name, func(t *testing.T) {
				s := family(t)
				if role == "snapshot" {
					s.timestamp.Signed.Meta["snapshot.json"].Length = c.say(int64(len(s.files["metadata/2.snapshot.json"])))
				} else {
					m := s.snapshot.Signed.Meta[role+".json"]
					m.Length = c.say(int64(len(s.files["metadata/"+strconv.FormatInt(m.Version, 10)+"."+role+".json"])))
					s.publish("snapshot")
				}
				s.publish("timestamp")
				if _, err := s.client(t.TempDir()).Target(context.Background(), "bottles/1"); !errors.Is(err, c.kind) {
					t.Error(err)
				}
			})
		}
	}
}

// Each case wants two signatures and is given those of one key, dressed up as two.
func TestFault_U4_OneKeyNeverCountsTwice(t *testing.T) {
	twin := func(keys map[string]*metadata.Key, id string) string { // the same key under a name that is not its digest
		k := *keys[id]
		keys["twin"] = &k
		return "twin"
	}
	twice := func(list []metadata.Signature, id string) []metadata.Signature {
		again := list[0]
		again.KeyID = id
		return append(list, again)
	}
	for _, c := range []struct {
		name string
		kind error
		ids  func(keys map[string]*metadata.Key, ids []string) []string
		sign func(list []metadata.Signature, ids []string) []metadata.Signature
	}{
		{"the key is listed twice", ErrThreshold, func(_ map[string]*metadata.Key, ids []string) []string { return append(ids, ids[0]) }, nil},
		{"it signs twice", ErrMalformed, nil, func(l []metadata.Signature, ids []string) []metadata.Signature { return twice(l, ids[0]) }},
		{"another has not signed", ErrThreshold, nil, func(l []metadata.Signature, ids []string) []metadata.Signature { return twice(l, "somebody") }},
		{"it has two names", ErrThreshold, func(keys map[string]*metadata.Key, ids []string) []string { return append(ids, twin(keys, ids[0])) },
			func(l []metadata.Signature, _ []string) []metadata.Signature { return twice(l, "twin") }},
	} {
		for _, role := range []string{"targets", "bottles"} {
			t.Run(role+", "+c.name, func(t *testing.T) {
				s := family(t)
				keys, ids, threshold := s.root.Signed.Keys, &s.root.Signed.Roles["targets"].KeyIDs, &s.root.Signed.Roles["targets"].Threshold
				if role == "bottles" {
					d := s.targets["targets"].Signed.Delegations
					keys, ids, threshold = d.Keys, &d.Roles[0].KeyIDs, &d.Roles[0].Threshold
				}
				if *threshold = 2; c.ids != nil {
					*ids = c.ids(keys, *ids)
				}
				s.publish("root", "targets", "bottles")
				if c.sign != nil {
					doc, err := parse[metadata.TargetsType](role, signed(s, role, s.targets[role]))
					if err != nil {
						t.Fatal(err)
					}
					doc.Signatures = c.sign(doc.Signatures, *ids)
					data, err := doc.ToBytes(false)
					if err != nil {
						t.Fatal(err)
					}
					s.put(strconv.FormatInt(doc.Signed.Version, 10)+"."+role, data)
				}
				s.publish("snapshot", "timestamp")
				if _, err := s.client(t.TempDir()).Target(context.Background(), "bottles/1"); !errors.Is(err, c.kind) {
					t.Error(err)
				}
			})
		}
	}
}

// An identity is a name within what was signed. Where it is not the key's digest it counts like any other; it opens nothing to another key.
func TestAnIdentityThatIsNotTheKeysDigest(t *testing.T) {
	for _, other := range []bool{false, true} {
		s := newSim(t)
		role := s.root.Signed.Roles["timestamp"]
		k := s.root.Signed.Keys[role.KeyIDs[0]]
		if other {
			k = tufKey(newKey()) // under the name of the key that signs
		} else {
			delete(s.root.Signed.Keys, role.KeyIDs[0])
			role.KeyIDs[0] = "a name"
		}
		s.root.Signed.Keys[role.KeyIDs[0]] = k
		s.publish("root")
		doc, err := parse[metadata.TimestampType]("timestamp", signed(s, "timestamp", s.timestamp))
		if err != nil {
			t.Fatal(err)
		}
		doc.Signatures[0].KeyID = role.KeyIDs[0]
		data, err := doc.ToBytes(false)
		if err != nil {
			t.Fatal(err)
		}
		s.put("timestamp", data)
		err = s.client(t.TempDir()).Refresh(context.Background())
		if other != errors.Is(err, ErrThreshold) || !other && err != nil {
			t.Errorf("another's key: %v: %v", other, err)
		}
	}
}

func TestFortyDeepDelegationsEnd(t *testing.T) {
	s := newSim(t)
	from, roles := "targets", []string{}
	for i := range 40 {
		role := "r" + strconv.Itoa(i)
		s.delegate(from, role, false, "*/*")
		s.target(role, "deep/"+strconv.Itoa(i), []byte("x"))
		from, roles = role, append(roles, role)
	}
	s.delegate(from, "r0", false, "*/*") // and round
	s.publish(append(roles, "targets", "snapshot", "timestamp")...)
	c := s.refreshed(t.TempDir())
	if _, err := c.Target(context.Background(), "deep/20"); err != nil {
		t.Errorf("20 deep: %v", err)
	}
	s.requests()
	if _, err := c.Target(context.Background(), "deep/39"); !errors.Is(err, ErrNotFound) {
		t.Errorf("40 deep: %v", err)
	}
	if n := len(s.requests()); n > maxDelegation {
		t.Errorf("%d roles were asked for", n)
	}
}

func TestTargetNamesThatLeaveTheirFolder(t *testing.T) {
	s := newSim(t)
	s.delegate("targets", "bottles", true, "bottles/*", "../*", "bottles/../*", "*")
	names := []string{"..", ".", "../up", "bottles/..", "bottles/../../etc/passwd", "./bottles", "/bottles/1", "bottles//1", "bottles/", ""}
	for _, name := range names {
		s.target("bottles", name, []byte("x"))
	}
	s.publish("bottles", "targets", "snapshot", "timestamp")
	c := s.refreshed(t.TempDir())
	for _, name := range names {
		if info, err := c.Target(context.Background(), name); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %+v, %v", name, info, err)
		}
	}
	if _, err := c.All(context.Background()); !errors.Is(err, ErrMalformed) {
		t.Errorf("All: %v", err)
	}
}

// Names are bytes: another case, another normal form or a quoted slash is another name.
func TestTargetNamesAreComparedByteForByte(t *testing.T) {
	s := newSim(t)
	s.delegate("targets", "bottles", true, "bottles/*", "größe/*")
	there := []string{"bottles/Straße", "bottles/a b?c#d", "bottles/%2e%2e%2fx", "größe/1"}
	for _, name := range there {
		s.target("bottles", name, []byte(name))
	}
	s.edit(func(f map[string][]byte) { // the server has them under their quoted names
		for _, name := range there {
			for path, data := range f {
				if strings.HasPrefix(path, "targets/") && string(data) == name {
					f["targets/"+escapePath(strings.TrimPrefix(path, "targets/"))] = data
				}
			}
		}
	})
	s.publish("bottles", "targets", "snapshot", "timestamp")
	c := s.refreshed(t.TempDir())
	for _, name := range there {
		info, err := c.Target(context.Background(), name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if err := NewHTTP(nil).Check(context.Background(), info); err != nil {
			t.Errorf("%q at %s: %v", name, info.URLs[0], err)
		}
	}
	for _, name := range []string{"bottles/strasse", "Bottles/Straße", "bottles/STRASSE", "gro\u0308ße/1", "bottles\uff0fStraße", "bottles%2fStraße", "bottles/../x"} {
		if info, err := c.Target(context.Background(), name); err == nil {
			t.Errorf("%q: %+v", name, info)
		}
	}
}

// The thief of the timestamp key says something else under a version that is known: what was known stays.
func TestFault_U4_TimestampOfTheSameVersionWithOtherBytes(t *testing.T) {
	s, dir := family(t), t.TempDir()
	s.timestamp.Signed.Expires = day0.Add(3 * day)
	s.publish("timestamp")
	c := s.refreshed(dir)
	was := store{dir}.read("timestamp")
	s.publish("snapshot")
	s.timestamp.Signed.Version--
	s.timestamp.Signed.Expires = day0.Add(20 * day)
	s.publish("timestamp")
	for _, device := range []*Client{c, s.client(dir)} {
		if err := device.Refresh(context.Background()); err != nil {
			t.Error(err)
		}
		if v := device.State().Roles[2].Version; v != 2 || string(was) != string(store{dir}.read("timestamp")) {
			t.Errorf("snapshot %d was taken from it", v)
		}
	}
	s.now = day0.Add(4 * day)
	refuses(t, c, ErrExpired) // nor does it live longer
}

// A power cut leaves the file that was being written beside the one it was to replace.
func TestFault_U5_WhatWasHalfWrittenIsRemoved(t *testing.T) {
	s, dir := family(t), t.TempDir()
	s.refreshed(dir)
	half := []string{".root.json123", ".timestamp.json9", ".floor.a77", ".floor.b0"}
	for _, name := range half {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(`{"signed":`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.refreshed(dir)
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if slices.Contains(half, f.Name()) {
			t.Errorf("%s is still there", f.Name())
		}
	}
}

// One family whose holder has let it expire is no reason to refuse another's target.
func TestAnExpiredFamilyDoesNotStopAnother(t *testing.T) {
	s := family(t)
	s.delegate("targets", "cans", true, "cans/*")
	s.target("cans", "cans/1", []byte("one"))
	s.targets["bottles"].Signed.Expires = day0.Add(day)
	s.publish("cans", "bottles", "targets", "snapshot", "timestamp")
	c := s.refreshed(t.TempDir())
	if _, err := c.Target(context.Background(), "bottles/1"); err != nil {
		t.Fatal(err)
	}
	s.now = day0.Add(2 * day)
	if _, err := c.Target(context.Background(), "bottles/1"); !errors.Is(err, ErrExpired) {
		t.Errorf("bottles: %v", err)
	}
	if _, err := c.Target(context.Background(), "cans/1"); err != nil {
		t.Errorf("cans: %v", err)
	}
}

// A mirror that drips holds a refresh no longer than its caller allows.
func TestFault_U4_SlowRetrieval(t *testing.T) {
	s := newSim(t)
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		for range 600 {
			_, err := w.Write([]byte(" "))
			if err != nil || http.NewResponseController(w).Flush() != nil || r.Context().Err() != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.client(t.TempDir()).Refresh(ctx); !errors.Is(err, ErrNetwork) {
		t.Error(err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

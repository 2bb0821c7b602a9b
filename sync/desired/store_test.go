package desired

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heron/sync/message"
)

const (
	groupDoc  = `{"v":1,"rev":30,"issued_by":"anna","models":[{"slot":"main","target":"bottles/1"},{"slot":"caps","target":"caps/1"}],"config":{"rev":1,"patch":{}}}`
	deviceDoc = `{"v":1,"rev":2,"models":[{"slot":"main","target":"bottles/2"}],"firmware":{"target":"heron/2"}}`
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, Address{"acme", "dev-1"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func take(t *testing.T, s *Store, source, doc string, want bool) {
	t.Helper()
	if news, err := s.Take(source, []byte(doc)); news != want || err != nil {
		t.Errorf("%s %s: news %v, %v", source, doc, news, err)
	}
}

func words(r Resolved) string {
	var w []string
	for _, m := range r.Models {
		w = append(w, m.Slot+"="+m.Target+"@"+m.Source)
	}
	return strings.Join(w, " ")
}

func TestDeviceWinsOverGroupSlotBySlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "desired.json")
	s := open(t, path)
	if r := s.Resolved(); len(r.Models) != 0 || r.Config != nil || r.Firmware != nil {
		t.Errorf("%+v", r)
	}
	take(t, s, Group, groupDoc, true)
	first := s.Resolved()
	take(t, s, Device, deviceDoc, true)
	r := s.Resolved()
	if words(r) != "caps=caps/1@group main=bottles/2@device" || r.Config.Source != Group || r.Firmware.Target != "heron/2" || r.Models[0].By != "anna" {
		t.Errorf("%s, %+v", words(r), r)
	}
	if r.Models[0].Order != first.Models[0].Order || r.Models[1].Order <= first.Models[1].Order {
		t.Errorf("orders %+v, then %+v: only that of main should rise", first.Models, r.Models)
	}
	again := open(t, path) // a restart
	if got := again.Resolved(); words(got) != words(r) || got.Models[1].Order != r.Models[1].Order || again.Rev(Group) != 30 || again.Rev(Device) != 2 {
		t.Errorf("after a restart: %+v", got)
	}
	take(t, again, Device, "", true) // deleted: the group's counts, and is news, though its rev is old
	if got := again.Resolved(); words(got) != "caps=caps/1@group main=bottles/1@group" || got.Models[1].Order <= r.Models[1].Order {
		t.Errorf("after deletion: %+v", got)
	}
	take(t, again, Device, "", false)
	take(t, again, Device, deviceDoc, false) // an old copy does not come back
	take(t, open(t, path), Device, strings.Replace(deviceDoc, `"rev":2`, `"rev":3`, 1), true)
}

func TestLowerOrEqualRevIsIgnored(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "desired.json"))
	take(t, s, Group, groupDoc, true)
	for _, rev := range []string{"30", "29", "1"} {
		take(t, s, Group, strings.Replace(groupDoc, "30", rev, 1), false)
	}
	if s.Ignored() != 3 || s.Rev(Group) != 30 {
		t.Errorf("%d ignored, rev %d", s.Ignored(), s.Rev(Group))
	}
	take(t, s, Group, strings.Replace(groupDoc, "30", "31", 1), true)
}

// Q10: garbage on the topic changes nothing and is told, until something better comes.
func TestQ10GarbageChangesNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "desired.json"))
	take(t, s, Device, deviceDoc, true)
	for _, junk := range []string{"\xff\xff", "{", `{"v":1,"rev":99,"models":[{"slot":"main","target":"../x"}]}`, strings.Repeat(" ", message.MaxDocument+1)} {
		if news, err := s.Take(Device, []byte(junk)); news || err == nil || s.Problem() == "" {
			t.Errorf("%.20q: %v, %v, %q", junk, news, err, s.Problem())
		}
	}
	if words(s.Resolved()) != "main=bottles/2@device" || s.Rev(Device) != 2 {
		t.Errorf("%+v", s.Resolved())
	}
	take(t, s, Device, deviceDoc, false)
	if s.Problem() != "" {
		t.Errorf("still told: %s", s.Problem())
	}
}

func TestDamagedFileIsPutAside(t *testing.T) {
	for _, content := range []string{"", "{", `{"v":2}`, `{"v":1,"docs":{"group":{"rev":1,"doc":{"v":1,"rev":0}}},"slots":{}}`, "\x00\x00\x00"} {
		path := filepath.Join(t.TempDir(), "desired.json")
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Address{"acme", "dev-1"})
		if err == nil {
			t.Fatalf("%q: no error", content)
		}
		take(t, s, Group, groupDoc, true)
		if len(open(t, path).Resolved().Models) != 2 {
			t.Errorf("%q: not usable afterwards", content)
		}
		if _, err := os.Stat(path + ".bad"); err != nil {
			t.Error(err)
		}
	}
}

// What the disk does not keep is not believed: after a restart it would be gone.
func TestDiskThatDoesNotKeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	s := open(t, filepath.Join(dir, "desired.json"))
	if news, err := s.Take(Group, []byte(groupDoc)); news || err == nil || len(s.Resolved().Models) != 0 || s.Rev(Group) != 0 || s.Problem() == "" {
		t.Errorf("%v, %v, %+v", news, err, s.Resolved())
	}
	if news, err := s.Again(); news || err == nil || s.Problem() == "" {
		t.Errorf("still no room: %v, %v", news, err)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if news, err := s.Again(); !news || err != nil || len(s.Resolved().Models) == 0 || s.Rev(Group) == 0 || s.Problem() != "" {
		t.Errorf("room again, and the broker sends nothing: %v, %v, %+v, %q", news, err, s.Resolved(), s.Problem())
	}
	if news, err := s.Again(); news || err != nil {
		t.Errorf("taken twice: %v %v", news, err)
	}
}

// What was deleted or followed by another meanwhile is not taken up again.
func TestWhatIsNotKeptIsSuperseded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	s := open(t, filepath.Join(dir, "desired.json"))
	if _, err := s.Take(Group, []byte(groupDoc)); err == nil {
		t.Fatal("kept without a folder")
	}
	if news, err := s.Take(Group, nil); news || err != nil {
		t.Fatal(news, err)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if news, err := s.Again(); news || err != nil || len(s.Resolved().Models) != 0 {
		t.Errorf("%v, %v, %+v", news, err, s.Resolved())
	}
}

// A device that moves to another group takes that group's documents, whatever number the old one had come to; and asks nothing of the old.
func TestStoreOfAnotherGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "desired.json")
	open := func(of Address) *Store {
		t.Helper()
		s, err := Open(path, of)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	take := func(s *Store, source, doc string) {
		t.Helper()
		if news, err := s.Take(source, []byte(doc)); !news || err != nil {
			t.Fatalf("%s %s: %v, %v", source, doc, news, err)
		}
	}
	s := open(Address{"acme", "dev-1"})
	take(s, Group, `{"v":1,"rev":900,"models":[{"slot":"main","target":"bottles/2"}]}`)
	take(s, Device, `{"v":1,"rev":7,"models":[{"slot":"lid","target":"lids/2"}]}`)
	order := s.Resolved().Models[1].Order
	if r := open(Address{"acme", "dev-1"}).Resolved(); len(r.Models) != 2 {
		t.Errorf("the same again: %+v", r)
	}
	if s = open(Address{"acme", "dev-2"}); len(s.Resolved().Models) != 1 || s.Rev(Group) != 900 || s.Rev(Device) != 0 {
		t.Errorf("another device of the group: %+v", s.Resolved())
	}
	if s = open(Address{"beta", "dev-2"}); len(s.Resolved().Models) != 0 || s.Rev(Group) != 0 {
		t.Errorf("another group: %+v, rev %d", s.Resolved(), s.Rev(Group))
	}
	s = open(Address{"beta", "dev-2"}) // it is kept
	take(s, Group, `{"v":1,"rev":1,"models":[{"slot":"main","target":"bottles/1"}]}`)
	if r := s.Resolved(); len(r.Models) != 1 || r.Models[0].Target != "bottles/1" || r.Models[0].Order <= order {
		t.Errorf("its own: %+v, after order %d", r, order)
	}
}

// What an earlier version wrote says not whose it is: it is the present one's.
func TestStoreOfAnEarlierVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "desired.json")
	if err := os.WriteFile(path, []byte(`{"v":1,"docs":{"group":{"rev":4,"doc":{"v":1,"rev":4,"models":[{"slot":"main","target":"bottles/2"}]}}},"order":3,"slots":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(path, Address{"acme", "dev-1"}); err != nil || s.Rev(Group) != 4 {
		t.Errorf("%v, %+v", err, s)
	}
	if s, err := Open(path, Address{"beta", "dev-1"}); err != nil || s.Rev(Group) != 0 {
		t.Errorf("moved: %v, %+v", err, s)
	}
}

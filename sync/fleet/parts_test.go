package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"heron/sync/message"
)

var t0 = time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC)

func TestNext(t *testing.T) {
	p := Plan{Percent: []float64{5, 25, 100}, Wait: message.Duration(10 * time.Minute), MaxFailed: 2, MinConfirmed: 95, Salt: "s"}
	for _, c := range []struct {
		name    string
		wave    int
		after   time.Duration
		c       Counts
		decided bool
		state   string
		to      int
	}{
		{"nobody has answered", 0, time.Hour, Counts{Devices: 100, Online: 100, Unanswered: 100}, false, Running, 0},
		{"all good, too early", 0, time.Minute, Counts{Devices: 100, Online: 100, Selected: 5, Confirmed: 5, SelectedOnline: 5, ConfirmedOnline: 5}, false, Running, 0},
		{"all good", 0, 10 * time.Minute, Counts{Devices: 100, Online: 100, Selected: 5, Confirmed: 5, SelectedOnline: 5, ConfirmedOnline: 5}, true, Running, 1},
		{"as many failed as may, not enough confirmed", 0, time.Hour, Counts{Devices: 100, Online: 100, Selected: 5, Confirmed: 3, Failed: 2, SelectedOnline: 5, ConfirmedOnline: 3}, false, Running, 0},
		{"as many failed as may, enough confirmed", 1, time.Hour, Counts{Devices: 200, Online: 200, Selected: 50, Confirmed: 48, Failed: 2, SelectedOnline: 50, ConfirmedOnline: 48}, true, Running, 2},
		{"one more failed, at once", 0, time.Second, Counts{Devices: 100, Online: 100, Selected: 5, Failed: 3, SelectedOnline: 5}, true, Paused, 0},
		{"one more failed, all offline", 0, time.Second, Counts{Devices: 100, Selected: 5, Failed: 3}, true, Paused, 0},
		{"half has not answered", 0, time.Hour, Counts{Devices: 100, Online: 100, Unanswered: 50, Selected: 2, Confirmed: 2, SelectedOnline: 2, ConfirmedOnline: 2}, false, Running, 0},
		{"the selected are offline", 0, time.Hour, Counts{Devices: 100, Online: 95, Selected: 5, Pending: 5}, false, Running, 0},
		{"nobody is selected", 0, time.Hour, Counts{Devices: 10, Online: 10}, true, Running, 1},
		{"nobody was ever selected before the last wave", 1, time.Hour, Counts{Devices: 10, Online: 10}, true, Paused, 1},
		{"nobody is selected in the last wave, either", 2, time.Hour, Counts{Devices: 10, Online: 10}, true, Paused, 2},
		{"nobody is online", 0, time.Hour, Counts{Devices: 10}, false, Running, 0},
		{"last wave, all confirmed: no wait", 2, time.Second, Counts{Devices: 10, Online: 10, Selected: 10, Confirmed: 10, SelectedOnline: 10, ConfirmedOnline: 10}, true, Done, 2},
		{"last wave, enough, one is still at it", 2, time.Minute, Counts{Devices: 100, Online: 100, Selected: 100, Confirmed: 99, Pending: 1, SelectedOnline: 100, ConfirmedOnline: 99}, false, Running, 2},
		{"the same, after the wait", 2, time.Hour, Counts{Devices: 100, Online: 100, Selected: 100, Confirmed: 99, Pending: 1, SelectedOnline: 100, ConfirmedOnline: 99}, true, Done, 2},
		{"devices with a document of their own do not count", 0, time.Hour, Counts{Devices: 10, Online: 10, Own: 9, Selected: 1, Confirmed: 1, SelectedOnline: 1, ConfirmedOnline: 1}, true, Running, 1},
	} {
		r := Rollout{V: 1, Slot: "main", Target: "a/1", Plan: p, State: Running, At: Position{Wave: c.wave, Rev: 3, Since: t0}}
		if got := r.Next(t0.Add(c.after), c.c, []string{"dev-1 refused why"}); got != c.decided || r.State != c.state || r.At.Wave != c.to {
			t.Errorf("%s: decided %v, %s in wave %d (%s)", c.name, got, r.State, r.At.Wave, r.Reason)
		}
		if c.decided && len(r.History) != 1 {
			t.Errorf("%s: %d entries in the history", c.name, len(r.History))
		}
	}
	r := Rollout{State: Paused, Plan: p}
	if r.Next(t0, Counts{Failed: 9}, nil) {
		t.Error("a paused rollout decided something")
	}
}

func TestFate(t *testing.T) {
	r := Rollout{Slot: "main", Target: "a/2", At: Position{Rev: 5, FirstRev: 4}}
	doc := func(rev int64, s message.ReportedSlot) Device {
		s.Slot = "main"
		return Device{Reported: &message.Reported{GroupRev: rev, Slots: []message.ReportedSlot{s}}}
	}
	of := func(step string) message.ReportedSlot {
		return message.ReportedSlot{Source: "group", Target: "a/2", Step: step}
	}
	refused := of(message.StepRefused)
	refused.Refused = []message.Refusal{{Target: "a/9", Reason: "another"}, {Target: "a/2", Step: "tried", Reason: "slow\x1b[2J"}}
	outside, left, cannot := of(message.StepWaiting), of(message.StepWaiting), of(message.StepWaiting)
	cannot.Decision, cannot.Error = "refused", "no repository is configured"
	outside.Decision, left.Decision = "outside-window", notChosen
	own := of(message.StepConfirmed)
	own.Source = "device"
	held := doc(5, of(message.StepOffered))
	held.Reported.Hold = &message.Hold{Until: t0}
	for _, c := range []struct {
		name    string
		d       Device
		want    Outcome
		detail  string
		current bool
	}{
		{"silent", Device{}, Unanswered, "", false},
		{"answers an older rollout", doc(3, of(message.StepConfirmed)), Unanswered, "", false},
		{"answers an earlier wave", doc(4, of(message.StepConfirmed)), Confirmed, "", false},
		{"confirmed", doc(5, of(message.StepConfirmed)), Confirmed, "", true},
		{"on its way", doc(5, of(message.StepFetched)), Pending, "", true},
		{"refused", doc(5, refused), RefusedIt, "[tried] slow [2J", true},
		{"rolled back", doc(5, of(message.StepRolledBack)), WentBack, "", true},
		{"failed", doc(5, of(message.StepFailed)), Failed, "", true},
		{"outside its window", doc(5, outside), Pending, "outside-window", true},
		{"cannot begin", doc(5, cannot), RefusedIt, "no repository is configured", true},
		{"not drawn", doc(5, left), NotSelected, notChosen, true},
		{"not drawn, names what it has", doc(5, message.ReportedSlot{Source: "group", Target: "a/1", Step: message.StepWaiting, Decision: notChosen}), NotSelected, notChosen, true},
		{"speaks of another target", doc(5, message.ReportedSlot{Source: "group", Target: "a/1", Step: message.StepConfirmed}), Unanswered, "", false},
		{"own document", doc(5, own), OwnDocument, "", true},
		{"own document, says nothing of the group's", doc(0, own), OwnDocument, "", false},
		{"held", held, Pending, "held until 13:00", true},
		{"no such slot", Device{Reported: &message.Reported{GroupRev: 5}}, Failed, "the device has no slot main", true},
	} {
		if f := r.Fate(c.d); f.Outcome != c.want || f.Detail != c.detail || f.Current != c.current {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

// The books agree with a count by brute force, whatever order and however often records come.
func TestBooksCountRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		came := rapid.SliceOfN(rapid.Uint64Range(1, 60), 1, 80).Draw(t, "seqs")
		from := rapid.Uint64Range(1, 60).Draw(t, "from")
		to := rapid.Uint64Range(from, 60).Draw(t, "to")
		b, seen := NewBooks(), map[uint64]bool{}
		first, last, again := uint64(1000), uint64(0), uint64(0)
		take := func(seq uint64, rest string) {
			b.Take(Line{Group: "g", Device: "d", Epoch: "e", Record: json.RawMessage(fmt.Sprintf(`{"seq":%d%s}`, seq, rest))})
			if seen[seq] {
				again++
			}
			seen[seq] = true
			first, last = min(first, seq), max(last, seq)
		}
		for _, s := range came {
			take(s, "")
		}
		take(61, fmt.Sprintf(`,"gap":{"from":%d,"to":%d,"reason":"restart","lost_at_most":3}`, from, to))
		missing, owned := uint64(0), uint64(0)
		for s := first; s <= last; s++ {
			switch {
			case seen[s]:
			case s >= from && s <= to:
				owned++
			default:
				missing++
			}
		}
		r := b.Rows()[0]
		if r.First != first || r.Last != last || r.Missing != missing || r.Owned != owned || r.Duplicates != again || r.Records != uint64(len(seen)) || r.Changed != 0 || r.LostAtMost != 3 || r.Good() != (missing == 0) {
			t.Fatalf("%+v; missing %d, owned %d, again %d", r, missing, owned, again)
		}
	})
}

func TestBooksTellChangedRecords(t *testing.T) {
	b := NewBooks()
	for _, rec := range []string{`{"seq":1,"a":1}`, `{"seq":1,"a":1}`, `{"seq":1,"a":2}`, `{"a":2}`} {
		b.Take(Line{Group: "g", Device: "d", Epoch: "e", Record: json.RawMessage(rec)})
	}
	if r := b.Rows()[0]; r.Duplicates != 1 || r.Changed != 1 || r.Unread != 1 || r.Good() {
		t.Errorf("%+v", r)
	}
}

// The highest number that there is, which a damaged or hostile record can have, is counted like any other.
func TestBooksCountTheHighestNumber(t *testing.T) {
	const top = math.MaxUint64
	for _, c := range []struct {
		came                                 []uint64
		records, again, missing, first, last uint64
	}{
		{[]uint64{top}, 1, 0, 0, top, top},
		{[]uint64{top, top, top}, 1, 2, 0, top, top},
		{[]uint64{top - 1, top, top - 1, top}, 2, 2, 0, top - 1, top},
		{[]uint64{top, top - 2}, 2, 0, 1, top - 2, top},
		{[]uint64{top, 1, 2, top, 4}, 4, 1, top - 4, 1, top},
		{[]uint64{1, 3, top}, 3, 0, top - 3, 1, top},
	} {
		b := NewBooks()
		for _, seq := range c.came {
			b.Take(Line{Group: "g", Device: "d", Epoch: "e", Record: fmt.Appendf(nil, `{"seq":%d}`, seq)})
		}
		if r := b.Rows()[0]; r.Records != c.records || r.Duplicates != c.again || r.Missing != c.missing || r.First != c.first || r.Last != c.last || r.Changed+r.Unread != 0 {
			t.Errorf("%d: %+v", c.came, r)
		}
	}
	b := NewBooks() // a gap that ends there, named twice
	for i, rec := range []string{`{"seq":%d}`, `{"seq":%d,"gap":{"from":3,"to":18446744073709551615}}`, `{"seq":%d,"gap":{"from":3,"to":18446744073709551615}}`, `{"seq":%d}`} {
		b.Take(Line{Group: "g", Device: "d", Epoch: "e", Record: fmt.Appendf(nil, rec, 1+i*i)})
	}
	if r := b.Rows()[0]; r.Records != 4 || r.Missing != 0 || r.Owned != 6 || !r.Good() {
		t.Errorf("%+v", r)
	}
}

func batch(t testing.TB, stream message.Stream, records ...message.Record) []byte {
	t.Helper()
	var s message.Sealer
	s.Begin(message.Header{Group: "acme", Device: "dev-1", Epoch: "9c21"}, stream, 7, t0)
	for i, r := range records {
		s.Add(7+uint64(i), r.AppendJSON(nil))
	}
	return bytes.Clone(s.End())
}

func TestInventoryHearsHealthAndAlarms(t *testing.T) {
	inv := NewInventory(Config{})
	alarm := message.AlarmRecord{Stamp: message.Stamp{T: t0}, Code: "camera-stalled", Severity: "critical", Text: "no frame", Camera: "front"}
	inv.Take(Message{Topic: "heron/v1/acme/dev-1/t/alarm", Payload: batch(t, message.Alarm, alarm)})
	health := batch(t, message.Health, message.HealthRecord{Stamp: message.Stamp{T: t0}, State: "ok", Backlog: message.Backlog{Records: 12}})
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	inv.Take(Message{Topic: "heron/v1/acme/dev-1/t/health", Payload: z.EncodeAll(health, nil)})
	d := inv.Devices()[0]
	if d.Health == nil || d.Health.Backlog.Records != 12 || len(d.Alarms) != 1 || d.LastSeen.IsZero() || len(d.Problems) != 0 {
		t.Errorf("%+v", d)
	}
	alarm.Cleared = true
	inv.Take(Message{Topic: "heron/v1/acme/dev-1/t/alarm", Payload: batch(t, message.Alarm, alarm)})
	inv.Take(Message{Topic: "heron/v1/acme/dev-1/t/health", Payload: []byte{0x28, 0xb5, 0x2f, 0xfd, 1}})
	if d = inv.Devices()[0]; len(d.Alarms) != 0 || len(d.Problems) != 1 {
		t.Errorf("%+v", d)
	}
	inv.Take(Message{Topic: "heron/v1/acme/dev-1/state", Payload: nil}) // taken back
	inv.Take(Message{Topic: "other/v1/acme/dev-1/state", Payload: []byte("{}")})
	if len(inv.Devices()) != 1 {
		t.Error("a device of another root")
	}
	if _, err := inv.Find("acme", "dev-2"); err == nil {
		t.Error("found a device that is not there")
	}
}

// Whatever a stranger publishes, the inventory, the books and the rollout's reader stay standing.
func FuzzForeignBytes(f *testing.F) {
	f.Add("acme/_all/rollout", []byte(`{"v":1,"state":"running","plan":{"percent":[5]},"at":{"wave":9}}`))
	f.Add("acme/dev-1/t/health", []byte(`{"specversion":"1.0","data":{"epoch":"a","recs":[null,{"seq":1}]}}`))
	f.Add("acme/dev-1/reported", []byte(`{"v":1,"slots":[{}]}`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		conf := Config{}
		m := Message{Topic: "heron/v1/" + topic, Payload: payload}
		inv, b, s := NewInventory(conf), NewBooks(), NewDeliveries()
		inv.Take(m)
		_, r, _ := inv.Group("acme")
		for _, d := range inv.Devices() {
			if r != nil {
				r.Count("acme", []Device{d})
			}
		}
		if r != nil {
			r.Next(t0, Counts{}, nil)
		}
		lines, _ := conf.Lines(m)
		for _, l := range lines {
			b.Take(l)
			s.Take(l)
			if text := l.Text(); strings.ContainsAny(text, "\n\x1b") {
				t.Errorf("%q", text)
			}
		}
		b.Rows()
		s.Figures()
	})
}

func TestCappedLetsPacketsThroughAndStopsLongOnes(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		want bool
	}{
		{append([]byte{0x30, 3, 1, 2, 3, 0xd0, 0, 0x30, 0x80, 1}, make([]byte, 128)...), true},
		{[]byte{0x30, 0xff, 0xff, 0xff, 0x7f, 1, 2}, false},
		{[]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, false},
	} {
		for _, piece := range []int{1, 3, 4096} {
			a, b := net.Pipe()
			go func() {
				for in := c.in; len(in) > 0; {
					n, err := b.Write(in[:min(piece, len(in))])
					if in = in[n:]; err != nil {
						break
					}
				}
				b.Close()
			}()
			out, err := io.ReadAll(&capped{Conn: a})
			a.Close()
			if (err == nil) != c.want || c.want && !bytes.Equal(out, c.in) {
				t.Errorf("% x in pieces of %d: %v", c.in[:5], piece, err)
			}
		}
	}
}

func TestConfigFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "fleet.yaml")
	write(t, path, "broker: mqtts://b:8884\nusername: anna\npassword_file: secret\ngroup: acme\n")
	write(t, filepath.Join(dir, "secret"), "s3cret\n")
	c, err := LoadConfig(path, true)
	if err != nil || c.PasswordFile != filepath.Join(dir, "secret") {
		t.Fatalf("%+v, %v", c, err)
	}
	if p, err := c.password(); p != "s3cret" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	if c = c.Overlay(Config{Broker: "mqtt://x"}); c.Validate() != nil || c.Broker != "mqtt://x" || c.Group != "acme" {
		t.Errorf("%+v", c)
	}
	if u, _ := c.broker(); u.Host != "x:1883" {
		t.Error(u)
	}
	if _, err := LoadConfig(filepath.Join(dir, "none"), false); err != nil {
		t.Error(err)
	}
	write(t, path, "brocker: x\n")
	if _, err := LoadConfig(path, true); err == nil || !strings.Contains(err.Error(), "brocker") {
		t.Error(err)
	}
}

// The document shown to people is one.
func TestExampleInTheManual(t *testing.T) {
	b, err := os.ReadFile("../../docs/operations/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "```json\n")
	example, _, _ := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	d := json.NewDecoder(strings.NewReader(example))
	d.DisallowUnknownFields()
	var r Rollout
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	if r, err = ParseRollout([]byte(example)); err != nil || r.Percent() != 25 {
		t.Errorf("%v: %+v", err, r)
	}
	again, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var x, y any
	_ = json.Unmarshal([]byte(example), &x)
	_ = json.Unmarshal(again, &y)
	if a, b := fmt.Sprint(x), fmt.Sprint(y); a != b {
		t.Errorf("the example lacks fields or has them in other words:\n%s\n%s", a, b)
	}
}

// What one device says it has answered must not use up the revs of its group. (Devices' answers count where a broker has lost the document.)
func TestADeviceCannotUseUpTheRevs(t *testing.T) {
	inv := NewInventory(Config{Root: "heron/v1"})
	m := NewManager(nil, inv, "acme", "anna")
	for _, c := range []struct {
		device, answered string
		next             int64
	}{{"dev-1", "17", 18}, {"dev-2", "1795288546000", 1795288546001}, {"dev-3", "9007199254740991", 1795288546001}} {
		inv.Take(Message{Topic: "heron/v1/acme/" + c.device + "/reported", Payload: []byte(`{"v":1,"at":"2026-11-20T12:00:00Z","rev":0,"group_rev":` + c.answered + `,"slots":[]}`)})
		if next := m.nextRev(); next != c.next {
			t.Errorf("%s says %s: the next is %d, want %d", c.device, c.answered, next, c.next)
		}
	}
}

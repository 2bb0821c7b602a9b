package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"heron/sync/desired"
	"heron/sync/fleet"
	"heron/sync/message"
	"heron/sync/models"
	"heron/sync/uplink"
)

var errLidClosed = errors.New("the laptop was closed")

// drawn are the devices that a rollout with this salt reaches at percent, sorted.
func (h *herd) drawn(salt string, percent float64) (ids []string) {
	for id := range h.devices {
		if desired.Selected(percent, salt, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// fleet runs body as a heron fleet command on another laptop would: a connection and an inventory of its own.
func (h *herd) fleet(ctx context.Context, body func(context.Context, *fleet.Manager, *fleet.Inventory) error) error {
	inv := fleet.NewInventory(h.config())
	return fleet.With(ctx, h.config(), fleet.Options{Subs: inv.Subs(herdGroup), Handle: inv.Take}, func(ctx context.Context, l *fleet.Link) error {
		if err := l.Settle(ctx); err != nil {
			return err
		}
		return body(ctx, fleet.NewManager(l, inv, herdGroup, "anna"), inv)
	})
}

// push begins a rollout, or goes on with it, and drives it until it is done, stops, or watch ends it.
func (h *herd) push(target string, p fleet.Plan, watch func(fleet.Rollout, context.CancelCauseFunc)) (last fleet.Rollout, err error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), 4*time.Minute)
	defer cancel()
	ctx, lid := context.WithCancelCause(ctx)
	defer lid(nil)
	err = h.fleet(ctx, func(ctx context.Context, m *fleet.Manager, _ *fleet.Inventory) error {
		if _, err := m.Begin(ctx, "main", target, p); err != nil {
			return err
		}
		return m.Drive(ctx, func(r fleet.Rollout, _ []fleet.Device) {
			last = r
			watch(r, lid)
		})
	})
	return last, err
}

// until waits for what a loaded machine takes its time for.
func (h *herd) until(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("not within two minutes: %s", what)
		}
	}
}

// online counts devices as heron fleet ls does.
func (h *herd) online() (n int) {
	if err := h.fleet(h.t.Context(), func(_ context.Context, _ *fleet.Manager, inv *fleet.Inventory) error {
		n = len(slices.DeleteFunc(inv.Devices(), func(d fleet.Device) bool { return !d.Online() || d.Reported == nil }))
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// terms of a rollout of target: durations may be 0, which is none. The salt is the target, as heron fleet push has it, but where that
// draws fewer than least devices for the first wave, which in a small herd happens.
func (h *herd) terms(target string, least int, shadow, probation time.Duration, percent ...float64) fleet.Plan {
	salt := target
	for i := 1; len(h.drawn(salt, percent[0])) < least; i++ {
		salt = fmt.Sprintf("%s again %d", target, i)
	}
	s, p := message.Duration(shadow), message.Duration(probation)
	return fleet.Plan{Percent: percent, MaxFailed: 1, MinConfirmed: 100, Salt: salt, Shadow: &s, Probation: &p}
}

// A herd of real devices: a rollout in waves over which the laptop is closed, one that stops by itself at the canaries and is taken back,
// one that devices take back themselves, and what heron fleet stats makes of their audit.
func TestHerd(t *testing.T) {
	t.Parallel()
	herdStory(t, 20, 0, 0)
}

// The same with 200 devices that also answer beside their live model, and are watched after the switch.
func TestHerdOf200(t *testing.T) {
	t.Parallel()
	if testing.Short() || os.Getenv("HERON_SLOW") == "" {
		t.Skip("200 devices take a minute; HERON_SLOW=1 runs it, and make test does")
	}
	herdStory(t, 200, time.Second, time.Second)
}

func herdStory(t *testing.T, n int, shadow, probation time.Duration) {
	h := newHerd(t)
	h.pack("1.0.0", "good")
	h.publish("1.1.0", "good")
	h.publish("1.2.0", "fragile")
	h.publish("1.3.0", "worse")
	began := time.Now()
	h.startAll(n)
	h.until("all are online", func() bool { return h.online() == n })
	t.Logf("%d devices online after %.1f s", n, time.Since(began).Seconds())
	h.inWaves("bottles/1.1.0", h.terms("bottles/1.1.0", 1, shadow, probation, 5, 25, 100))
	refused, confirmed := h.stopsAtTheCanaries("bottles/1.2.0", h.terms("bottles/1.2.0", 4, shadow, 0, 20, 100))
	back := h.takenBackByDevices("bottles/1.3.0", h.terms("bottles/1.3.0", 2, 0, time.Second, 20, 100))
	h.figures(n, refused, confirmed, back)
	t.Logf("%d devices, all of it: %.1f s", n, time.Since(began).Seconds())
}

// A rev is answered when it was acted upon, and a step is told of the target that it belongs to: a manager goes by both.
func TestOnlyWhatWasActedUponIsAnswered(t *testing.T) {
	t.Parallel()
	h := newHerd(t)
	h.pack("1.0.0", "good")
	h.publish("1.1.0", "good")
	a := h.build("dev-1").a
	if a.orders.ready() {
		t.Error("it reports before it has decided anything")
	}
	a.handle(uplink.Message{Topic: "_all/desired", Payload: []byte(`{"v":1,"rev":7,"models":[{"slot":"main","target":"bottles/1.1.0","rollout":{"percent":100}}]}`)})
	if r := a.reported(); r.GroupRev != 0 || r.Slots[0].Target != "" {
		t.Errorf("answered before it was acted upon: %+v", r)
	}
	a.offerAll(time.Now()) // nobody has taken the wish up yet: models do not run
	r := a.reported()
	if s := r.Slots[0]; r.GroupRev != 7 || s.Target != "bottles/1.1.0" || s.Step != message.StepOffered {
		t.Errorf("acted upon: rev %d, %+v", r.GroupRev, s)
	}
	a.handle(uplink.Message{Topic: "_all/desired", Payload: []byte(`{"v":1,"rev":8,"models":[{"slot":"main","target":"bottles/1.1.0","rollout":{"percent":0}}]}`)})
	a.offerAll(time.Now())
	if s := a.reported().Slots[0]; s.Step != message.StepWaiting || s.Decision != desired.NotSelected {
		t.Errorf("not for this one: %+v", s)
	}
	a.handle(uplink.Message{Topic: "desired", Payload: []byte(`{"v":1,"rev":2,"firmware":{"target":"heron/1.3.0"}}`)})
	a.offerAll(time.Now())
	if f := a.reported().Firmware; f == nil || f.Target != "heron/1.3.0" || f.State != "refused" || f.Error == "" {
		t.Errorf("nothing acts on firmware, and %+v is said", f)
	}
}

// inWaves: each wave reaches exactly those whom percentage and salt draw; the lid is closed in the second one, and another laptop goes on.
func (h *herd) inWaves(target string, p fleet.Plan) {
	t, n := h.t, len(h.devices)
	t.Helper()
	few, some := h.drawn(p.Salt, p.Percent[0]), h.drawn(p.Salt, p.Percent[1])
	for i, ids := range [][]string{few, some} {
		want := float64(n) * p.Percent[i] / 100
		if off := math.Abs(float64(len(ids)) - want); off > 0.5+3*math.Sqrt(want*(1-p.Percent[i]/100)) {
			t.Errorf("%d devices at %v%%, want about %v", len(ids), p.Percent[i], want)
		}
	}
	closed, err := h.push(target, p, func(r fleet.Rollout, lid context.CancelCauseFunc) {
		now := h.running(target)
		switch {
		case r.At.Wave == 0 && len(now) > len(few):
			t.Errorf("the first wave has reached %v, not only %v", now, few)
		case r.At.Wave == 1:
			if r.Counts.Confirmed < len(few) || len(now) < len(few) {
				t.Errorf("the first wave ended with %v of %v", now, few)
			}
			lid(errLidClosed)
		}
	})
	if !errors.Is(err, errLidClosed) || closed.At.Wave != 1 {
		t.Fatalf("closed in wave %d: %v", closed.At.Wave+1, err)
	}
	// What was asked goes on without anybody: the second wave comes to its end, and no further.
	h.until("the second wave is through", func() bool { return len(h.running(target)) >= len(some) })
	if got := h.running(target); !slices.Equal(got, some) {
		t.Errorf("the second wave reached %v, not %v", got, some)
	}
	done, err := h.push(target, h.terms(target, 0, time.Hour, time.Hour, 1), func(fleet.Rollout, context.CancelCauseFunc) {})
	if err != nil || done.State != fleet.Done || done.Counts.Confirmed != n || done.ID != closed.ID || len(done.Plan.Percent) != 3 {
		t.Fatalf("gone on with: %v; %+v", err, done)
	}
	if got := h.running(target); len(got) != n {
		t.Errorf("%d of %d run it", len(got), n)
	}
	t.Logf("waves of %d, %d and %d devices", len(few), len(some), n)
}

// stopsAtTheCanaries: half of them refuse it in the trial. The rollout stops where it is, says why, and is taken back.
func (h *herd) stopsAtTheCanaries(target string, p fleet.Plan) (refused, confirmed int) {
	t, canaries := h.t, h.drawn(p.Salt, p.Percent[0])
	t.Helper()
	h.mu.Lock()
	for _, id := range canaries[:len(canaries)/2] {
		h.refuses[id] = true
	}
	h.mu.Unlock()
	r, err := h.push(target, p, func(fleet.Rollout, context.CancelCauseFunc) {})
	const why = "golden picture golden/2.png is ok (0.91), not scratched (0.90)"
	if err != nil || r.State != fleet.Paused || r.At.Wave != 0 || !strings.Contains(r.Reason, why) || !strings.Contains(r.Reason, "at most 1 may") {
		t.Fatalf("%v; %s in wave %d: %s", err, r.State, r.At.Wave+1, r.Reason)
	}
	t.Log(r.Reason)
	refused, confirmed = len(canaries)/2, len(canaries)-len(canaries)/2
	h.until("the other canaries have it", func() bool { return slices.Equal(h.running(target), canaries[len(canaries)/2:]) })
	if err := h.fleet(t.Context(), func(ctx context.Context, m *fleet.Manager, inv *fleet.Inventory) error {
		for _, id := range canaries[:len(canaries)/2] {
			h.refusedBy(inv, id, target, why)
		}
		return m.Abort(ctx, true, "")
	}); err != nil {
		t.Fatal(err)
	}
	h.until("all are back", func() bool { return len(h.running("bottles/1.1.0")) == len(h.devices) })
	return refused, confirmed
}

// refusedBy: the device runs what it ran, has refused that digest, and its report says why in one line.
func (h *herd) refusedBy(inv *fleet.Inventory, id, target, why string) {
	h.t.Helper()
	d, err := inv.Find(herdGroup, id)
	if err != nil {
		h.t.Fatal(err)
	}
	s := d.Slot("main")
	if line := fleet.Reason(*s); !strings.Contains(line, why) || strings.ContainsAny(line, "\n\r") {
		h.t.Errorf("%s says why: %q", id, line)
	}
	if len(s.Refused) == 0 || s.Refused[0].Target != target || s.Refused[0].Digest != h.digests[target] || s.Active == nil || s.Active.Target == target {
		h.t.Errorf("%s refuses %+v and runs %+v", id, s.Refused, s.Active)
	}
	if !slices.ContainsFunc(h.devices[id].a.updates.models.Refused(), func(r models.Refused) bool { return r.Digest == h.digests[target] }) {
		h.t.Errorf("%s would take %s again", id, target)
	}
}

// takenBackByDevices: it is live before it shows what it is, and each canary goes back by itself. It says how many.
func (h *herd) takenBackByDevices(target string, p fleet.Plan) int {
	t, canaries := h.t, h.drawn(p.Salt, p.Percent[0])
	t.Helper()
	r, err := h.push(target, p, func(fleet.Rollout, context.CancelCauseFunc) {})
	if err != nil || r.State != fleet.Paused || r.At.Wave != 0 || !strings.Contains(r.Reason, "rolled back") {
		t.Fatalf("%v; %s in wave %d: %s", err, r.State, r.At.Wave+1, r.Reason)
	}
	t.Log(r.Reason)
	h.until("all are back", func() bool {
		for _, id := range canaries {
			if len(h.devices[id].a.updates.models.Refused()) == 0 || h.devices[id].a.updates.models.State()[0].Last.Step != models.StepRolledBack {
				return false
			}
		}
		return len(h.running("bottles/1.1.0")) == len(h.devices)
	})
	return len(canaries)
}

// figures: what heron fleet stats counts in the exported audit is what happened.
func (h *herd) figures(n, refused, confirmed, back int) {
	t := h.t
	t.Helper()
	last := 0
	h.until("the whole audit has come", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		came := bytes.Count(h.lines, []byte{'\n'})
		settled := came >= len(h.audit) && came == last
		last = came
		return settled
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	s := fleet.NewDeliveries()
	for range 2 { // an export may hold everything twice
		if err := fleet.ReadLines(bytes.NewReader(h.lines), func(l fleet.Line) error { s.Take(l); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	f := s.Figures()
	want := fleet.Delivery{Devices: n, Offered: n + refused + confirmed + back, Installed: n + confirmed + back, Confirmed: n + confirmed, Refused: refused, RolledBack: confirmed + back, Versions: 2}
	got := fleet.Delivery{Devices: f.Devices, Offered: f.Offered, Installed: f.Installed, Confirmed: f.Confirmed, Refused: f.Refused, RolledBack: f.RolledBack, Versions: f.Versions}
	if got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if rate := float64(confirmed+back) / float64(n+confirmed+back); f.FailureRate == nil || math.Abs(*f.FailureRate-rate) > 1e-9 {
		t.Errorf("failure rate %v, want %v", f.FailureRate, rate)
	}
	lead, restore := h.seen()
	for name, c := range map[string]struct {
		got  *fleet.Spread
		want []float64
	}{"lead time": {f.LeadTime, lead}, "time to restore": {f.Restore, restore}} {
		slices.Sort(c.want)
		if c.got == nil || c.got.N != len(c.want) || math.Abs(c.got.Max-c.want[len(c.want)-1]) > 0.01 || math.Abs(c.got.Median-c.want[(len(c.want)-1)/2]) > 0.01 {
			t.Errorf("%s: %+v, want %d up to %.3f s", name, c.got, len(c.want), c.want[len(c.want)-1])
		}
	}
	if f.PerWeek == nil || *f.PerWeek != 14 { // two within a day, which counts as one
		t.Errorf("%v versions a week", f.PerWeek)
	}
	t.Logf("%d records: %d offered, %d switched, %d confirmed, %d refused, %d taken back; lead time %+v, time to restore %+v", f.Records, f.Offered, f.Installed, f.Confirmed, f.Refused, f.RolledBack, *f.LeadTime, *f.Restore)
}

// seen are the same times by the devices' own account: offered to confirmed, and switched to back again, by themselves or by a wish.
func (h *herd) seen() (lead, restore []float64) {
	at := map[string]time.Time{}
	for _, e := range h.audit {
		key := e.device + " " + e.Target + " "
		home := e.Target == "bottles/1.1.0" && !at[e.device+" bottles/1.1.0 confirm"].IsZero()
		switch {
		case e.What == "confirm" && !home:
			lead = append(lead, e.When.Sub(at[key+"offer"]).Seconds())
		case e.What == "rollback":
			restore = append(restore, e.When.Sub(at[key+"install"]).Seconds())
		case e.What == "install" && home:
			restore = append(restore, e.When.Sub(at[e.device+" bottles/1.2.0 install"]).Seconds())
		}
		at[key+e.What] = e.When
	}
	return lead, restore
}

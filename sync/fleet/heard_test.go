package fleet

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"heron/internal/freeport"
	"heron/sync/message"
)

// What a broker keeps may be older than what it passed on: the newer counts, until the broker has insisted for long.
func TestOldRetainedDocumentsAreDoubted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inv := NewInventory(Config{})
		say := func(topic, doc string, retained bool) {
			inv.Take(Message{Topic: "heron/v1/acme/" + topic, Payload: []byte(doc), Retained: retained})
		}
		reported := func(rev int, at, step string) string {
			return fmt.Sprintf(`{"v":1,"at":"2026-11-20T12:00:%sZ","rev":0,"group_rev":%d,"slots":[{"slot":"main","source":"group","target":"a/2","step":%q}]}`, at, rev, step)
		}
		step := func() string { return inv.Devices()[0].Slot("main").Step }
		for i, c := range []struct {
			rev      int
			at, step string
			retained bool
			after    time.Duration
			want     string
			why      string
		}{
			{1, "10", "offered", true, 0, "offered", "the first is all there is"},
			{1, "10", "fetched", true, 0, "fetched", "neither was heard as it came: the later one"},
			{2, "20", "tried", true, 0, "tried", "newer"},
			{1, "10", "offered", true, time.Second, "tried", "older"},
			{2, "30", "confirmed", false, 0, "confirmed", "published"},
			{2, "30", "tried", true, 0, "confirmed", "as old, and not heard as it came"},
			{2, "30", "tried", true, doubtful - time.Second, "confirmed", "not for long enough"},
			{1, "05", "waiting", false, 0, "waiting", "published: the device was set back"},
			{2, "30", "tried", true, 0, "tried", "newer, and we missed it"},
			{1, "05", "waiting", true, 0, "tried", "older"},
			{1, "05", "waiting", true, doubtful, "waiting", "the broker insists"},
		} {
			time.Sleep(c.after)
			say("dev-1/reported", reported(c.rev, c.at, c.step), c.retained)
			if got := step(); got != c.want {
				t.Errorf("%d (%s): %s", i, c.why, got)
			}
		}
		state := func(session int, status string) string {
			return fmt.Sprintf(`{"v":1,"status":%q,"session":%d,"since":"2026-11-20T11:00:00Z"}`, status, session)
		}
		for i, c := range []struct {
			session  int
			status   string
			retained bool
			online   bool
		}{{4, "online", true, true}, {4, "offline", false, false}, {4, "online", true, false}, {3, "online", true, false}, {5, "online", true, true}, {5, "offline", true, false}, {6, "online", false, true}, {5, "offline", false, true}} {
			if say("dev-1/state", state(c.session, c.status), c.retained); inv.Devices()[0].Online() != c.online {
				t.Errorf("state %d: online is %v", i, !c.online)
			}
		}
		say("_all/desired", `{"v":1,"rev":7,"models":[]}`, false)
		say("_all/desired", `{"v":1,"rev":6,"models":[]}`, true)
		if d, _, err := inv.Group("acme"); err != nil || d.Rev != 7 {
			t.Errorf("the group's document: %+v, %v", d, err)
		}
	})
}

// flaw makes a broker's mistakes between it and an inventory.
type flaw struct {
	mu   sync.Mutex
	inv  *Inventory
	conf Config
	lose func(id string, rev int64) bool // a published answer
	kept map[string][]byte               // what the broker would repeat: each device's first answer
}

func (f *flaw) take(m Message) {
	_, id, below, _ := f.conf.split(m.Topic)
	if below != "reported" {
		f.inv.Take(m)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept[id] == nil {
		f.kept[id] = m.Payload
	}
	doc, err := message.ParseReported(m.Payload)
	if m.Retained {
		m.Payload = f.kept[id]
	} else if err == nil && f.lose(id, doc.GroupRev) {
		return
	}
	f.inv.Take(m)
}

// A broker that loses what devices answer and repeats what they said first, or loses what they are told: the rollout comes to its end.
func TestRolloutOverAForgetfulBroker(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lose func(id string, rev int64) bool
		deaf func(id string, rev int64) bool
	}{
		"answers are lost and old ones repeated": {lose: func(id string, rev int64) bool { return id < "dev-020" && rev == 2 }},
		"documents are not heard":                {deaf: func(id string, rev int64) bool { return id < "dev-020" && rev == 2 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := freeport.Address(t)
			embedded(t, address)
			h := newHerd(t, address, 40)
			h.deaf = c.deaf
			inv := NewInventory(h.login)
			f := &flaw{inv: inv, conf: h.conf, lose: c.lose, kept: map[string][]byte{}}
			if f.lose == nil {
				f.lose = func(string, int64) bool { return false }
			}
			err := With(ctxFor(t), h.login, Options{Subs: inv.Subs("acme"), Handle: f.take, timing: quick()}, func(ctx context.Context, l *Link) error {
				if err := l.Settle(ctx); err != nil {
					return err
				}
				m := NewManager(l, inv, "acme", "anna")
				m.pace = quickPace()
				m.pace.stall = 200 * time.Millisecond
				if _, err := m.Begin(ctx, "main", "bottles/1.4.2", plan(20, 100)); err != nil {
					return err
				}
				if err := m.Drive(ctx, func(Rollout, []Device) {}); err != nil {
					return err
				}
				if r := m.Rollout(); r.State != Done || r.Counts.Confirmed != 40 || r.At.Rev < 3 {
					t.Errorf("it ended as %+v", r)
				}
				return nil
			})
			if err != nil || h.running("bottles/1.4.2") != 40 {
				t.Errorf("%v; %d of 40 run it", err, h.running("bottles/1.4.2"))
			}
		})
	}
}

// A manager that was shown an old rollout finds from the group's document how far it had come, rather than a stranger's hand.
func TestRolloutGoesOnFromAnOldDocument(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 20)
	p := plan(10, 50, 100)
	p.Wait = message.Duration(time.Hour)
	err := h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, inv *Inventory) error {
		if _, err := m.Begin(ctx, "main", "bottles/1.4.2", p); err != nil {
			return err
		}
		waves := map[int]bool{}
		return m.Drive(ctx, func(r Rollout, _ []Device) {
			waves[r.At.Wave] = true
			switch {
			case r.At.Wave == 0 && len(waves) == 1 && r.Counts.Unanswered == 0:
				ahead := r
				ahead.At.Wave = 1
				h.publish(everyone, "desired", ahead.desired(message.Desired{V: 1}, r.At.Rev+1))
				waves[9] = true
			case r.At.Wave == 1 || r.State != Running:
				if r.State != Running || r.At.Rev != 2 {
					t.Errorf("%s at %+v: %s", r.State, r.At, r.Reason)
				}
				m.doc.stop(now(), "seen")
			}
		})
	})
	if err != nil {
		t.Error(err)
	}
}

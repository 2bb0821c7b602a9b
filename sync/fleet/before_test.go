package fleet

import (
	"context"
	"errors"
	"testing"
	"time"

	"heron/internal/freeport"
	"heron/sync/message"
)

// Back means to what was meant to stay, never to what was given up: no device may have run that.
func TestWhatWasBefore(t *testing.T) {
	asked := func(target string) *message.Desired {
		return &message.Desired{Models: []message.DesiredModel{{Slot: "main", Target: target}}}
	}
	last := func(target, previous, state string) *Rollout {
		return &Rollout{Slot: "main", Target: target, Previous: previous, State: state}
	}
	for name, c := range map[string]struct {
		desired  *message.Desired
		old      *Rollout
		to, want string
	}{
		"nothing was ever asked":           {nil, nil, "b/2", ""},
		"asked by hand":                    {asked("b/1"), nil, "b/2", "b/1"},
		"after one that was done":          {asked("b/2"), last("b/2", "b/1", Done), "b/3", "b/2"},
		"after one that was given up":      {asked("b/2"), last("b/2", "b/1", Aborted), "b/3", "b/1"},
		"given up, and nothing before it":  {asked("b/2"), last("b/2", "", Aborted), "b/3", ""},
		"given up, and what was before it": {asked("b/2"), last("b/2", "b/1", Aborted), "b/1", ""},
		"rolled back":                      {asked("b/1"), last("b/2", "b/1", RolledBack), "b/3", "b/1"},
		"the same again":                   {asked("b/2"), last("b/2", "b/1", Done), "b/2", "b/1"},
		"given up, the same again":         {asked("b/2"), last("b/2", "b/1", Aborted), "b/2", "b/1"},
		"given up, then asked by hand":     {asked("b/7"), last("b/2", "b/1", Aborted), "b/3", "b/7"},
		"another slot was given up":        {asked("b/2"), &Rollout{Slot: "lid", Target: "b/2", Previous: "b/1", State: Aborted}, "b/3", "b/2"},
	} {
		if got := before(c.desired, c.old, "main", c.to); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Who leaves before the first wave, while it is found out whether another began at the same moment, leaves nobody waiting, either.
func TestLeavingBeforeTheFirstWave(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 3)
	ctx, closeLid := context.WithCancelCause(ctxFor(t))
	err := h.with(ctx, "anna", func(ctx context.Context, m *Manager, inv *Inventory) error {
		m.pace.claim = time.Minute
		go func() {
			for ctx.Err() == nil {
				if _, r, _ := inv.Group("acme"); r != nil {
					closeLid(errClosed)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}()
		_, err := m.Begin(ctx, "main", "bottles/1.4.2", plan(100))
		return err
	})
	if !errors.Is(err, errClosed) {
		t.Fatalf("closed: %v", err)
	}
	err = h.with(ctxFor(t), "ben", func(_ context.Context, _ *Manager, inv *Inventory) error {
		if _, r, err := inv.Group("acme"); err != nil || r == nil || r.State != Running || r.Owner.Driving {
			t.Errorf("found %+v, %v", r, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A slot that no device has is refused before anything is written; nobody who names no slots is asked.
func TestSlotThatNoDeviceHas(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 3)
	err := h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, inv *Inventory) error {
		if _, err := m.Begin(ctx, "mian", "bottles/1.4.2", plan(100)); err == nil || err.Error() != "no device of group acme has a slot mian; what they have: main" {
			t.Errorf("begin: %v", err)
		}
		if _, err := m.PushDevice(ctx, "dev-001", "mian", "bottles/1.4.2", plan(100)); err == nil || err.Error() != "device dev-001 has no slot mian: heron fleet show dev-001 lists those that it has" {
			t.Errorf("one device: %v", err)
		}
		if desired, r, err := inv.Group("acme"); desired != nil || r != nil || err != nil {
			t.Errorf("written: %+v %+v %v", desired, r, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := NewManager(nil, NewInventory(h.login), "other", "anna").someHave("any"); err != nil {
		t.Errorf("a group that nobody is in: %v", err)
	}
}

// What is given up where nothing was asked for before is asked of nobody any more: of who comes later, say. Who has it keeps it, and other slots stay.
func TestGivenUpWithNothingBefore(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"", "bottles/1.4.1"} {
		address := freeport.Address(t)
		embedded(t, address)
		h := newHerd(t, address, 10)
		err := h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, inv *Inventory) error {
			first := message.Desired{V: 1, Rev: 3, Models: []message.DesiredModel{{Slot: "lid", Target: "lids/2"}}}
			if before != "" {
				first.Models = append(first.Models, message.DesiredModel{Slot: "main", Target: before})
			}
			if err := m.publish(ctx, m.topic("desired"), first); err != nil {
				return err
			}
			p := plan(50, 100)
			p.Wait = message.Duration(time.Hour)
			if _, err := m.Begin(ctx, "main", "bottles/1.4.2", p); err != nil {
				return err
			}
			drive, stop := context.WithCancel(ctx)
			_ = m.Drive(drive, func(r Rollout, _ []Device) {
				if r.Counts.Confirmed > 0 {
					stop()
				}
			})
			stop()
			if err := m.Abort(ctx, false, ""); err != nil {
				return err
			}
			desired, r, err := inv.Group("acme")
			if err != nil || r.State != Aborted {
				t.Fatalf("%+v, %v", r, err)
			}
			want := "bottles/1.4.2"
			if before == "" {
				want = ""
			}
			if target(desired, "main") != want || target(desired, "lid") != "lids/2" || desired.Rev != r.At.Rev {
				t.Errorf("before %q: %+v, rollout at rev %d", before, desired, r.At.Rev)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

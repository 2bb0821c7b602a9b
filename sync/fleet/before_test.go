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

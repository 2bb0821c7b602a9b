package fleet

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"heron/internal/freeport"
	"heron/sync/message"
)

var errClosed = errors.New("the laptop was closed")

// 5 → 25 → 100 % of 200 devices: the right share each time, those of a smaller wave among those of the next.
func TestRolloutInWaves(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 200)
	waves := map[int]Counts{}
	err := h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, _ *Inventory) error {
		if _, err := m.Begin(ctx, "main", "bottles/1.4.2", plan(5, 25, 100)); err != nil {
			return err
		}
		if err := m.Drive(ctx, func(r Rollout, _ []Device) { waves[r.At.Wave] = r.Counts }); err != nil {
			return err
		}
		if r := m.Rollout(); r.State != Done || r.Counts.Confirmed != 200 || r.Owner.Driving {
			t.Errorf("it ended as %+v", r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := h.running("bottles/1.4.2"); n != 200 {
		t.Errorf("%d of 200 run it", n)
	}
	byWave := map[float64]int{}
	for _, d := range h.list {
		if !slices.IsSorted(d.chosen) || d.chosen[len(d.chosen)-1] != 100 {
			t.Errorf("%s was selected at %v", d.id, d.chosen)
		}
		if slices.Contains(d.chosen, 5) && !slices.Contains(d.chosen, 25) {
			t.Errorf("%s was selected at 5%% and not at 25%%", d.id)
		}
		for _, p := range d.chosen {
			byWave[p]++
		}
	}
	for _, p := range []float64{5, 25} {
		want := 2 * p
		if off := math.Abs(float64(byWave[p]) - want); off > 3.5*math.Sqrt(want*(1-p/100)) {
			t.Errorf("%d devices at %g%%, want about %g", byWave[p], p, want)
		}
	}
	t.Logf("selected: %v; last look of each wave: %v", byWave, waves)
}

// A model that devices refuse stops at the canary: the rest never hears of more than 5 %.
func TestRolloutStopsByItself(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 200)
	h.change(func(l map[string]*simulated) {
		for _, d := range l {
			d.bad = func(target string) (string, string) {
				if target == "bottles/1.5.0" {
					return message.StepRefused, "golden/2.png: ok where scratched was expected"
				}
				return "", ""
			}
		}
	})
	err := h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, inv *Inventory) error {
		if _, err := m.Begin(ctx, "main", "bottles/1.5.0", plan(5, 25, 100)); err != nil {
			return err
		}
		if err := m.Drive(ctx, func(Rollout, []Device) {}); err != nil {
			return err
		}
		r := m.Rollout()
		if r.State != Paused || r.At.Wave != 0 || !strings.Contains(r.Reason, "golden/2.png: ok where scratched was expected") || !strings.Contains(r.Reason, "at most 2 may") {
			t.Errorf("it ended as %s in wave %d: %s", r.State, r.At.Wave, r.Reason)
		}
		desired, _, _ := inv.Group("acme")
		if p := *desired.Models[0].Rollout.Percent; p != 5 {
			t.Errorf("percent is %g", p)
		}
		t.Log(r.Reason)
		// resumed as it is, it stops again at once; nothing else is written
		if err := m.Resume(ctx, ResumeOptions{}); err != nil {
			return err
		}
		if err := m.Drive(ctx, func(Rollout, []Device) {}); err != nil || m.Rollout().State != Paused {
			t.Errorf("resumed: %s, %v", m.Rollout().State, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := h.running("bottles/1.4.1"); n != 200 {
		t.Errorf("%d of 200 run the previous model", n)
	}
}

// The laptop is closed in the second wave, once cleanly and once by the hammer; another goes on, no wave is done twice.
func TestRolloutGoesOnElsewhere(t *testing.T) {
	t.Parallel()
	t.Run("lid closed", func(t *testing.T) { goesOnElsewhere(t, (*Manager).Drive, false) })
	t.Run("power lost", func(t *testing.T) { goesOnElsewhere(t, (*Manager).drive, true) }) // nothing is said at the end
}

func goesOnElsewhere(t *testing.T, drive func(*Manager, context.Context, func(Rollout, []Device)) error, left bool) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 60)
	ctx, closeLid := context.WithCancelCause(ctxFor(t))
	err := h.with(ctx, "anna", func(ctx context.Context, m *Manager, _ *Inventory) error {
		if _, err := m.Begin(ctx, "main", "bottles/1.4.2", plan(10, 50, 100)); err != nil {
			return err
		}
		return drive(m, ctx, func(r Rollout, _ []Device) {
			if r.At.Wave == 1 {
				closeLid(errClosed)
			}
		})
	})
	if !errors.Is(err, errClosed) {
		t.Fatalf("closed: %v", err)
	}
	if n := h.running("bottles/1.4.2"); n == 60 {
		t.Fatal("all waves were done before the lid was closed")
	}
	err = h.with(ctxFor(t), "ben", func(ctx context.Context, m *Manager, inv *Inventory) error {
		_, r, err := inv.Group("acme")
		if err != nil || r.State != Running || r.At.Wave != 1 || r.Owner.Driving != left {
			t.Errorf("found %+v, %v", r, err)
		}
		resumed, err := m.Begin(ctx, "main", "bottles/1.4.2", plan(1))
		if err != nil || !resumed {
			t.Fatalf("resumed %v, %v", resumed, err)
		}
		if err := m.Drive(ctx, func(Rollout, []Device) {}); err != nil {
			return err
		}
		if r := m.Rollout(); r.State != Done || r.Plan.Percent[0] != 10 || r.Owner.By != "ben" || r.At.FirstRev != 1 || r.At.Rev != 3 {
			t.Errorf("it ended as %+v", r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := h.running("bottles/1.4.2"); n != 60 {
		t.Errorf("%d of 60 run it", n)
	}
}

// While one drives, another that begins is told so; one that takes over wins, and the first is told.
func TestTwoManagers(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 20)
	h.change(func(l map[string]*simulated) {
		for _, d := range l {
			d.silent = true
		}
	})
	first, driving := make(chan error, 1), make(chan bool, 1)
	go func() {
		first <- h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, _ *Inventory) error {
			if _, err := m.Begin(ctx, "main", "bottles/1.4.2", plan(50, 100)); err != nil {
				return err
			}
			return m.Drive(ctx, func(Rollout, []Device) {
				select {
				case driving <- true:
				default:
				}
			})
		})
	}()
	<-driving
	err := h.with(ctxFor(t), "ben", func(ctx context.Context, m *Manager, _ *Inventory) error {
		if err := m.Resume(ctx, ResumeOptions{}); err == nil || !strings.Contains(err.Error(), "anna") {
			t.Errorf("while anna drives: %v", err)
		}
		if _, err := m.Begin(ctx, "main", "bottles/9.9.9", plan(100)); err == nil || !strings.Contains(err.Error(), "bottles/1.4.2") {
			t.Errorf("another target: %v", err)
		}
		if err := m.Resume(ctx, ResumeOptions{TakeOver: true}); err != nil {
			return err
		}
		var other *TakenOverError
		if err := <-first; !errors.As(err, &other) || !strings.Contains(err.Error(), "ben") {
			t.Errorf("the first manager ended with %v", err)
		}
		h.change(func(l map[string]*simulated) {
			for _, d := range l {
				d.silent = false
			}
		})
		h.listen(h.client) // they hear it again
		return m.Drive(ctx, func(Rollout, []Device) {})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Two begin at the same moment, several times: one wins, one is told.
func TestTwoBeginAtOnce(t *testing.T) {
	t.Parallel()
	for range 5 {
		address := freeport.Address(t)
		embedded(t, address)
		h := newHerd(t, address, 5)
		ends := make(chan error, 2)
		for _, by := range []string{"anna", "ben"} {
			go func() {
				ends <- h.with(ctxFor(t), by, func(ctx context.Context, m *Manager, _ *Inventory) error {
					if _, err := m.Begin(ctx, "main", "bottles/1.4."+map[string]string{"anna": "2", "ben": "3"}[by], plan(100)); err != nil {
						return err
					}
					return m.Drive(ctx, func(Rollout, []Device) {})
				})
			}()
		}
		won, told := 0, 0
		for range 2 {
			var other *TakenOverError
			switch err := <-ends; {
			case err == nil:
				won++
			case errors.As(err, &other) || strings.Contains(err.Error(), "a rollout of"):
				told++
			default:
				t.Error(err)
			}
		}
		if two, three := h.running("bottles/1.4.2"), h.running("bottles/1.4.3"); two != 5 && three != 5 {
			t.Errorf("%d run 1.4.2, %d run 1.4.3", two, three)
		}
		if won < 1 { // 2: one was done before the other began
			t.Errorf("%d won, %d were told", won, told)
		}
	}
}

func TestPauseResumeAbort(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 40)
	p := plan(20, 100)
	p.Wait = message.Duration(time.Hour) // it would stay in its first wave
	end := make(chan error, 1)
	started := make(chan bool, 1)
	drive := func(by string, begin func(context.Context, *Manager) error) {
		end <- h.with(ctxFor(t), by, func(ctx context.Context, m *Manager, _ *Inventory) error {
			if err := begin(ctx, m); err != nil {
				return err
			}
			return m.Drive(ctx, func(r Rollout, _ []Device) {
				if r.Counts.Selected > 0 && r.Counts.Pending == 0 && r.Counts.Unanswered == 0 {
					select {
					case started <- true:
					default:
					}
				}
			})
		})
	}
	go drive("anna", func(ctx context.Context, m *Manager) error {
		_, err := m.Begin(ctx, "main", "bottles/1.4.0", plan(100)) // what was asked before
		return err
	})
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	for len(started) > 0 {
		<-started
	}
	go drive("anna", func(ctx context.Context, m *Manager) error {
		_, err := m.Begin(ctx, "main", "bottles/1.4.2", p)
		return err
	})
	<-started
	as := func(by string, do func(context.Context, *Manager) error) {
		t.Helper()
		if err := h.with(ctxFor(t), by, func(ctx context.Context, m *Manager, _ *Inventory) error { return do(ctx, m) }); err != nil {
			t.Fatal(err)
		}
	}
	as("ben", func(ctx context.Context, m *Manager) error { return m.Pause(ctx, "the line stops at noon") })
	if err := <-end; err == nil || err.Error() != "paused by ben: the line stops at noon" {
		t.Errorf("anna was told: %v", err)
	}
	for len(started) > 0 {
		<-started
	}
	go drive("carl", func(ctx context.Context, m *Manager) error { return m.Resume(ctx, ResumeOptions{}) })
	<-started
	canaries := h.running("bottles/1.4.2")
	if canaries == 0 || canaries == 40 {
		t.Errorf("%d canaries of 40", canaries)
	}
	as("ben", func(ctx context.Context, m *Manager) error { return m.Abort(ctx, true, "") })
	if err := <-end; err == nil || err.Error() != "ended by ben: rolled-back" {
		t.Errorf("carl was told: %v", err)
	}
	eventually(t, "all back", func() bool { return h.running("bottles/1.4.0") == 40 })
	as("ben", func(ctx context.Context, m *Manager) error {
		if err := m.Resume(ctx, ResumeOptions{}); err == nil {
			t.Error("a rollout that was rolled back was resumed")
		}
		if err := m.Pause(ctx, ""); err == nil {
			t.Error("a rollout that was rolled back was paused")
		}
		return nil
	})
}

// The broker goes away in every wave and comes back empty: the rollout goes on, and writes again what the broker has lost.
func TestRolloutOverBrokerRestarts(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	stop := embedded(t, address)
	h := newHerd(t, address, 50)
	struck := map[int]bool{}
	err := h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, _ *Inventory) error {
		if _, err := m.Begin(ctx, "main", "bottles/1.4.2", plan(20, 60, 100)); err != nil {
			return err
		}
		return m.Drive(ctx, func(r Rollout, _ []Device) {
			if !struck[r.At.Wave] {
				struck[r.At.Wave] = true
				stop()
				stop = embedded(t, address)
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := h.running("bottles/1.4.2"); n != 50 || len(struck) != 3 {
		t.Errorf("%d of 50 run it after %d restarts", n, len(struck))
	}
}

// Somebody writes the group's document past the rollout: for another slot it goes on, for the same it stops and says who.
func TestRolloutAndStrangers(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 10)
	p := plan(50, 100)
	p.Wait = message.Duration(time.Hour)
	steps := 0
	err := h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, inv *Inventory) error {
		if _, err := m.Begin(ctx, "main", "bottles/1.4.2", p); err != nil {
			return err
		}
		return m.Drive(ctx, func(r Rollout, _ []Device) {
			desired, _, _ := inv.Group("acme")
			switch {
			case steps == 0:
				steps++
				d := withModel(*desired, message.DesiredModel{Slot: "caps", Target: "caps/1"}, desired.Rev+1, "mallory", now())
				h.publish(everyone, "desired", d)
			case steps == 1 && r.At.Rev == 2:
				steps++
				d := withModel(*desired, message.DesiredModel{Slot: "main", Target: "bottles/6.6.6"}, desired.Rev+1, "mallory", now())
				h.publish(everyone, "desired", d)
			case r.State == Paused && !strings.Contains(r.Reason, `"mallory"`):
				t.Errorf("reason: %s", r.Reason)
			}
		})
	})
	if err != nil || steps != 2 {
		t.Errorf("%v after %d steps", err, steps)
	}
}

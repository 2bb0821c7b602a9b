package models

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// step is one thing that happens to a device.
type event struct {
	what   string
	target string
	n      int
}

func events() *rapid.Generator[[]event] {
	targets := []string{"v1/1", "v2/1", "v3/1", "trial-nan/1", "trial-crash/1", "shadow-worse/1", "shadow-crash/1", "live-nan/1", "live-crash/1", "none/1"}
	one := rapid.Custom(func(t *rapid.T) event {
		return event{
			what: rapid.SampledFrom([]string{"offer", "offer", "offer", "wait", "wait", "wait long", "restart", "crash", "crash at", "crash at", "rollback", "hold", "release",
				"fetch fails", "fetch works", "promote fails", "promote works", "no frames", "frames", "clock", "exchange fails", "exchange works"}).Draw(t, "what"),
			target: rapid.SampledFrom(targets).Draw(t, "target"),
			n:      rapid.IntRange(1, 40).Draw(t, "n"),
		}
	})
	return rapid.SliceOfN(one, 5, 25)
}

// TestWhateverHappens: offers, failures, crashes and jumps of the clock in any order. At any time what heron-vision is given is whole, verified and
// not refused; in the end, when all works again, a good model that is offered runs.
func TestWhateverHappens(t *testing.T) {
	t.Parallel()
	archives := newWorld(t, "trial-nan", "trial-crash", "shadow-worse", "shadow-crash", "live-nan", "live-crash").repo
	rapid.Check(t, func(rt *rapid.T) {
		list := events().Draw(rt, "events")
		dir := t.TempDir()
		var failed []string
		synctest.Test(t, func(t *testing.T) { failed = happen(t, archives, dir, list) })
		if len(failed) > 0 {
			rt.Fatalf("%v", failed)
		}
	})
}

// fate is what T is in a random life: it collects.
type fate struct {
	testing.TB
	failed *[]string
}

func (fate) Helper()                     {}
func (f fate) Error(a ...any)            { *f.failed = append(*f.failed, fmt.Sprint(a...)) }
func (f fate) Errorf(s string, a ...any) { *f.failed = append(*f.failed, fmt.Sprintf(s, a...)) }
func (f fate) Fatal(a ...any)            { f.Error(a...) }
func (f fate) Fatalf(s string, a ...any) { f.Errorf(s, a...) }

func happen(t *testing.T, archives map[string][]byte, dir string, list []event) (failed []string) {
	w := newWorldOf(fate{t, &failed}, archives)
	cfg := w.config(dir)
	var shift atomic.Int64 // nanoseconds that the wall clock is off
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	l := &randomLife{world: w, cfg: cfg, shift: &shift}
	l.begin()
	for i, e := range list {
		l.event(e)
		l.check(fmt.Sprintf("after %d: %+v", i, e))
	}
	l.peace()
	l.d.stop()
	return failed
}

type randomLife struct {
	world   *world
	cfg     Config
	d       *device
	rev     int64
	crashAt atomic.Int64 // points until a crash; 0: none
	dead    chan struct{}
	shift   *atomic.Int64
}

func (l *randomLife) begin() {
	l.dead = make(chan struct{})
	dead := l.dead
	l.d = l.world.start(l.cfg, func(m *Manager) {
		m.point = func(string) {
			m.mu.Lock()
			booting := len(m.slots) > 0 && !m.slots["main"].talks
			m.mu.Unlock()
			if booting || l.crashAt.Load() <= 0 {
				return
			}
			if l.crashAt.Add(-1) == 0 { // from here on nothing of this life reaches the disk
				m.die()
				close(dead)
				runtime.Goexit()
			}
		}
	})
}

// die makes a Manager as good as killed: its journal is shut.
func (m *Manager) die() {
	m.mu.Lock()
	m.loaded = false
	m.mu.Unlock()
	m.journal.close()
}

func (l *randomLife) crash() {
	l.d.die()
	l.d.stop()
	l.begin()
}

func (l *randomLife) event(e event) {
	w := l.world
	set := func(fn func()) { w.mu.Lock(); fn(); w.mu.Unlock() }
	switch e.what {
	case "offer":
		l.rev++
		_ = l.d.Offer("main", Wish{Target: e.target, Rev: l.rev, Shadow: time.Duration(e.n%3) * time.Minute, Probation: time.Duration(e.n%4) * 10 * time.Minute})
	case "wait":
		time.Sleep(time.Duration(e.n) * time.Second)
	case "wait long":
		time.Sleep(time.Duration(e.n) * time.Minute)
	case "restart":
		l.d.stop()
		l.begin()
	case "crash":
		l.crash()
	case "crash at":
		l.crashAt.Store(int64(e.n))
		select {
		case <-l.dead:
			l.d.stop()
			l.begin()
		case <-time.After(30 * time.Minute):
		}
		l.crashAt.Store(0)
	case "rollback":
		_ = l.d.Rollback("main", "somebody")
	case "hold":
		_ = l.d.Hold(time.Duration(e.n)*time.Minute, "somebody")
	case "release":
		_ = l.d.Release("somebody")
	case "fetch fails":
		set(func() { w.fetchErr = errors.New("no route to host") })
	case "fetch works":
		set(func() { w.fetchErr = nil })
	case "promote fails":
		set(func() { w.promoteErr, w.promoted = errors.New("no answer"), e.n%2 == 0 })
	case "promote works":
		set(func() { w.promoteErr = nil })
	case "no frames", "frames":
		set(func() { w.noFrames = e.what == "no frames" })
	case "exchange fails":
		set(func() { w.replaceErr = errors.New("no answer") })
	case "exchange works":
		set(func() { w.replaceErr = nil })
	case "clock":
		set(func() {
			l.shift.Store(int64([]time.Duration{0, -20 * 365 * 24 * time.Hour, 30 * 365 * 24 * time.Hour}[e.n%3]))
		})
	}
}

func (l *randomLife) check(when string) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.wrong {
		w.t.Errorf("%s: %s", when, v)
	}
	w.wrong = nil
}

// peace lets everything work again.
func (l *randomLife) peace() {
	w := l.world
	w.mu.Lock()
	w.fetchErr, w.promoteErr, w.replaceErr, w.noFrames = nil, nil, nil, false
	w.mu.Unlock()
	_ = l.d.Release("somebody")
	time.Sleep(3 * time.Hour) // what is under way comes to its end
	l.rev++
	target := "v1/1"
	if slices.ContainsFunc(l.d.Refused(), func(r Refused) bool { return r.Target == target }) { // by three crashes in its trial or on probation
		_, _ = l.d.Forget(target, "somebody")
	}
	_ = l.d.Offer("main", Wish{Target: target, Rev: l.rev, Shadow: time.Minute, Probation: 5 * time.Minute})
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Hour)
	defer cancel()
	for ; ; time.Sleep(10 * time.Second) {
		s := l.d.state()
		w.mu.Lock()
		live := w.live["main"].Digest
		w.mu.Unlock()
		if s.Active.Target == target && s.Target == "" && s.Probation == 0 && live == s.Active.Digest {
			break
		}
		if ctx.Err() != nil {
			w.t.Errorf("never at peace: %+v", s)
			break
		}
	}
	l.check("in peace")
}

package models

import (
	"fmt"
	"strings"
	"time"
)

// Later is how Source.Fetch says that it waits for something that is not its own: a budget, a cheaper link. It is no failure: the slot is
// deferred for that reason, and Fetch is asked again in Wait, once a minute at least.
type Later struct {
	Why  string // one line for people, the same as long as it holds
	Wait time.Duration
}

func (e *Later) Error() string { return e.Why }

// InVain is how Source.Fetch says that all of it came and is of no use, as when the server has another file: it will be the same at the next
// try, and cost as much. So tries are far between, and end their wait when a document is written anew.
type InVain struct{ Err error }

func (e *InVain) Error() string {
	return e.Err.Error() + "; all of it came for nothing, so it is tried a few times a day, or when its document is written anew; heron fleet repo verify --url says what the server has"
}
func (e *InVain) Unwrap() error { return e.Err }

// gate is what a slot remembers of its waiting. Manager.mu guards putOff and come.
type gate struct {
	of     string    // the wish's target: another begins anew
	putOff string    // why the fetch waits, as the source said last; empty: it does not
	come   int       // percent of it that are here
	busy   time.Time // since when the switch is put off, restarts included; zero: it is not
	noted  time.Time // when that was journalled
}

// closed is why a step does not begin now; empty: it may. shown is what is told, which stays while the source is asked again.
func (s *slot) closed(st stage, n *next) (why, shown string) {
	if s.gate.of != n.Wish.Target {
		s.m.mu.Lock()
		s.gate = gate{of: n.Wish.Target}
		s.m.mu.Unlock()
	}
	if st.gated {
		why = s.notNow(n.Wish)
	}
	if why == "" && st.firm {
		if why = s.inUse(); why != "" {
			s.unstage() // it need not run beside the live model meanwhile
		}
	}
	if shown = why; why == "" && n.Step == StepReserved {
		shown = s.gate.putOff
	}
	return why, shown
}

// notNow is why a costly or risky step waits.
func (s *slot) notNow(w Wish) string {
	now := s.m.cfg.Now()
	s.m.mu.Lock()
	held := s.m.held()
	s.m.mu.Unlock()
	switch {
	case held > 0:
		return fmt.Sprintf("on hold for another %v", (held + time.Minute - 1).Truncate(time.Minute)) // up: what is left is never 0s
	case strings.HasPrefix(w.Who, "technician"):
	case now.Before(w.NotBefore):
		return "not before " + w.NotBefore.Format(time.RFC3339)
	default:
		if open, _ := inWindow(w.Window, now.Local()); !open { // checked when it was offered
			return "outside the window " + w.Window
		}
	}
	return ""
}

// inUse is why the switch is put off: local activity, for so long at most, counted while the device runs: the clock may jump. A slot without a model is of no use to anybody.
func (s *slot) inUse() string {
	if s.running.IsNone() {
		return ""
	}
	why, most := s.m.cfg.Busy(s.name), s.m.cfg.BusyAtMost
	if why == "" || most <= 0 {
		return why
	}
	now := time.Now()
	if s.gate.busy.IsZero() {
		s.gate.busy, s.gate.noted = now.Add(-s.rec.Next.PutOff), now
	}
	until := s.gate.busy.Add(most)
	if !now.Before(until) {
		return ""
	}
	if now.Sub(s.gate.noted) >= max(most/24, time.Minute) { // a device that is switched off every night must come to the end of it, too
		s.gate.noted = now
		_ = s.put(s.rec.Next.Step, func(r *record) { r.Next.PutOff = now.Sub(s.gate.busy) }) // a failure is told by put, and costs no more than this count
	}
	return why + "; switches at " + until.Format("15:04") + " at the latest"
}

// putOff has the fetch wait for what the source waits for.
func (s *slot) putOff(l *Later) {
	if n := s.rec.Next; n.Attempts > 0 || n.Error != "" {
		if err := s.put(n.Step, func(r *record) { r.Next.Attempts, r.Next.Error, r.Next.Check = 0, "", "" }); err != nil {
			s.later(err)
			return
		}
	}
	s.retry.Reset()
	s.m.mu.Lock()
	s.gate.putOff, s.deferred = l.Why, l.Why
	s.retryAt = time.Now().Add(max(s.m.pace.tick, min(l.Wait, s.m.pace.patience)))
	s.m.mu.Unlock()
	s.m.cfg.Changed()
}

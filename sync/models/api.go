package models

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// SlotState is all there is to say of a slot. Absent parts are the zero value.
type SlotState struct {
	Slot      string
	Active    Bundle // what runs, or is to run
	Previous  Bundle // what it would go back to: a model, the configured one, or none
	Staged    Bundle // on its way, as far as it is known
	Target    string // of Staged
	Step      Step   // the last that Staged completed; without one: probation, or how the last wish ended
	Doing     string // "fetching", "in shadow"; empty: nothing is under way
	Percent   int    // of Doing, where it can be told
	Deferred  string // why nothing is done now: hold, window, activity
	Error     string // of the last try, while it is to be tried again
	RetryIn   time.Duration
	Rev       int64         // of the wish that Step answers
	Doc       int64         // of the document that it is of
	Probation time.Duration // still to go
	Last      Outcome
	Counts    Counts
	Trouble   string // with the journal or a folder; the slot runs all the same
}

// State copies what is known, by slot.
func (m *Manager) State() []SlotState {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]SlotState, 0, len(m.slots))
	for _, s := range m.slots {
		out = append(out, s.state())
	}
	slices.SortFunc(out, func(a, b SlotState) int { return strings.Compare(a.Slot, b.Slot) })
	return out
}

// Refused lists the digests that are not tried again, the newest first.
func (m *Manager) Refused() []Refused {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Refused, 0, len(m.refused))
	for d, r := range m.refused {
		r.Digest, r.Stop = d, r.Stop.after(r.Step)
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Refused) int { return int(int64(b.N - a.N)) })
	return out
}

// Stats copies the counters.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Offer asks for a model. The same target again changes the wish's terms only; a newer one supersedes what is on its way; what is
// live already, and a rev that is not above the last, need nothing. It returns at once.
func (m *Manager) Offer(name string, w Wish) error {
	if w.Who == "" {
		w.Who = "fleet"
	}
	w.File, w.Retry = "", false
	return m.order(name, func(s *slot) error {
		if err := w.validate(); err != nil {
			return fmt.Errorf("offer for slot %s: %w", name, err)
		}
		if w.Rev != 0 && w.Rev <= s.rec.Rev || s.wish != nil && w.Rev != 0 && w.Rev <= s.wish.Rev {
			m.stats.Stale++
			return nil
		}
		s.wish = &w
		return nil
	})
}

// Withdraw takes back what a document asked of a slot and is still on its way, because documents ask for nothing there any more. What is live
// stays, and what a technician brought goes on. It returns at once.
func (m *Manager) Withdraw(name string) error {
	return m.order(name, func(s *slot) error {
		if s.wish != nil && s.wish.Rev != 0 {
			s.wish = nil
		}
		s.withdrawn = true
		return nil
	})
}

// Activate brings a bundle from a file on this device the same way, but for the signed metadata. It must be allowed by Config.Unsigned.
func (m *Manager) Activate(name, path, who string, shadow, probation time.Duration) error {
	if !m.cfg.Unsigned {
		return fmt.Errorf("activate %s: unsigned bundles are not allowed on this device; allow them in its configuration, or push a signed one", path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("activate %s: %w", path, err)
	}
	w := Wish{Target: "file:" + strings.Map(plain, filepath.Base(abs)), Who: who, Shadow: shadow, Probation: probation, File: abs}
	return m.order(name, func(s *slot) error {
		if err := w.validate(); err != nil {
			return fmt.Errorf("activate %s: %w", path, err)
		}
		s.wish = &w
		return nil
	})
}

func plain(r rune) rune {
	if odd(r) {
		return '_'
	}
	return r
}

// Rollback replaces the live model by the one before it, and drops what is on its way. No digest is refused: it is somebody's choice.
func (m *Manager) Rollback(name, who string) error {
	return m.order(name, func(s *slot) error {
		if s.rec.Active == nil && s.rec.Next == nil {
			return fmt.Errorf("roll back slot %s: it runs what the configuration names; there is nothing before it", name)
		}
		s.wish, s.rollback = nil, who
		return nil
	})
}

// order hands an order to a slot's loop; fn runs with Manager.mu held.
func (m *Manager) order(name string, fn func(*slot) error) error {
	s := m.slots[name]
	if s == nil {
		return fmt.Errorf("there is no model slot %q; the configuration names the slots", name)
	}
	m.mu.Lock()
	err := fn(s)
	m.mu.Unlock()
	kick(s.kicked)
	return err
}

// Hold keeps everything as it is for so long, except for going back from a bad model. A later Hold replaces it.
func (m *Manager) Hold(d time.Duration, who string) error {
	if d <= 0 || d > 7*24*time.Hour {
		return fmt.Errorf("hold for %v: expected more than 0 and at most seven days", d)
	}
	return m.setHold(hold{Until: m.cfg.Now().Add(d), For: d}, Entry{What: "hold", Who: who, Detail: d.String()})
}

// Release ends a hold.
func (m *Manager) Release(who string) error {
	return m.setHold(hold{}, Entry{What: "release", Who: who})
}

func (m *Manager) setHold(h hold, e Entry) error {
	if err := m.put(change{bucketDevice: {keyHold: h}}); err != nil {
		return fmt.Errorf("%s: %w", e.What, err)
	}
	m.mu.Lock()
	m.hold, m.heldTill = h, time.Now().Add(h.For)
	m.mu.Unlock()
	e.When, e.Result = m.cfg.Now(), "ok"
	m.cfg.Audit(e)
	m.kickAll()
	return nil
}

// Held is how long a hold still lasts; 0: there is none.
func (m *Manager) Held() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held()
}

func (m *Manager) held() time.Duration {
	if m.hold.For <= 0 {
		return 0
	}
	return max(0, time.Until(m.heldTill))
}

// Forget allows a refused digest, or all of a target, to be tried again. It says how many it forgot.
func (m *Manager) Forget(digestOrTarget, who string) (int, error) {
	gone := map[string]any{}
	m.mu.Lock()
	for d, r := range m.refused {
		if d == digestOrTarget || r.Target == digestOrTarget {
			gone[d] = nil
		}
	}
	m.mu.Unlock()
	if len(gone) == 0 {
		return 0, nil
	}
	if err := m.put(change{bucketRefused: gone}); err != nil {
		return 0, fmt.Errorf("forget %s: %w", digestOrTarget, err)
	}
	m.mu.Lock()
	for d := range gone {
		delete(m.refused, d)
	}
	m.mu.Unlock()
	m.cfg.Audit(Entry{When: m.cfg.Now(), Who: who, What: "forget", Target: digestOrTarget, Result: "ok"})
	m.kickAll()
	return len(gone), nil
}

// Damaged tells that heron-vision refuses to load the slot's live model because of its files. They are looked at, and where that is so the
// slot goes back.
func (m *Manager) Damaged(name string) error {
	return m.order(name, func(s *slot) error { s.look = true; return nil })
}

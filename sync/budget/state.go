package budget

import (
	"fmt"
	"time"
)

// State is what there is to say.
type State struct {
	Day, Month       int64  // bytes spent
	PerDay, PerMonth int64  // 0: no bound
	Link             string // of the last question; empty: not known
	OnMetered        bool   // it is a metered one
	Code, Why        string // why files wait, as asked in the last minutes; empty: they do not
	Trouble          string // with the ledger
}

// staleAfter is when the answer to the last question says nothing any more: who waits asks once a minute.
const staleAfter = 3 * time.Minute

// State copies it. It waits for no disk and no network.
func (b *Budget) State() State {
	if b.mu.TryLock() {
		s := b.state()
		b.shown.Store(&s)
		b.mu.Unlock()
	}
	return *b.shown.Load()
}

func (b *Budget) state() State {
	s := b.found
	if time.Since(b.asked) > staleAfter {
		s.Code, s.Why = "", ""
	}
	s.PerDay, s.PerMonth, s.Trouble = b.cfg.PerDay, b.cfg.PerMonth, b.book.trouble
	b.book.advance()
	s.Day, s.Month = max(0, b.book.Day.Spent-b.book.left), max(0, b.book.Month.Spent-b.book.left)
	if s.Day >= unknown {
		s.Day = s.PerDay
	}
	return s
}

// note remembers what was found, and logs what is new.
func (b *Budget) note(v verdict, l link) {
	if v.code != b.found.Code {
		if v.code != "" {
			b.cfg.Log.Info("updates wait", "reason", v.why)
		} else {
			b.cfg.Log.Info("updates may flow again", "link", l.name)
		}
	}
	b.found.Code, b.found.Why, b.found.Link, b.found.OnMetered = v.code, v.why, l.name, l.metered
	b.asked = time.Now()
}

// when says for people when it goes on: by the clock where it can be believed.
func (b *Budget) when(wait time.Duration) string {
	now := b.cfg.Clock.Now()
	at := now.Add(wait)
	switch {
	case !b.cfg.Clock.Synced() && wait > 36*time.Hour:
		return fmt.Sprintf("in %.0f days", max(1, wait.Hours()/24))
	case !b.cfg.Clock.Synced():
		return fmt.Sprintf("in %.0f h (the clock is not in sync)", max(1, wait.Round(time.Hour).Hours()))
	case wait > 36*time.Hour:
		return "on " + at.Format("2006-01-02")
	}
	return "at " + at.Round(time.Minute).Format("15:04")
}

// Amount writes bytes for people: 50 MiB.
func Amount(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

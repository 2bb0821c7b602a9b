package models

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"heron/internal/backoff"
	"heron/internal/clock"
)

const maxRefused = 1000

// Manager brings models into the slots of this device and takes them back. Every step is journalled: a kill at any point resumes or goes back.
type Manager struct {
	cfg     Config
	pace    pace
	store   *store
	journal *journal
	heavy   chan struct{} // one slot at a time fetches, unpacks or tries; the collection of what is not needed waits, too
	swept   chan struct{} // closed when the leftovers of the last life are gone
	sweep   chan struct{} // something may be collected
	point   func(string)  // for tests: called before and after each journalled step

	mu       sync.Mutex // guards what follows, and what slots show
	slots    map[string]*slot
	refused  map[string]Refused
	n        uint64 // of the last refusal
	hold     hold
	loaded   bool   // the journal has been read
	trouble  string // with the journal; empty: none
	stats    Stats
	heldTill time.Time // hold, as a monotonic time
}

// pace are the times of the state machine.
type pace struct {
	tick, healthy, save, patience time.Duration
	retryMin, retryMax            time.Duration
	vainMin, vainMax              time.Duration // between transfers of a whole bundle that is not the signed one: they cost
}

// crashStarts without a minute of health, and a model on probation goes back.
const crashStarts = 3

// Stats are counters since the start, beside those in State.
type Stats struct {
	Stale      uint64 // wishes whose rev was not above the last one
	Collected  uint64 // folders removed
	Journal    uint64 // writes of the journal that failed
	Quarantine uint64 // damaged journals set aside
}

// New checks the configuration; nothing is opened or started.
func New(c Config) (*Manager, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	m := &Manager{cfg: c, slots: map[string]*slot{}, refused: map[string]Refused{}, point: func(string) {},
		store: &store{c.Dir, c.MaxBytes, c.KeepFree}, journal: &journal{path: filepath.Join(c.Dir, journalName)},
		heavy: make(chan struct{}, 1), swept: make(chan struct{}), sweep: make(chan struct{}, 1),
		pace: pace{tick: time.Second, healthy: time.Minute, save: time.Minute, patience: time.Minute, retryMin: 5 * time.Second, retryMax: time.Hour, vainMin: 10 * time.Minute, vainMax: 12 * time.Hour}}
	for name := range c.Slots {
		m.slots[name] = newSlot(m, name)
	}
	return m, nil
}

// Boot says which bundle each slot is to run, before heron-vision is started. It never fails: without a journal that can be read it is the last confirmed
// model, else the configured one, else none, and State says why. A model on probation that did not live a minute, three starts
// in a row, goes back here.
func (m *Manager) Boot() map[string]Bundle {
	m.load()
	out := map[string]Bundle{}
	for name, s := range m.slots {
		out[name] = s.boot()
	}
	return out
}

// load reads the journal. Where it cannot be read, slots have what good-SLOT.json says.
func (m *Manager) load() {
	err := m.store.make()
	var c *memory
	var aside error
	if err == nil {
		c, aside, err = m.journal.open()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loaded, m.trouble = err == nil, ""
	switch {
	case err != nil:
		m.trouble = err.Error()
		m.stats.Journal++
	case aside != nil:
		m.trouble = fmt.Sprintf("the journal was damaged and set aside: %v; what was refused is forgotten", aside)
		m.stats.Quarantine++
	}
	if c != nil {
		m.refused, m.hold = c.refused, c.hold
		left := min(c.hold.Until.Sub(m.cfg.Now()), c.hold.For)
		m.heldTill = time.Now().Add(left)
	}
	for _, r := range m.refused {
		m.n = max(m.n, r.N)
	}
	for name, s := range m.slots {
		var r *record
		if c != nil {
			r = c.slots[name]
		}
		if r == nil {
			r = s.fromGood()
		}
		s.adopt(r)
	}
}

// Run works until ctx ends. Boot comes first.
func (m *Manager) Run(ctx context.Context) error {
	defer m.journal.close()
	var wg sync.WaitGroup
	wg.Go(func() { m.collector(ctx) })
	m.untilLoaded(ctx)
	for _, s := range m.slots {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Wait()
	return ctx.Err()
}

// untilLoaded tries the journal again while it could not be read. What runs meanwhile is exchanged if the journal says otherwise.
func (m *Manager) untilLoaded(ctx context.Context) {
	retry := backoff.Backoff{Min: m.pace.retryMin, Max: m.pace.retryMax}
	for {
		m.mu.Lock()
		ok := m.loaded
		m.mu.Unlock()
		if ok || !clock.Sleep(ctx, retry.Next()) {
			return
		}
		ran := map[string]Bundle{}
		for name, s := range m.slots {
			ran[name] = s.running
		}
		if m.load(); !m.isLoaded() {
			for name, s := range m.slots {
				s.running = ran[name]
			}
			continue
		}
		for name, s := range m.slots {
			b := s.boot()
			s.replace = b.Digest != ran[name].Digest || b.Dir != ran[name].Dir
		}
	}
}

func (m *Manager) isLoaded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loaded
}

// put journals a change. Without a journal that was read, nothing is written: it would write over what is there.
func (m *Manager) put(ch change) error {
	if !m.isLoaded() {
		return errors.New("write the journal: it could not be read")
	}
	err := m.journal.put(ch)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.stats.Journal++
		m.trouble = err.Error()
	} else if m.trouble != "" && m.stats.Quarantine == 0 {
		m.trouble = ""
	}
	return err
}

// take waits for the one place for heavy work.
func (m *Manager) take(ctx context.Context) (release func(), err error) {
	select {
	case <-m.swept:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case m.heavy <- struct{}{}:
		return func() { <-m.heavy }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// collector removes what no slot needs: at the start, and whenever something came to its end. It never runs beside heavy work.
func (m *Manager) collector(ctx context.Context) {
	for first := true; ; first = false {
		if first && !m.waitLoaded(ctx) {
			return
		}
		select {
		case m.heavy <- struct{}{}:
		case <-ctx.Done():
			return
		}
		keep, coming := m.needed()
		n := m.store.collect(ctx, keep, coming)
		<-m.heavy
		m.mu.Lock()
		m.stats.Collected += uint64(n)
		m.mu.Unlock()
		if first {
			close(m.swept)
		}
		select {
		case <-m.sweep:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) waitLoaded(ctx context.Context) bool {
	for !m.isLoaded() {
		if !clock.Sleep(ctx, m.pace.tick) {
			return false
		}
	}
	return ctx.Err() == nil
}

// needed are the digests that some slot may still run, and those on their way.
func (m *Manager) needed() (keep, coming map[string]bool) {
	keep, coming = map[string]bool{}, map[string]bool{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.slots {
		for _, b := range append(s.rec.bundles(), s.running, s.fromGoodFile) {
			keep[b.Digest] = true
		}
		if n := s.rec.Next; n != nil {
			keep[n.Offer.SHA256], coming[n.Offer.SHA256] = true, true
		}
	}
	delete(keep, "")
	return keep, coming
}

func (r *record) bundles() (out []Bundle) {
	for _, b := range []*Bundle{r.Active, r.Previous, r.Older} {
		if b != nil {
			out = append(out, *b)
		}
	}
	return out
}

// known finds a bundle that some slot has verified and still has.
func (m *Manager) known(digest string) (Bundle, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.slots {
		for _, b := range s.rec.bundles() {
			if b.Digest == digest {
				return b, true
			}
		}
	}
	return Bundle{}, false
}

// have are the bundles that lie here whole, as far as names and sizes tell.
func (m *Manager) have() (out []Bundle) {
	m.mu.Lock()
	for _, s := range m.slots {
		out = append(out, s.rec.bundles()...)
		if !s.configured.IsNone() {
			out = append(out, s.configured)
		}
	}
	m.mu.Unlock()
	for i := range out {
		if out[i].Digest != "" {
			out[i].Dir = m.store.folder(out[i].Digest)
		}
	}
	return slices.DeleteFunc(out, func(b Bundle) bool {
		_, err := checkFolder(b.Dir, b.Manifest, true)
		return err != nil
	})
}

// refuse adds a digest to those that are not tried again, and returns what is to be journalled for it. Manager.mu is held.
func (m *Manager) refuse(r Refused) map[string]any {
	m.n++
	r.N = m.n
	out := map[string]any{r.Digest: r}
	m.refused[r.Digest] = r
	for len(m.refused) > maxRefused {
		oldest := slices.MinFunc(slices.Collect(maps.Values(m.refused)), func(a, b Refused) int { return int(int64(a.N - b.N)) })
		delete(m.refused, oldest.Digest)
		out[oldest.Digest] = nil
	}
	return out
}

func (m *Manager) kickAll() {
	for _, s := range m.slots {
		kick(s.kicked)
	}
	m.cfg.Changed()
}

func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

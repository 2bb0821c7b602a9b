// Package budget says when the bytes of updates may flow: so many a day and a month, at such a rate, over a metered link only at certain
// hours.
//
// What may flow is written down before it is asked of the link, in blocks of 256 KiB: a kill or a power cut makes the budget smaller by one
// block at most, never larger. Signed metadata and uploads that somebody asked for are counted and never wait.
package budget

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"heron/internal/clock"
	"heron/internal/daily"
)

// Config of a Budget. Path is required where there is a PerDay or PerMonth.
type Config struct {
	Path     string // of the ledger: one small file
	PerDay   int64  // bytes; 0: no bound
	PerMonth int64  // bytes; 0: no bound
	Rate     int64  // bytes a second, at most; 0: as fast as it goes

	Metered     []string // patterns of links that cost money: wwan*; none: no link does
	Window      string   // 22:00-05:00, local time: files come over a metered link only then; empty: never
	OnlyMetered bool     // PerDay and PerMonth bound what comes over metered links, not what comes over others

	Host  string                                                 // host:port that updates come from
	Route func(ctx context.Context, host string) (string, error) // the link to it; nil: RouteTo
	Clock Clock                                                  // zero fields: the system's
	Log   *slog.Logger                                           // nil: silent
}

// Clock is where time comes from.
type Clock struct {
	Now    func() time.Time     // what the device's clock shows, in its time zone
	Synced func() bool          // whether something disciplines it
	Mono   func() time.Duration // since boot, the time asleep included; it never steps
	Boot   string               // which boot this is
}

func (c *Clock) orSystem() {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Synced == nil {
		c.Synced = func() bool { return clock.Now().Sync }
	}
	if c.Mono == nil {
		c.Mono = clock.SinceBoot
	}
	if c.Boot == "" {
		c.Boot = clock.BootID()
	}
}

// ask is the largest number of bytes that a transfer asks for at a time; a budget with less left is spent.
const ask = 64 << 10

// Least values that make sense: less would never let anything through, or hold a connection open for nothing.
const (
	LeastBudget = 1 << 20
	LeastRate   = 16 << 10
)

// Budget is used by all transfers at once.
type Budget struct {
	cfg    Config
	window daily.Window
	links  links

	mu    sync.Mutex
	book  book
	next  time.Time // when the rate lets the next bytes begin
	found State     // by the last question: Link, OnMetered, Code, Why
	asked time.Time // when that was

	shown atomic.Pointer[State] // for who cannot wait until the disk is done
}

// New reads nothing yet: what is wrong with the disk is told when it matters.
func New(cfg Config) (*Budget, error) {
	b := &Budget{cfg: cfg}
	b.cfg.Clock.orSystem()
	if b.cfg.Route == nil {
		b.cfg.Route = RouteTo
	}
	if b.cfg.Log == nil {
		b.cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Window != "" {
		w, err := daily.ParseWindow(cfg.Window)
		if err != nil {
			return nil, fmt.Errorf("the window of metered links: %w", err)
		}
		b.window = w
	}
	b.links = links{route: b.cfg.Route, host: cfg.Host, patterns: cfg.Metered}
	b.book = book{path: cfg.Path, month: cfg.PerMonth, clock: b.cfg.Clock}
	b.shown.Store(&State{PerDay: cfg.PerDay, PerMonth: cfg.PerMonth})
	return b, nil
}

// What holds files up, for programs.
const (
	Day     = "day"     // the day's budget is spent
	Month   = "month"   // the month's is
	Metered = "metered" // the link is metered, and it is not the time
	Clocked = "clock"   // it is metered, and without a clock nobody knows the time
	Ledger  = "ledger"  // what is spent cannot be written down
)

// Codes are all of them.
func Codes() []string { return []string{Day, Month, Metered, Clocked, Ledger} }

// verdict is why not now; the zero value is yes.
type verdict struct {
	code, why string
	wait      time.Duration
}

// Allow implements fetch.Budget.
func (b *Budget) Allow(ctx context.Context, n int64) (time.Duration, string) {
	link := b.links.now(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.judge(link, n)
	if v.code == "" && b.bounds(link) {
		v = b.spend(n)
	}
	b.note(v, link)
	if v.code != "" {
		return v.wait, v.why
	}
	return b.pace(n), ""
}

// Check says whether files may flow, and spends nothing. why is empty: they may.
func (b *Budget) Check(ctx context.Context) (wait time.Duration, why string) {
	link := b.links.now(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.judge(link, ask)
	b.note(v, link)
	return v.wait, v.why
}

// Count implements fetch.Budget. Where it cannot be written down it is counted all the same.
func (b *Budget) Count(ctx context.Context, n int64) {
	link := b.links.now(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.bounds(link) {
		return
	}
	b.book.advance()
	if err := b.book.spend(n); err != nil {
		b.book.add(n)
	}
}

// bounds says whether the bytes of a link count. A link that nobody could find out is taken for a metered one.
func (b *Budget) bounds(l link) bool {
	return (b.cfg.PerDay > 0 || b.cfg.PerMonth > 0) && (!b.cfg.OnlyMetered || l.metered || l.name == "")
}

// judge says whether n bytes may come over a link now.
func (b *Budget) judge(l link, n int64) verdict {
	if v := b.judgeLink(l); v.code != "" {
		return v
	}
	if !b.bounds(l) {
		return verdict{}
	}
	if err := b.book.open(); err != nil {
		return noLedger(err)
	}
	b.book.advance()
	if b.book.owed {
		if err := b.book.write(); err != nil {
			return noLedger(err)
		}
	}
	for _, p := range []struct {
		limit int64
		p     *period
		code  string
	}{{b.cfg.PerMonth, &b.book.Month, Month}, {b.cfg.PerDay, &b.book.Day, Day}} {
		if p.limit > 0 && p.p.Spent-b.book.left+n > p.limit {
			wait := b.book.ends(p.p)
			return verdict{p.code, fmt.Sprintf("the %s's budget of %s is spent; goes on %s", p.code, Amount(p.limit), b.when(wait)), wait}
		}
	}
	return verdict{}
}

func noLedger(err error) verdict {
	return verdict{Ledger, fmt.Sprintf("what is spent of the budget cannot be written down: %v; check the disk under the outbox", err), time.Minute}
}

// judgeLink is about metered links alone.
func (b *Budget) judgeLink(l link) verdict {
	now := b.cfg.Clock.Now()
	switch {
	case !l.metered:
		return verdict{}
	case b.cfg.Window == "":
		return verdict{Metered, "link " + l.name + " is metered, and no window is set for it; goes on over another link", time.Minute}
	case !b.cfg.Clock.Synced():
		return verdict{Clocked, fmt.Sprintf("link %s is metered, its window is %s, and this device's clock is not in sync; goes on when it is, or over another link", l.name, b.cfg.Window), time.Minute}
	case !b.window.Open(now):
		opens := b.window.Opening(now)
		return verdict{Metered, fmt.Sprintf("link %s is metered; goes on at %s, or over another link", l.name, opens.Format("15:04")), min(opens.Sub(now), time.Minute)}
	}
	return verdict{}
}

// spend writes n bytes down.
func (b *Budget) spend(n int64) verdict {
	if err := b.book.spend(n); err != nil {
		return noLedger(err)
	}
	return verdict{}
}

// pace is how long n bytes wait for the rate.
func (b *Budget) pace(n int64) time.Duration {
	if b.cfg.Rate <= 0 {
		return 0
	}
	now := time.Now()
	if b.next.Before(now) {
		b.next = now
	}
	wait := b.next.Sub(now)
	b.next = b.next.Add(time.Duration(float64(n) / float64(b.cfg.Rate) * float64(time.Second)))
	return wait
}

// Run keeps the measured time on the disk and gives back at the end what was written down and not spent.
func (b *Budget) Run(ctx context.Context) error {
	if b.cfg.PerDay <= 0 && b.cfg.PerMonth <= 0 {
		<-ctx.Done()
		return nil
	}
	t := time.NewTicker(keepEvery)
	defer t.Stop()
	b.keep(false)
	for {
		select {
		case <-t.C:
			b.keep(false)
		case <-ctx.Done():
			b.keep(true)
			return nil
		}
	}
}

func (b *Budget) keep(last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.book.keep(last); err != nil {
		b.cfg.Log.Warn("the ledger of the budget cannot be written", "error", err)
	}
}

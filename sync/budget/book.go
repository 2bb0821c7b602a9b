package budget

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"heron/internal/slotfile"
)

const (
	block     = 256 << 10        // bytes written down at a time
	keepEvery = 15 * time.Minute // measured time that a reboot can cost
	aJump     = time.Minute      // by which a clock in sync parts from the measured time at once
)

// A new day begins when a clock in sync shows another date than the one the day is for and 22 hours were measured since the last new day;
// or, whatever any clock shows, when 25 hours were measured. So a clock that jumps gives nothing away, and one that is wrong or absent
// blocks nothing for longer than a day. Measured means on the clock that counts from the boot; the time that the device was off counts only
// as far as a clock in sync, before and after, vouches for it. A month is the same with 27 days and 31 days and an hour.
const (
	dayLeast, dayMost     = 22 * time.Hour, 25 * time.Hour
	monthLeast, monthMost = 27 * 24 * time.Hour, 31*24*time.Hour + time.Hour
)

// unknown is more than any budget.
const unknown = 1 << 60

// period is a day or a month.
type period struct {
	Name   string        `json:"name,omitempty"` // its date; empty: no clock has named it yet
	Spent  int64         `json:"spent"`          // bytes, the block in hand included
	Since  time.Duration `json:"since_ns"`       // measured since the last new one
	Rolled bool          `json:"rolled"`         // it began after another, not with the ledger
}

// due says whether a new period begins. name is what a clock in sync calls the present; empty: there is none.
func (p *period) due(name string, least, most time.Duration) bool {
	if p.Since >= most {
		return true
	}
	return name != "" && p.Name != "" && name != p.Name && p.Since >= least
}

// pages are what is written down.
type pages struct {
	V     int           `json:"v"`
	Day   period        `json:"day"`
	Month period        `json:"month"`
	Wall  time.Time     `json:"wall,omitzero"` // by a clock in sync, carried on by the measured time; zero: there never was one
	Boot  string        `json:"boot"`
	Mono  time.Duration `json:"mono_ns"` // since that boot
}

// book keeps what was spent. Its methods are called with Budget.mu held.
type book struct {
	pages
	path    string
	month   int64 // bytes that may be spent in one
	clock   Clock
	file    *slotfile.File
	opened  bool          // the pages are those of the file
	left    int64         // of the block in hand
	off     bool          // the time before this boot is not counted yet
	owed    bool          // it is counted, or the clock has jumped, and that is not written down: another start would take the one or the other for time off
	at      time.Duration // Mono, as far as time is measured
	dirty   bool          // spent or begun since the last write
	trouble string
}

// open reads the ledger, once. One that is damaged counts as a day and half a month that are spent.
func (b *book) open() error {
	if b.opened {
		return nil
	}
	f, err := slotfile.Open(b.path)
	if err != nil {
		b.trouble = err.Error()
		return err
	}
	text, blank, err := f.Read()
	if err != nil {
		_ = f.Close()
		b.trouble = err.Error()
		return err
	}
	p := pages{}
	if err := json.Unmarshal(text, &p); err != nil || p.V != 1 || p.Day.Spent < 0 || p.Month.Spent < 0 {
		p = pages{V: 1}
		if b.trouble = ""; !blank {
			b.trouble = "the ledger of the budget was damaged: the day and half the month count as spent"
			p.Day, p.Month = period{Spent: unknown, Rolled: true}, period{Spent: b.month / 2, Rolled: true}
		}
	} else {
		b.trouble = ""
	}
	p.Day.Spent += b.Day.Spent // counted while there was no ledger
	p.Month.Spent += b.Month.Spent
	b.pages, b.file, b.opened, b.dirty = p, f, true, true
	now := b.clock.Mono()
	switch {
	case p.Boot == "": // it begins here
		b.at = now
	case p.Boot != b.clock.Boot || p.Mono > now:
		b.at, b.off = 0, !p.Wall.IsZero()
	default:
		b.at = p.Mono
	}
	b.Boot = b.clock.Boot
	return nil
}

// advance measures the time that passed, and begins a new day or month.
func (b *book) advance() {
	if !b.opened {
		return
	}
	mono := b.clock.Mono()
	step := max(0, mono-b.at)
	b.at = mono
	day, month := "", ""
	if !b.Wall.IsZero() {
		b.Wall = b.Wall.Add(step)
	}
	if b.clock.Synced() {
		now := b.clock.Now()
		if b.off { // Wall is as late as it can be without the time that the device was off
			step += max(0, now.Sub(b.Wall))
			b.off, b.owed = false, true
		} else if !b.Wall.IsZero() && now.Sub(b.Wall).Abs() > aJump {
			b.owed = true
		}
		b.Wall = now
		day, month = now.Format(time.DateOnly), now.Format("2006-01")
	}
	b.roll(&b.Day, step, day, dayLeast, dayMost)
	b.roll(&b.Month, step, month, monthLeast, monthMost)
}

func (b *book) roll(p *period, step time.Duration, name string, least, most time.Duration) {
	p.Since += step
	if p.due(name, least, most) {
		carry := time.Duration(0) // it may have begun while nobody looked
		if name != "" && name != p.Name {
			carry = max(0, min(b.sofar(p), p.Since-least))
		}
		*p = period{Name: name, Spent: b.left, Since: carry, Rolled: true} // the block in hand is spent, if ever, in the new one
		b.dirty = true
	}
	if p.Name == "" && name != "" {
		if p.Name = name; !p.Rolled { // the ledger is as good as one from midnight: this once, and for less than a period
			p.Since = max(p.Since, b.sofar(p))
		}
		b.dirty = true
	}
}

// calendar says when the present day or month began, and when the next does.
func (b *book) calendar(p *period) (begin, end time.Time) {
	now := b.clock.Now()
	y, m, d := now.Date()
	if p == &b.Month {
		return time.Date(y, m, 1, 0, 0, 0, 0, now.Location()), time.Date(y, m+1, 1, 0, 0, 0, 0, now.Location())
	}
	return time.Date(y, m, d, 0, 0, 0, 0, now.Location()), time.Date(y, m, d+1, 0, 0, 0, 0, now.Location())
}

func (b *book) sofar(p *period) time.Duration {
	begin, _ := b.calendar(p)
	return b.clock.Now().Sub(begin)
}

// ends is how long a period still lasts, as far as can be told now.
func (b *book) ends(p *period) time.Duration {
	least, most := dayLeast, dayMost
	if p == &b.Month {
		least, most = monthLeast, monthMost
	}
	wait := most - p.Since
	if b.clock.Synced() && p.Name != "" {
		now := b.clock.Now()
		_, end := b.calendar(p)
		first := end.Sub(now)
		if !strings.HasPrefix(now.Format(time.DateOnly), p.Name) { // the calendar is further, and it is too young
			first = 0
		}
		wait = min(wait, max(first, least-p.Since))
	}
	return max(wait, time.Second)
}

// spend takes n bytes from the block in hand, and a new block where it is too small: on the disk first.
func (b *book) spend(n int64) error {
	if err := b.open(); err != nil {
		return err
	}
	if n <= b.left {
		b.left -= n
		return nil
	}
	more := max(block, n) - b.left
	was := b.pages
	b.add(more)
	if err := b.write(); err != nil {
		b.pages = was
		return err
	}
	b.left += more - n
	return nil
}

// add counts without writing.
func (b *book) add(n int64) {
	b.Day.Spent += n
	b.Month.Spent += n
	b.dirty = true
}

func (b *book) write() error {
	b.Mono = b.at
	text, err := json.Marshal(b.pages)
	if err == nil {
		err = b.file.Write(text)
	}
	if err != nil {
		b.trouble = fmt.Sprintf("the ledger of the budget cannot be written: %v", err)
		_ = b.file.Close()
		b.reopen()
		return err
	}
	b.dirty, b.owed, b.trouble = false, false, ""
	return nil
}

// reopen has the next call open the file anew: after an error nobody knows which record it holds, and the one in memory is the truer one.
func (b *book) reopen() {
	f, err := slotfile.Open(b.path)
	if err == nil {
		_, _, err = f.Read()
	}
	if err == nil {
		b.file = f
	}
}

// keep writes where there is something to write: what was spent without being written, or the measured time while something is spent.
// At the end the rest of the block in hand is given back.
func (b *book) keep(last bool) error {
	if err := b.open(); err != nil {
		return err
	}
	b.advance()
	if last {
		b.add(-b.left)
		b.left = 0
	}
	if !b.dirty && !b.owed && b.Day.Spent == 0 && b.Month.Spent == 0 {
		return nil
	}
	return b.write()
}

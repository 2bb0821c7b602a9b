package budget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const mib = 1 << 20

// device is a clock on the wall, one that counts from the boot, and a ledger on a disk.
type device struct {
	t      testing.TB
	cfg    Config
	wall   time.Time
	mono   time.Duration
	boots  int
	synced bool
	link   string
	since  time.Time // from then on mono goes by itself; zero: it does not
	b      *Budget
}

// noon is when a device is installed, in a time zone of its own.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.FixedZone("Lyon", 3600)) // read only

func newDevice(t testing.TB, cfg Config) *device {
	d := &device{t: t, cfg: cfg, wall: noon, mono: time.Minute, synced: true, link: "eth0"}
	if d.cfg.Path == "" {
		d.cfg.Path = filepath.Join(t.TempDir(), "budget")
	}
	d.cfg.Route = func(context.Context, string) (string, error) {
		if d.link == "" {
			return "", errors.New("no route")
		}
		return d.link, nil
	}
	d.kill()
	return d
}

// kill starts heron anew without an end; end gives it one.
func (d *device) kill() {
	d.t.Helper()
	c := d.cfg
	c.Clock = Clock{Now: func() time.Time { return d.wall }, Synced: func() bool { return d.synced }, Mono: d.now, Boot: fmt.Sprint("boot", d.boots)}
	b, err := New(c)
	if err != nil {
		d.t.Fatal(err)
	}
	d.b = b
}

func (d *device) now() time.Duration {
	if d.since.IsZero() {
		return d.mono
	}
	return d.mono + time.Since(d.since)
}

func (d *device) end() { d.b.keep(true); d.kill() }

// pass lets time go by, on both clocks.
func (d *device) pass(t time.Duration) {
	d.mono += t
	d.wall = d.wall.Add(t)
	d.b.State() // once a second, in the field
}

// off takes the power away for so long; the clock on the wall is what it is then.
func (d *device) off(t time.Duration) {
	d.b.keep(false)
	d.wall = d.wall.Add(t)
	d.mono = 10 * time.Second
	d.boots++
	d.kill()
}

// spend asks for n bytes as transfers do, and says how many it got, and why not more.
func (d *device) spend(n int64) (got int64, why string) {
	for got < n {
		if _, why = d.b.Allow(context.Background(), ask); why != "" {
			return got, why
		}
		got += ask
	}
	return got, ""
}

func (d *device) can(n int64) {
	d.t.Helper()
	if got, why := d.spend(n); why != "" {
		d.t.Errorf("%d of %d bytes: %s", got, n, why)
	}
}

func (d *device) cannot(says string) {
	d.t.Helper()
	if got, why := d.spend(ask); got > 0 || !strings.Contains(why, says) {
		d.t.Errorf("%d bytes, %q; want none, and %q", got, why, says)
	}
}

func TestADayAndAMonth(t *testing.T) {
	d := newDevice(t, Config{PerDay: 2 * mib, PerMonth: 5 * mib})
	d.can(2 * mib)
	d.cannot("the day's budget of 2 MiB is spent; goes on at 00:00")
	d.pass(11 * time.Hour)
	d.cannot("at 00:00")
	d.pass(time.Hour)
	d.can(2 * mib)
	d.cannot("at 00:00")
	d.pass(24 * time.Hour)
	d.can(mib)
	d.cannot("the month's budget of 5 MiB is spent; goes on on 2026-12-01")
	d.pass(7 * 24 * time.Hour)
	d.cannot("the month's budget of 5 MiB is spent; goes on at 00:00")
	d.pass(24 * time.Hour) // Dec 1st, 00:00
	d.can(2 * mib)
	if s := d.b.State(); s.Day != 2*mib || s.Month != 2*mib || s.PerDay != 2*mib || s.PerMonth != 5*mib {
		t.Errorf("%+v", s)
	}
}

func TestRestartsKeepTheSum(t *testing.T) {
	d := newDevice(t, Config{PerDay: 4 * mib})
	d.can(mib + ask)
	d.end()
	d.can(0)
	if d.cannotKnow(); d.b.State().Day != mib+ask {
		t.Errorf("after an orderly end %d bytes are spent, want %d", d.b.State().Day, mib+ask)
	}
	for range 3 {
		d.can(ask)
		d.kill()
	}
	d.cannotKnow()
	if got := d.b.State().Day; got < mib+4*ask || got > mib+ask+3*block {
		t.Errorf("after three kills %d bytes are spent of %d", got, mib+4*ask)
	}
	got, why := d.spend(8 * mib)
	if got > 3*mib-4*ask || got < 3*mib-ask-3*block-ask || !strings.Contains(why, "is spent") {
		t.Errorf("%d bytes more, %q", got, why)
	}
}

// cannotKnow has the ledger read.
func (d *device) cannotKnow() { d.b.Check(context.Background()) }

func TestFault_S19_NoLedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	d := newDevice(t, Config{PerDay: 2 * mib, Path: filepath.Join(dir, "budget")})
	d.cannot("cannot be written down")
	d.b.Count(context.Background(), mib) // metadata flows all the same
	if s := d.b.State(); s.Code != Ledger || s.Trouble == "" {
		t.Errorf("%+v", s)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.can(mib)
	d.cannot("is spent")
	if s := d.b.State(); s.Day != 2*mib || s.Trouble != "" {
		t.Errorf("what was counted meanwhile is lost: %+v", s)
	}
}

func TestFault_S13_DamagedLedger(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"garbage": func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("x", 8192)), 0o600) },
		"another": func(p string) error { return os.WriteFile(p, append(make([]byte, 8191), 1), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, Config{PerDay: mib, PerMonth: 4 * mib})
			d.can(ask)
			if err := damage(d.cfg.Path); err != nil {
				t.Fatal(err)
			}
			d.kill()
			d.cannot("the day's budget of 1 MiB is spent")
			if s := d.b.State(); s.Day != mib || s.Month != 2*mib {
				t.Errorf("%+v", s)
			}
			d.pass(25 * time.Hour)
			d.can(mib)
		})
	}
}

func TestMeteredLinks(t *testing.T) {
	at := func(clock string) time.Time {
		c, _ := time.Parse("15:04", clock)
		return time.Date(2026, 11, 21, c.Hour(), c.Minute(), 0, 0, noon.Location())
	}
	for name, c := range map[string]struct {
		link, window, at string
		unsynced         bool
		code, says       string
	}{
		"a wire":               {link: "eth0", window: "22:00-05:00", at: "12:00"},
		"no route":             {link: "", window: "22:00-05:00", at: "12:00"},
		"a modem by day":       {link: "wwan0", window: "22:00-05:00", at: "12:00", code: Metered, says: "link wwan0 is metered; goes on at 22:00, or over another link"},
		"a modem by night":     {link: "wwan0", window: "22:00-05:00", at: "23:30"},
		"in the morning":       {link: "ppp0", window: "22:00-05:00", at: "05:00", code: Metered, says: "goes on at 22:00"},
		"by day, on the clock": {link: "wwan0", window: "09:00-17:00", at: "12:00"},
		"never":                {link: "wwan0", at: "23:30", code: Metered, says: "no window is set for it"},
		"no clock":             {link: "wwan0", window: "22:00-05:00", at: "23:30", unsynced: true, code: Clocked, says: "not in sync"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, Config{Metered: []string{"wwan*", "ppp?"}, Window: c.window, Host: "models.example.com:443"})
			d.link, d.wall, d.synced = c.link, at(c.at), !c.unsynced
			wait, why := d.b.Check(context.Background())
			if (why == "") != (c.code == "") || !strings.Contains(why, c.says) || wait > time.Minute || (wait > 0) != (why != "") {
				t.Errorf("check: %v %q", wait, why)
			}
			if got, why := d.spend(ask); (got == 0) != (c.code != "") || !strings.Contains(why, c.says) {
				t.Errorf("%d bytes, %q", got, why)
			}
			if s := d.b.State(); s.Code != c.code || s.Link != c.link || s.Day != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A route is looked up every ten seconds: a modem that takes over stops the transfer, the wire that comes back lets it go on.
func TestAModemTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, Config{PerDay: mib, OnlyMetered: true, Metered: []string{"wwan*"}, Window: "11:00-13:00"})
		d.can(8 * mib) // the wire costs nothing
		d.link = "wwan0"
		time.Sleep(routeFor)
		d.can(mib)
		d.cannot("the day's budget of 1 MiB is spent")
		d.wall = d.wall.Add(2 * time.Hour)
		d.cannot("link wwan0 is metered")
		d.link = "eth0"
		time.Sleep(routeFor)
		d.can(8 * mib)
		if s := d.b.State(); s.Day != mib || s.Code != "" {
			t.Errorf("%+v", s)
		}
		d.link = "" // nobody knows any more: as before
		time.Sleep(routeFor)
		d.can(mib)
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, Config{Rate: 64 << 10})
		began := time.Now()
		for range 10 {
			wait, why := d.b.Allow(context.Background(), ask)
			if why != "" {
				t.Fatal(why)
			}
			time.Sleep(wait)
		}
		if took := time.Since(began); took != 9*time.Second {
			t.Errorf("ten blocks at a block a second took %v", took)
		}
		time.Sleep(time.Hour) // nothing is saved up
		d.can(ask)
		if wait, _ := d.b.Allow(context.Background(), ask); wait != time.Second {
			t.Errorf("the next waits %v", wait)
		}
	})
}

// What was not asked for lately is not shown as the reason for waiting.
func TestAnOldReasonIsNoReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, Config{PerDay: mib})
		d.can(mib)
		d.cannot("is spent")
		if d.b.State().Code != Day {
			t.Error("no reason")
		}
		time.Sleep(staleAfter + time.Second)
		if s := d.b.State(); s.Code != "" || s.Why != "" {
			t.Errorf("%+v", s)
		}
	})
}

func TestAmount(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1000: "1000 B", 64 << 10: "64 KiB", 50 << 20: "50 MiB", 1 << 30: "1 GiB", 3 << 29: "1.5 GiB"} {
		if got := Amount(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

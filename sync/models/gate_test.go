package models

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// at runs a device of its own configuration, in its own time.
func at(t *testing.T, change func(*Config), do func(w *world, d *device)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config(t.TempDir())
		change(&cfg)
		d := w.start(cfg, nil)
		defer d.stop()
		do(w, d)
		d.well()
	})
}

// A source that waits is no failure: the slot says why, how far it is, and goes on by itself.
func TestASourceThatWaits(t *testing.T) {
	at(t, func(*Config) {}, func(w *world, d *device) {
		d.settle("v1/1")
		var changes atomic.Int64
		open := time.Now().Add(7*time.Hour + 90*time.Second)
		waits := &Later{Why: "the day's budget of 50 MiB is spent; goes on at 00:00", Wait: 8 * time.Hour}
		w.mu.Lock()
		w.fetchErr = errors.New("no link")
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 9})
		d.until("a failure", time.Minute, func(s SlotState) bool { return s.Error != "" })
		synctest.Wait() // a second try may be under way at this very moment
		failures := d.state().Counts.Failures
		w.mu.Lock()
		before := w.fetches
		w.fetchErr, w.onFetch = nil, func(_ context.Context, f Fetching) error {
			switch {
			case time.Now().After(open):
				return os.WriteFile(f.Path, w.repo[f.Offer.Target], 0o644)
			case changes.Add(1) == 1:
				f.Progress(37, 100)
			}
			return errors.Join(errors.New("fetch"), waits)
		}
		w.mu.Unlock()
		s := d.until("it waits", time.Hour, func(s SlotState) bool { return s.Deferred != "" })
		if s.Deferred != waits.Why || s.Percent != 37 || s.Error != "" || s.Step != StepReserved || s.Counts.Failures != failures {
			t.Errorf("%+v", s)
		}
		for range 60 { // the reason does not flicker while the source is asked again
			time.Sleep(time.Second)
			if s := d.state(); s.Deferred != waits.Why || s.Percent != 37 {
				t.Fatalf("%+v", s)
			}
		}
		d.until("it goes on", 8*time.Hour, ended(StepConfirmed, "v2/1"))
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := w.fetches - before; n < 400 || n > 440 {
			t.Errorf("the source was asked %d times in seven hours", n)
		}
		if s := d.state(); s.Counts.Failures != failures || s.Deferred != "" || time.Since(open) > 3*time.Minute {
			t.Errorf("%+v", s)
		}
	})
}

// Another wish does not wait for what the one before it waited for.
func TestAnotherWishIsNotHeldUp(t *testing.T) {
	at(t, func(*Config) {}, func(w *world, d *device) {
		d.settle("v1/1")
		w.mu.Lock()
		w.onFetch = func(_ context.Context, f Fetching) error {
			if f.Offer.Target == "v2/1" {
				return &Later{Why: "spent", Wait: time.Hour}
			}
			return os.WriteFile(f.Path, w.repo[f.Offer.Target], 0o644)
		}
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 9})
		d.until("it waits", time.Minute, func(s SlotState) bool { return s.Deferred == "spent" })
		_ = d.Offer("main", Wish{Target: "v3/1", Rev: 10})
		d.until("the other", time.Minute, ended(StepConfirmed, "v3/1"))
	})
}

// While the device is in use, a model is fetched and tried, runs beside the live one, and is not switched to.
func TestLocalActivityPutsTheSwitchOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		most, inUse, took time.Duration
		says              string
	}{
		"until it is over":   {most: 4 * time.Hour, inUse: time.Hour, took: time.Hour, says: "the line is running; switches at "},
		"at most so long":    {most: 4 * time.Hour, inUse: 100 * time.Hour, took: 4 * time.Hour, says: "the line is running; switches at "},
		"as long as it is":   {inUse: 100 * time.Hour, took: 100 * time.Hour, says: "the line is running"},
		"nobody is using it": {most: 4 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			var until atomic.Int64
			at(t, func(cfg *Config) {
				cfg.BusyAtMost = c.most
				cfg.Busy = func(string) string {
					if time.Now().UnixNano() < until.Load() {
						return "the line is running"
					}
					return ""
				}
			}, func(w *world, d *device) {
				until.Store(1 << 62)
				d.settle("v1/1")                                  // into an empty slot, at once
				for _, target := range []string{"v2/1", "v3/1"} { // the second waits as long as the first
					began := time.Now()
					until.Store(began.Add(c.inUse).UnixNano())
					_ = d.Offer("main", Wish{Target: target, Rev: d.state().Rev + 1, Who: "technician (ada)", Shadow: time.Minute})
					if c.says != "" {
						s := d.until("put off", time.Hour, func(s SlotState) bool { return s.Deferred != "" })
						if !strings.HasPrefix(s.Deferred, c.says) || s.Step != StepShadow || s.Staged.Target != target {
							t.Errorf("%+v", s)
						}
						w.mu.Lock()
						if len(w.staged) > 0 {
							t.Error("it runs beside the live model while it waits")
						}
						w.mu.Unlock()
					}
					d.until("switched", 101*time.Hour, ended(StepConfirmed, target))
					if took := time.Since(began); took < c.took || took > c.took+5*time.Minute {
						t.Errorf("%s after %v, want %v", target, took, c.took)
					}
				}
			})
		})
	}
}

// A device in use all day and switched off every night comes to the end of the four hours all the same.
func TestAPutOffSwitchCountsOnAfterARestart(t *testing.T) {
	lives(t, nil, func(t *testing.T, w *world, cfg Config) {
		var inUse atomic.Bool
		cfg.BusyAtMost = 4 * time.Hour
		cfg.Busy = func(string) string {
			if inUse.Load() {
				return "the line is running"
			}
			return ""
		}
		d := w.start(cfg, nil)
		d.settle("v1/1")
		inUse.Store(true)
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 9, Who: "technician (ada)", Shadow: time.Minute})
		d.until("put off", time.Hour, func(s SlotState) bool { return s.Deferred != "" })
		const day = 65 * time.Minute
		for range 3 {
			time.Sleep(day)
			if s := d.state(); s.Active.Target != "v1/1" {
				t.Fatalf("switched too early: %+v", s)
			}
			d.stop()
			time.Sleep(12 * time.Hour) // off
			d = w.start(cfg, nil)
		}
		defer d.stop()
		began := time.Now()
		d.until("switched", 8*time.Hour, ended(StepConfirmed, "v2/1"))
		took, rest := time.Since(began), 4*time.Hour-3*day
		if took < rest || took > rest+3*10*time.Minute+5*time.Minute { // a 24th of it is lost at each restart, and the rest is the probation
			t.Errorf("switched after another %v, want about %v", took, rest)
		}
		d.well()
	})
}

// A fetch that fails and is tried again by itself, for an hour perhaps, says why meanwhile; with the next bytes, or its end, that is over.
func TestAFetchThatDoesNotGetOnSaysWhy(t *testing.T) {
	at(t, func(*Config) {}, func(w *world, d *device) {
		d.settle("v1/1")
		goOn, end := make(chan struct{}), make(chan struct{})
		w.mu.Lock()
		w.onFetch = func(_ context.Context, f Fetching) error {
			f.Progress(1, 100)
			f.Waits(errors.New("the server answers 503"))
			<-goOn
			f.Progress(50, 100)
			<-end
			return os.WriteFile(f.Path, w.repo[f.Offer.Target], 0o644)
		}
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 9})
		d.until("it says why", time.Minute, func(s SlotState) bool { return strings.Contains(s.Error, "the server answers 503") })
		close(goOn)
		d.until("it flows", time.Minute, func(s SlotState) bool { return s.Percent == 50 && s.Error == "" })
		close(end)
		d.until("it is there", time.Minute, ended(StepConfirmed, "v2/1"))
	})
}

// A confirmed model that the disk had no room to note is noted when there is room, and the trouble ends with that.
func TestTheConfirmedModelIsNotedWhenThereIsRoom(t *testing.T) {
	at(t, func(*Config) {}, func(w *world, d *device) {
		good := filepath.Join(d.cfg.Dir, "good-main.json")
		if err := os.MkdirAll(filepath.Join(good, "in the way"), 0o755); err != nil {
			t.Fatal(err)
		}
		d.settle("v1/1")
		d.until("it is told", time.Minute, func(s SlotState) bool { return strings.Contains(s.Trouble, "note the confirmed model") })
		if err := os.RemoveAll(good); err != nil {
			t.Fatal(err)
		}
		d.until("it is over", 5*time.Minute, func(s SlotState) bool { return s.Trouble == "" })
		if b, err := os.ReadFile(good); err != nil || !strings.Contains(string(b), "v1/1") {
			t.Errorf("%s %v", b, err)
		}
	})
}

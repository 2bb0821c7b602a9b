package models

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A server that has another file than the signed one costs a whole transfer at each try, perhaps on a link that is paid by the byte. It is
// asked a few times a day, and at once when the document is written anew.
func TestTransfersForNothingAreFewADay(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		d.settle("v1/1")
		w.mu.Lock()
		w.fetchErr = &InVain{errors.New("the file is complete and has another digest than the signed one")}
		began := w.fetches
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 5})
		time.Sleep(24 * time.Hour)
		first := w.fetched() - began
		time.Sleep(9 * 24 * time.Hour)
		if later := w.fetched() - began - first; first < 3 || first > 30 || later < 9 || later > 60 {
			t.Errorf("%d transfers on the first day, %d in the nine after it", first, later)
		}
		if s := d.state(); s.Target != "v2/1" || s.Step != StepReserved || s.Active.Target != "v1/1" || !strings.Contains(s.Error, "heron fleet repo verify --url") {
			t.Errorf("%+v", s)
		}
		w.mu.Lock()
		w.fetchErr = nil
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 6})
		d.until("confirmed once it is asked for again", time.Hour, ended(StepConfirmed, "v2/1"))
	})
}

// One slot at a time does heavy work; the other one does not say that it fetches.
func TestASlotThatWaitsForAnotherSaysSo(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config(dir)
		cfg.Slots = map[string]string{"left": "", "right": ""}
		d := w.start(cfg, nil)
		defer d.stop()
		begin := make(chan struct{})
		w.mu.Lock()
		w.onFetch = func(ctx context.Context, f Fetching) error {
			select {
			case <-begin:
			case <-ctx.Done():
				return ctx.Err()
			}
			w.mu.Lock()
			b := w.repo[f.Offer.Target]
			w.mu.Unlock()
			return os.WriteFile(f.Path, b, 0o644)
		}
		w.mu.Unlock()
		_ = d.Offer("left", Wish{Target: "v1/1", Rev: 1})
		time.Sleep(time.Minute)
		_ = d.Offer("right", Wish{Target: "v2/1", Rev: 1})
		time.Sleep(time.Minute)
		s := d.State()
		if s[0].Doing != "fetching" || s[1].Doing != "waiting for another slot" {
			t.Errorf("%q and %q", s[0].Doing, s[1].Doing)
		}
		close(begin)
		time.Sleep(time.Hour)
		for _, s := range d.State() {
			if s.Step != StepConfirmed || s.Doing != "" {
				t.Errorf("%+v", s)
			}
		}
	})
}

// What is here of a bundle is told during a hold, too.
func TestAHoldTellsHowMuchIsHere(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		d.settle("v1/1")
		w.mu.Lock()
		w.onFetch = func(ctx context.Context, f Fetching) error {
			f.Progress(37, 100)
			<-ctx.Done()
			return ctx.Err()
		}
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 5})
		d.until("it flows", time.Minute, func(s SlotState) bool { return s.Percent == 37 })
		_ = d.Hold(time.Hour, "technician anna")
		s := d.until("held", time.Minute, func(s SlotState) bool { return s.Deferred != "" })
		if s.Percent != 37 || s.Doing != "" {
			t.Errorf("%+v", s)
		}
	})
}

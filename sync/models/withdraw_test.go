package models

import (
	"errors"
	"testing"
	"time"
)

// A rollout that is given up, or a document that is taken away, ends what a device is still fetching: else a bad model would go on to every
// device with a slow link. What is live stays, and what was not asked for by a document goes on.
func TestWhatNoDocumentAsksForAnyMoreIsNotInstalled(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		d.settle("v1/1")
		w.mu.Lock()
		w.fetchErr = errors.New("no route to host")
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 5, Doc: 57})
		d.until("stuck", time.Hour, func(s SlotState) bool { return s.Error != "" })
		if err := d.Withdraw("main"); err != nil {
			t.Fatal(err)
		}
		s := d.until("withdrawn", time.Minute, func(s SlotState) bool { return s.Target == "" })
		w.mu.Lock()
		w.fetchErr = nil
		w.mu.Unlock()
		if s.Step != StepSuperseded || s.Last.Reason != "withdrawn: no document asks for it any more" || s.Active.Target != "v1/1" {
			t.Errorf("%+v", s)
		}
		time.Sleep(3 * time.Hour)
		if s := d.state(); s.Target != "" || s.Active.Target != "v1/1" {
			t.Errorf("it came all the same: %+v", s)
		}
		w.mu.Lock()
		if e := w.audit[len(w.audit)-1]; e.What != "supersede" || e.Rev != 57 || e.Target != "v2/1" || e.Detail != "no document asks for it any more" {
			t.Errorf("audit: %+v", e)
		}
		w.mu.Unlock()

		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 6, Doc: 58}) // asked for again
		s = d.until("confirmed", time.Hour, ended(StepConfirmed, "v2/1"))
		if s.Doc != 58 {
			t.Errorf("document %d", s.Doc)
		}
		_ = d.Withdraw("main") // nothing is on its way
		time.Sleep(time.Minute)
		if s := d.state(); s.Active.Target != "v2/1" || s.Step != StepConfirmed {
			t.Errorf("%+v", s)
		}
		_ = d.Hold(time.Hour, "technician anna")
		_ = d.Offer("main", Wish{Target: "v3/1", Who: "technician anna"})
		d.until("held", time.Minute, func(s SlotState) bool { return s.Target == "v3/1" && s.Deferred != "" })
		_ = d.Withdraw("main")
		_ = d.Release("technician anna")
		d.until("the technician's", time.Hour, ended(StepConfirmed, "v3/1"))
	})
}

// People know the rev of the document; what orders wishes on the device is a count of its own.
func TestTheAuditNamesTheDocumentsRev(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		_ = d.Offer("main", Wish{Target: "v1/1", Rev: 1, Doc: 57})
		s := d.until("confirmed", time.Hour, ended(StepConfirmed, "v1/1"))
		if s.Rev != 1 || s.Doc != 57 {
			t.Errorf("rev %d, document %d", s.Rev, s.Doc)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.audit) != 3 {
			t.Fatalf("%+v", w.audit)
		}
		for _, e := range w.audit {
			if e.Rev != 57 {
				t.Errorf("%s of rev %d", e.What, e.Rev)
			}
		}
	})
}

package models

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A damaged journal: the last confirmed model runs, else the configured one, else none; and it is told.
func TestADamagedJournal(t *testing.T) {
	for name, c := range map[string]struct {
		how  func(path string) error
		good bool
	}{
		"empty":     {func(p string) error { return os.Truncate(p, 0) }, true},
		"zeros":     {func(p string) error { return os.WriteFile(p, make([]byte, 1<<20), 0o600) }, true},
		"text":      {func(p string) error { return os.WriteFile(p, []byte("journal"), 0o600) }, true},
		"cut off":   {func(p string) error { return os.Truncate(p, 3*4096) }, true},
		"too large": {func(p string) error { return os.Truncate(p, journalMax+1) }, true},
		"all gone":  {func(p string) error { return errors.Join(os.Remove(p), os.Remove(filepath.Dir(p)+"/good-main.json")) }, false},
		"good, too": {func(p string) error {
			return errors.Join(os.Truncate(p, 100), os.WriteFile(filepath.Dir(p)+"/good-main.json", []byte("{"), 0o600))
		}, false},
		"bundle too": {func(p string) error { return errors.Join(os.Truncate(p, 100), os.RemoveAll(filepath.Dir(p)+"/sha256")) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			lives(t, nil, func(t *testing.T, w *world, cfg Config) {
				d := w.start(cfg, nil)
				d.settle("v1/1")
				_ = d.Offer("main", Wish{Target: "v2/1", Rev: 9, Probation: time.Hour})
				d.until("on probation", time.Minute, func(s SlotState) bool { return s.Step == StepProbation })
				d.stop()
				if err := c.how(filepath.Join(cfg.Dir, journalName)); err != nil {
					t.Fatal(err)
				}
				d = w.start(cfg, nil)
				defer d.stop()
				s := d.state()
				if c.good != (s.Active.Target == "v1/1") || !c.good && !s.Active.IsNone() {
					t.Errorf("%+v", s)
				}
				if told := strings.Contains(s.Trouble, "journal was damaged"); told == (name == "all gone") {
					t.Errorf("told: %q", s.Trouble)
				}
				d.settle("v3/1")
				d.well()
			})
		})
	}
}

func TestAJournalThatIsLocked(t *testing.T) {
	lives(t, nil, func(t *testing.T, w *world, cfg Config) {
		d := w.start(cfg, nil)
		d.settle("v1/1")
		d.stop()
		other := journal{path: filepath.Join(cfg.Dir, journalName)}
		if _, _, err := other.open(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		d = w.start(cfg, nil)
		defer d.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Boot took %v", took)
		}
		s := d.state()
		if s.Active.Target != "v1/1" || !strings.Contains(s.Trouble, ErrLocked.Error()) {
			t.Errorf("%+v", s)
		}
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 5})
		time.Sleep(time.Minute)
		if d.state().Active.Target != "v1/1" || w.fetched() != 1 {
			t.Error("something happened without a journal")
		}
		other.close()
		d.until("open again", 3*time.Hour, ended(StepConfirmed, "v2/1"))
		if s := d.state(); s.Trouble != "" {
			t.Errorf("%q", s.Trouble)
		}
		d.well()
	})
}

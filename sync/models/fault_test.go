package models

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lives runs fn in a bubble, with a folder that outlives devices.
func lives(t *testing.T, names []string, fn func(t *testing.T, w *world, cfg Config)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, names...)
		fn(t, w, w.config(dir))
	})
}

// A model on probation with which the agent does not live a minute goes back at the third start, before anything else runs.
func TestFault_U9_CrashLoopInProbation(t *testing.T) {
	lives(t, nil, func(t *testing.T, w *world, cfg Config) {
		d := w.start(cfg, nil)
		d.settle("v1/1")
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 9, Probation: time.Hour})
		d.until("on probation", time.Minute, func(s SlotState) bool { return s.Step == StepProbation })
		d.stop()
		d = w.start(cfg, nil)
		time.Sleep(70 * time.Second) // a minute of health: the count begins anew
		d.stop()
		for range 2 {
			d = w.start(cfg, nil)
			if s := d.state(); s.Active.Target != "v2/1" {
				t.Fatalf("%+v", s)
			}
			time.Sleep(20 * time.Second)
			d.stop()
		}
		d = w.start(cfg, nil)
		defer d.stop()
		s := d.state()
		if s.Active.Target != "v1/1" || s.Last.Step != StepRolledBack || !strings.Contains(s.Last.Reason, "started 3 times without 1m0s of health") || len(d.Refused()) != 1 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute)
		if len(w.replaced) != 1 { // that of the very first model: at a start heron-vision is given the right one
			t.Errorf("replaced: %v", w.replaced)
		}
		d.well()
	})
}

// A probation that is cut by restarts goes on where it was, to a minute.
func TestAProbationGoesOnAfterARestart(t *testing.T) {
	lives(t, nil, func(t *testing.T, w *world, cfg Config) {
		d := w.start(cfg, nil)
		_ = d.Offer("main", Wish{Target: "v1/1", Rev: 1, Probation: 10 * time.Minute})
		d.until("on probation", time.Minute, func(s SlotState) bool { return s.Step == StepProbation })
		for range 3 {
			time.Sleep(150 * time.Second)
			d.stop()
			d = w.start(cfg, nil)
		}
		began := time.Now()
		d.until("confirmed", 20*time.Minute, ended(StepConfirmed, "v1/1"))
		if took := time.Since(began); took > 6*time.Minute+10*time.Second || took < 2*time.Minute {
			t.Errorf("another %v", took)
		}
		d.stop()
	})
}

func damageModel(t *testing.T, cfg Config, target string, w *world, how func(path string) error) {
	t.Helper()
	if err := how(filepath.Join(cfg.Dir, "sha256", digest(w.repo[target]), "model.onnx")); err != nil {
		t.Fatal(err)
	}
}

func TestFault_U10_TheWayBackIsGone(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func(string) error{
		"deleted":   os.Remove,
		"cut off":   func(p string) error { return os.Truncate(p, 10) },
		"flipped":   func(p string) error { return rewrite(p, 100) },
		"a link":    func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) },
		"no folder": func(p string) error { return os.RemoveAll(filepath.Dir(p)) },
	} {
		t.Run(name, func(t *testing.T) {
			configured := bundle(t, map[string]string{manifestName: `{"v":1,"name":"built-in","version":"0"}`, "labels.txt": "ok\n"})
			lives(t, []string{"live-nan"}, func(t *testing.T, w *world, cfg Config) {
				cfg.Slots["main"] = configured
				d := w.start(cfg, nil)
				defer d.stop()
				if s := d.state(); s.Active.Model != "built-in@0" || s.Active.Dir != configured {
					t.Fatalf("%+v", s)
				}
				d.settle("v1/1")
				damageModel(t, cfg, "v1/1", w, how)
				_ = d.Offer("main", Wish{Target: "live-nan/1", Rev: 9, Probation: time.Hour})
				s := d.until("back", time.Minute, func(s SlotState) bool { return s.Last.Step == StepRolledBack })
				if s.Active.Model != "built-in@0" || !strings.Contains(s.Last.Reason, "v1@1, to which it would go back, is damaged") {
					t.Errorf("%+v", s)
				}
				d.settle("v2/1") // still updatable
				d.settle("v1/1") // and the damaged one is fetched again
				d.well()
			})
		})
	}
}

func rewrite(p string, at int64) error {
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{0xff}, at)
	return errors.Join(err, f.Close())
}

// The live model's files rot: noticed at the next start, or when heron-vision says so; it goes back and fetches them again.
func TestALiveModelThatRotsIsFetchedAgain(t *testing.T) {
	for _, restart := range []bool{true, false} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			lives(t, nil, func(t *testing.T, w *world, cfg Config) {
				d := w.start(cfg, nil)
				d.settle("v1/1")
				d.settle("v2/1")
				damageModel(t, cfg, "v2/1", w, func(p string) error { return rewrite(p, 5000) })
				if restart {
					d.stop()
					d = w.start(cfg, nil)
				} else if err := d.Damaged("main"); err != nil {
					t.Fatal(err)
				}
				defer func() { d.stop() }()
				s := d.until("back", time.Minute, func(s SlotState) bool { return s.Counts.RolledBack == 1 })
				if !strings.Contains(s.Last.Reason, "its files are damaged: model.onnx has the digest") {
					t.Errorf("%+v", s.Last)
				}
				d.until("again", time.Hour, ended(StepConfirmed, "v2/1"))
				d.well()
			})
		})
	}
}

// U11: what was verified is exchanged before it is loaded, or while it waits.
func TestFault_U11_ExchangedAfterVerifying(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"after:verified", "after:stored", "after:tried", "after:shadow"} {
		for name, how := range map[string]func(string) error{
			"symlink": func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) },
			"other":   func(p string) error { return os.WriteFile(p, []byte("evil"), 0o644) },
			"manifest": func(p string) error {
				return os.WriteFile(filepath.Join(filepath.Dir(p), manifestName), []byte(`{"v":1,"name":"evil","version":"1"}`), 0o644)
			},
			"folder": func(p string) error { d := filepath.Dir(p); return errors.Join(os.RemoveAll(d), os.Symlink("/etc", d)) },
		} {
			t.Run(step+" "+name, func(t *testing.T) {
				lives(t, nil, func(t *testing.T, w *world, cfg Config) {
					d := w.start(cfg, nil)
					d.settle("v1/1")
					d.stop()
					var swapped atomic.Bool
					d = w.start(cfg, func(m *Manager) {
						m.point = func(p string) {
							if p != step || !swapped.CompareAndSwap(false, true) {
								return
							}
							dir := m.store.folder(digest(w.repo["v2/1"]))
							if step == "after:verified" {
								dir = m.store.aside(digest(w.repo["v2/1"]))
							}
							if err := how(filepath.Join(dir, "model.onnx")); err != nil {
								t.Error(err)
							}
						}
					})
					defer d.stop()
					_ = d.Offer("main", Wish{Target: "v2/1", Rev: 5, Shadow: time.Minute})
					s := d.until("in the end", time.Hour, ended(StepConfirmed, "v2/1"))
					if !swapped.Load() || s.Counts.Failures == 0 || w.fetched() < 3 {
						t.Errorf("swapped %t, %+v, %d fetches", swapped.Load(), s.Counts, w.fetched())
					}
					d.well() // given() has looked at all that heron-vision was given
				})
			})
		}
	}
}

// The fault of a device is not the model's.
func TestWhatIsNotTheModelsFaultIsTriedAgain(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		d.settle("v1/1")
		set := func(fn func()) { w.mu.Lock(); fn(); w.mu.Unlock() }
		set(func() { w.resolveErr = errors.New("the metadata has expired since 3 days") })
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 20, Shadow: time.Minute})
		s := d.until("told", time.Hour, func(s SlotState) bool { return s.Counts.Failures > 5 })
		if !strings.Contains(s.Error, "has expired") || s.Step != StepOffered || s.Active.Target != "v1/1" {
			t.Errorf("%+v", s)
		}
		set(func() { w.resolveErr, w.unavailable = nil, true })
		s = d.until("not tried", 5*time.Hour, func(s SlotState) bool { return s.Step == StepStored && s.Counts.Failures > 10 })
		if !strings.Contains(s.Error, "not possible now") || len(d.Refused()) != 0 {
			t.Errorf("%+v", s)
		}
		set(func() { w.unavailable = false })
		set(func() { w.promoteErr, w.promoted = errors.New("no answer within 10 s"), true }) // and yet it is live
		d.until("unsure", 2*time.Hour, func(s SlotState) bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.replaced) > 1 })
		set(func() {
			if w.live["main"].Target != "v1/1" || w.replaced[len(w.replaced)-1] != "v1/1" {
				t.Errorf("live: %s, replaced %v", w.live["main"].Target, w.replaced)
			}
			w.promoteErr = nil
		})
		d.until("in the end", 5*time.Hour, ended(StepConfirmed, "v2/1"))
		if len(d.Refused()) != 0 {
			t.Errorf("%v", d.Refused())
		}
	})
}

// A machine that is switched off in the midst of a shadow run, again and again, does not cost the model; one that goes down each time does in the end.
func TestStopsOfTheDeviceAreNotTheModelsFaultAtOnce(t *testing.T) {
	for _, stops := range []int{mostStops - 1, mostStops} {
		lives(t, nil, func(t *testing.T, w *world, cfg Config) {
			d := w.start(cfg, nil)
			d.settle("v1/1")
			_ = d.Offer("main", Wish{Target: "v2/1", Rev: 9, Shadow: 10 * time.Minute})
			for range stops {
				d.until("in the shadow run", 20*time.Minute, func(s SlotState) bool { return s.Doing == doingShadow })
				journal := filepath.Join(cfg.Dir, journalName)
				asItWas, err := os.ReadFile(journal)
				if err != nil {
					t.Fatal(err)
				}
				d.stop() // in order; and then the disk is as it was, as after a power cut
				if err := os.WriteFile(journal, asItWas, 0o600); err != nil {
					t.Fatal(err)
				}
				d = w.start(cfg, nil)
			}
			defer func() { d.stop() }()
			if stops < mostStops {
				d.until("confirmed", 2*time.Hour, ended(StepConfirmed, "v2/1"))
				return
			}
			s := d.until("refused", time.Minute, ended(StepRefused, "v2/1"))
			if !strings.Contains(s.Last.Reason, fmt.Sprintf("began %d times, and each time the device or heron stopped", stops)) {
				t.Errorf("%+v", s.Last)
			}
		})
	}
}

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

	"golang.org/x/sys/unix"
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

// small is a folder on a file system of its own.
func small(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a small file system cannot be mounted here (%v): needs root", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestFault_S7_U12_FullAtEachStep: from a step on the disk takes nothing more, or no more names. The old model stays live, the reason is told, and
// when there is room again it goes on by itself.
func TestFault_S7_U12_FullAtEachStep(t *testing.T) {
	steps := []Step{StepOffered, StepMetadata, StepReserved, StepFetched, StepVerified, StepStored, StepTried, StepShadow, StepSwitching, StepProbation, StepConfirmed}
	for _, kind := range []string{"bytes", "inodes"} {
		for _, step := range steps {
			for _, when := range []string{"before:", "after:"} {
				t.Run(kind+"/"+when+string(step), func(t *testing.T) {
					dir := small(t, map[string]string{"bytes": "size=4m", "inodes": "size=64m,nr_inodes=60"}[kind])
					synctest.Test(t, func(t *testing.T) { fullAt(t, newWorld(t), dir, when+string(step)) })
				})
			}
		}
	}
}

func fullAt(t *testing.T, w *world, dir, point string) {
	cfg := w.config(dir)
	d := w.start(cfg, nil)
	d.settle("v1/1")
	d.stop()
	var full atomic.Bool
	d = w.start(cfg, func(m *Manager) {
		m.point = func(p string) {
			if p == point && full.CompareAndSwap(false, true) {
				fillUp(t, dir)
			}
		}
	})
	defer d.stop()
	_ = d.Offer("main", Wish{Target: "v2/1", Rev: 5, Shadow: time.Minute, Probation: time.Minute})
	time.Sleep(20 * time.Minute)
	if !full.Load() {
		t.Fatal("it never came to this point")
	}
	d.well()
	s := d.state()
	if s.Active.Target == "" || s.Active.Target == "v1/1" && s.Error == "" && s.Deferred == "" {
		t.Errorf("%+v", s)
	}
	if err := os.RemoveAll(filepath.Join(dir, "fill")); err != nil {
		t.Fatal(err)
	}
	d.until("there is room", 5*time.Hour, ended(StepConfirmed, "v2/1"))
	d.well()
}

func fillUp(t *testing.T, dir string) {
	fill := filepath.Join(dir, "fill")
	if err := os.Mkdir(fill, 0o755); err != nil {
		t.Log(err)
		return
	}
	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(fill, fmt.Sprint(i)), make([]byte, 1<<16), 0o644); err != nil {
			return
		}
	}
}

func TestNoRoomIsFoundBeforeAByteIsAskedFor(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		w.mu.Lock()
		w.said["v1/1"] = Offer{Size: 400 << 20, SHA256: strings.Repeat("ab", 32), Custom: []byte(`{"unpacked":420000000}`)}
		w.mu.Unlock()
		d.store.maxBytes = 100 << 20
		_ = d.Offer("main", Wish{Target: "v1/1", Rev: 1})
		s := d.until("told", time.Hour, func(s SlotState) bool { return s.Error != "" })
		if !strings.Contains(s.Error, "the store may have 104857600") || w.fetched() != 0 {
			t.Errorf("%+v", s)
		}
		w.mu.Lock()
		w.said["v2/1"] = Offer{Size: 4 << 30, SHA256: strings.Repeat("cd", 32)}
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 2})
		s = d.until("refused", time.Hour, ended(StepRefused, "v2/1"))
		if !strings.Contains(s.Last.Reason, "too large") || s.Last.At != StepMetadata || w.fetched() != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// S20: leftovers hold no start up.
func TestFault_S20_ManyLeftovers(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 5_000
	}
	dir := t.TempDir()
	for _, sub := range []string{"incoming", "sha256"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, "incoming", fmt.Sprintf("%064d.tar.zst", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	began := time.Now()
	d := w.start(w.config(dir), nil)
	defer d.stop()
	booted := time.Since(began)
	_ = d.Offer("main", Wish{Target: "v1/1", Rev: 1})
	d.until("it runs", 2*time.Minute, ended(StepConfirmed, "v1/1"))
	if booted > 5*time.Second || d.Stats().Collected < uint64(n) {
		t.Errorf("Boot took %v, %d collected", booted, d.Stats().Collected)
	}
	t.Logf("%d leftovers: Boot took %v, a model was live after %v", n, booted.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// M9, as far as it is ours: many swaps leave nothing behind.
func TestFault_M9_ManySwaps(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		for i := range 100 {
			d.settle([]string{"v1/1", "v2/1", "v3/1"}[i%3])
		}
		d.until("clean", time.Minute, func(SlotState) bool { return len(onDisk(t, d.cfg.Dir)) == 2 })
		info, err := os.Stat(filepath.Join(d.cfg.Dir, journalName))
		if err != nil || info.Size() > 1<<20 {
			t.Errorf("%v %v", info.Size(), err)
		}
		t.Logf("the journal has %d bytes", info.Size())
	})
}

func TestRefusedAreBounded(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		d.mu.Lock()
		for i := range maxRefused + 500 {
			d.refuse(Refused{Digest: fmt.Sprintf("%064d", i), Reason: "bad"})
		}
		d.mu.Unlock()
		if r := d.Refused(); len(r) != maxRefused || r[0].Digest != fmt.Sprintf("%064d", maxRefused+499) {
			t.Errorf("%d", len(r))
		}
	})
}

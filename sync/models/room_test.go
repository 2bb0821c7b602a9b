package models

import (
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

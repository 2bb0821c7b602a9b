package models

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// inTime runs a device in a bubble where hours are nothing.
func inTime(t *testing.T, names []string, fn func(t *testing.T, w *world, d *device)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, names...)
		d := w.start(w.config(dir), nil)
		defer d.stop()
		fn(t, w, d)
		d.well()
	})
}

func TestAModelComesAllTheWay(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		if s := d.state(); !s.Active.IsNone() || s.Step != StepConfirmed {
			t.Fatalf("%+v", s)
		}
		d.settle("v1/1")
		began := time.Now()
		if err := d.Offer("main", Wish{Target: "v2/1", Rev: 7, Shadow: 10 * time.Minute, Probation: 15 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		d.until("in shadow", time.Minute, func(s SlotState) bool { return s.Doing == doingShadow })
		s := d.until("on probation", 2*time.Minute, func(s SlotState) bool { return s.Step == StepProbation })
		if took := time.Since(began); took < agreeQuickly || took > 40*time.Second { // 200 frames that agree, and 30 s
			t.Errorf("on probation after %v", took)
		}
		if s.Active.Target != "v2/1" || s.Active.Model != "v2@1" || s.Active.Engine != "onnx" || s.Previous.Target != "v1/1" || s.Rev != 7 || s.Probation > 15*time.Minute {
			t.Errorf("%+v", s)
		}
		d.until("confirmed", 20*time.Minute, ended(StepConfirmed, "v2/1"))
		if took := time.Since(began); took < 15*time.Minute || took > 17*time.Minute {
			t.Errorf("confirmed after %v", took)
		}
		d.settle("v3/1")
		d.until("two kept", time.Minute, func(SlotState) bool { return len(onDisk(t, d.cfg.Dir)) == 2 })
		var what []string
		for _, e := range w.audit {
			what = append(what, e.What+" "+e.Target)
		}
		if want := "offer v1/1,install v1/1,confirm v1/1,offer v2/1,install v2/1,confirm v2/1,offer v3/1,install v3/1,confirm v3/1"; strings.Join(what, ",") != want {
			t.Errorf("audit: %v", what)
		}
		if left, _ := os.ReadDir(filepath.Join(d.cfg.Dir, "incoming")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// Each bad model is stopped at the step that should stop it; the one before runs, and the digest is refused from then on.
func TestBadModelsAreStoppedWhereTheyShouldBe(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		after  Step // the last that was complete
		at     string
		end    Step
		reason string
	}{
		"trial-labels":     {StepStored, "tried: golden", StepRefused, "golden/0.png is scratched, expected ok"},
		"trial-nan":        {StepStored, "tried: not-finite", StepRefused, "golden/0.png: the answer holds NaN"},
		"trial-slow":       {StepStored, "tried: latency", StepRefused, "too slow here: 250.0 ms on onnx, its budget is 100.0 ms"},
		"trial-large":      {StepStored, "tried: memory", StepRefused, "too large here: 700 MB of memory on onnx, its budget is 300 MB"},
		"trial-crash":      {StepStored, "tried: crash", StepRefused, "it crashed heron-vision in each of 3 tries: heron-vision was ended by signal 11"},
		"trial-hang":       {StepStored, "tried: hang", StepRefused, "it hung in each of 3 tries: no answer within 20 s"},
		"shadow-worse":     {StepTried, "shadow: confidence", StepRefused, "its confidence collapsed: 0.40 on average instead of 0.95"},
		"shadow-unknown":   {StepTried, "shadow: unknown", StepRefused, "50 % of its answers are unknown"},
		"shadow-landslide": {StepTried, "shadow: drift", StepRefused, "its answers are others than those of the model before"},
		"shadow-slow":      {StepTried, "shadow: latency", StepRefused, "too slow: p95 latency is 300.0 ms, at most 100.0 ms"},
		"shadow-nan":       {StepTried, "shadow: not-finite", StepRefused, "answers that are no numbers"},
		"shadow-crash":     {StepTried, "shadow: crash", StepRefused, "it crashed heron-vision in each of 2 tries: signal 11"},
		"live-worse":       {StepProbation, "probation: confidence", StepRolledBack, "its confidence collapsed"},
		"live-unknown":     {StepProbation, "probation: unknown", StepRolledBack, "of its answers are unknown"},
		"live-landslide":   {StepProbation, "probation: drift", StepRolledBack, "drift (PSI)"},
		"live-slow":        {StepProbation, "probation: latency", StepRolledBack, "too slow: p95 latency"},
		"live-nan":         {StepProbation, "probation: not-finite", StepRolledBack, "answers that are no numbers"},
		"live-crash":       {StepProbation, "probation: crash", StepRolledBack, "it cost heron-vision 2 processes: signal 11"},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, []string{name}, func(t *testing.T, w *world, d *device) {
				d.settle("v1/1")
				_ = d.Offer("main", Wish{Target: name + "/1", Rev: 50, Shadow: 10 * time.Minute, Probation: 15 * time.Minute})
				s := d.until("stopped", time.Hour, ended(want.end, name+"/1"))
				if s.Last.At != want.after || s.Last.Where() != want.at || !strings.Contains(s.Last.Reason, want.reason) || strings.Contains(s.Last.Reason, "\n") || s.Active.Target != "v1/1" {
					t.Errorf("%+v", s.Last)
				}
				time.Sleep(time.Minute)
				w.mu.Lock()
				if w.live["main"].Target != "v1/1" || len(w.staged) != 0 {
					t.Errorf("live %v, staged %v", w.live, w.staged)
				}
				tried := len(w.tried)
				w.mu.Unlock()
				// again: refused at once, with the old reason
				_ = d.Offer("main", Wish{Target: name + "/1", Rev: 51})
				s = d.until("refused again", time.Minute, func(s SlotState) bool { return s.Last.Rev == 51 })
				if s.Last.Step != StepRefused || s.Last.Where() != want.at || !strings.Contains(s.Last.Reason, "refused before: ") || !strings.Contains(s.Last.Reason, want.reason) || len(w.tried) != tried {
					t.Errorf("%+v", s.Last)
				}
				if r := d.Refused(); len(r) != 1 || r[0].Target != name+"/1" || r[0].Step != want.after || r[0].Where() != want.at {
					t.Errorf("%+v", r)
				}
				// until it is forgotten
				if n, err := d.Forget(name+"/1", "technician"); n != 1 || err != nil {
					t.Errorf("%d %v", n, err)
				}
				_ = d.Offer("main", Wish{Target: name + "/1", Rev: 52})
				d.until("tried again", time.Hour, func(SlotState) bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.tried) > tried })
			})
		})
	}
}

func TestFault_U6_TwoTriggersAndOneRuns(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		for range 10 {
			go func() { _ = d.Offer("main", Wish{Target: "v1/1", Rev: 3}) }()
		}
		d.until("confirmed", time.Hour, ended(StepConfirmed, "v1/1"))
		w.mu.Lock()
		if w.fetches != 1 || len(w.tried) != 1 {
			t.Errorf("%d fetches, tried %v", w.fetches, w.tried)
		}
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 3}) // not above
		_ = d.Offer("main", Wish{Target: "v1/1", Rev: 4}) // it runs already
		s := d.until("noted", time.Minute, func(s SlotState) bool { return s.Rev == 4 })
		if s.Active.Target != "v1/1" || w.fetched() != 1 || d.Stats().Stale == 0 {
			t.Errorf("%+v, stale %d", s, d.Stats().Stale)
		}
	})
}

func TestANewerOfferSupersedes(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		d.settle("v1/1")
		w.mu.Lock()
		w.fetchErr = errors.New("no route to host")
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 5})
		s := d.until("stuck", time.Hour, func(s SlotState) bool { return s.Error != "" && s.RetryIn > time.Minute })
		if s.Error != "fetch v2/1: no route to host" || s.Active.Target != "v1/1" {
			t.Errorf("%+v", s)
		}
		w.mu.Lock()
		w.fetchErr = nil
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v3/1", Rev: 6, Shadow: time.Hour})
		d.until("in shadow", time.Minute, func(s SlotState) bool { return s.Doing == doingShadow && s.Target == "v3/1" })
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 7, Probation: time.Hour})
		d.until("v2 on probation", time.Minute, func(s SlotState) bool { return s.Active.Target == "v2/1" })
		if c := d.state().Counts; c.Superseded != 2 {
			t.Errorf("%+v", c)
		}
		// one on probation is no way back: v3's way back is v1
		_ = d.Offer("main", Wish{Target: "v3/1", Rev: 8, Probation: time.Hour})
		s = d.until("v3 on probation", time.Minute, func(s SlotState) bool { return s.Active.Target == "v3/1" })
		if s.Previous.Target != "v1/1" {
			t.Errorf("back to %s", s.Previous.Target)
		}
	})
}

func TestRollbackHoldWindowAndActivity(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		if err := d.Rollback("main", "fleet"); err == nil {
			t.Error("rolled back to nothing")
		}
		d.settle("v1/1")
		d.settle("v2/1")
		if err := d.Rollback("main", "ada"); err != nil {
			t.Fatal(err)
		}
		s := d.until("back", time.Minute, ended(StepRolledBack, "v2/1"))
		if s.Active.Target != "v1/1" || s.Last.Reason != "rolled back by ada" || len(d.Refused()) != 0 {
			t.Errorf("%+v", s)
		}
		_ = d.Rollback("main", "ada") // and to none
		s = d.until("none", time.Minute, func(s SlotState) bool { return s.Active.IsNone() })
		if s.Last.Target != "v1/1" {
			t.Errorf("%+v", s)
		}
		d.settle("v1/1")
		if err := d.Hold(2*time.Hour, "bo"); err != nil {
			t.Fatal(err)
		}
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 90})
		s = d.until("held", time.Minute, func(s SlotState) bool { return s.Deferred != "" })
		if !strings.Contains(s.Deferred, "on hold for another 2h") || s.Step != StepMetadata {
			t.Errorf("%+v", s)
		}
		if err := d.Hold(20*time.Second, "bo"); err != nil { // the rest of a hold is not told as none
			t.Fatal(err)
		}
		d.until("held for a moment", time.Minute, func(s SlotState) bool { return strings.Contains(s.Deferred, "on hold for another 1m") })
		if err := d.Release("bo"); err != nil || d.Held() != 0 {
			t.Error(err)
		}
		d.until("released", time.Minute, ended(StepConfirmed, "v2/1"))
		from := time.Now().Add(3 * time.Hour).Local()
		_ = d.Offer("main", Wish{Target: "v3/1", Rev: 91, Window: from.Format("15:04") + "-" + from.Add(time.Hour).Format("15:04")})
		d.until("waiting", time.Minute, func(s SlotState) bool { return strings.HasPrefix(s.Deferred, "outside the window") })
		began := time.Now()
		d.until("in the window", 5*time.Hour, ended(StepConfirmed, "v3/1"))
		if took := time.Since(began); took < 2*time.Hour+58*time.Minute || took > 3*time.Hour+2*time.Minute {
			t.Errorf("after %v", took)
		}
	})
}

func TestALongHoldEndsAShadowRun(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		d.settle("v1/1")
		w.mu.Lock()
		w.noFrames = true
		w.mu.Unlock()
		_ = d.Offer("main", Wish{Target: "v2/1", Rev: 9, Shadow: time.Hour, Probation: time.Hour})
		d.until("in shadow", time.Minute, func(s SlotState) bool { return s.Doing == doingShadow })
		_ = d.Hold(time.Hour, "bo")
		d.until("broken off", time.Minute, func(s SlotState) bool { return s.Deferred != "" && s.Doing == "" })
		w.mu.Lock()
		if len(w.staged) != 0 {
			t.Error("it is still staged")
		}
		w.mu.Unlock()
		// an hour later again; without frames it lasts four hours, then goes on, and its probation does not end
		d.until("on probation", 6*time.Hour, func(s SlotState) bool { return s.Step == StepProbation })
		time.Sleep(3 * time.Hour)
		if s := d.state(); s.Step != StepProbation || s.Probation != time.Hour {
			t.Errorf("%+v", s)
		}
		w.mu.Lock()
		w.noFrames = false
		w.mu.Unlock()
		d.until("confirmed", 2*time.Hour, ended(StepConfirmed, "v2/1"))
	})
}

func TestAFileFromAStick(t *testing.T) {
	stick := put(t, published(t, "v2", "1"))
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config(dir)
		d := w.start(cfg, nil)
		if err := d.Activate("main", stick, "technician", 0, 0); err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("got %v", err)
		}
		d.stop()
		cfg.Unsigned = true
		d = w.start(cfg, nil)
		defer d.stop()
		if err := d.Activate("main", stick, "technician", 0, time.Minute); err != nil {
			t.Fatal(err)
		}
		s := d.until("it runs", time.Hour, ended(StepConfirmed, "file:b.tar.zst"))
		if s.Active.Model != "v2@1" || w.fetched() != 0 {
			t.Errorf("%+v", s)
		}
		d.well()
	})
}

func TestWhatTheServerSendsIsNotTrusted(t *testing.T) {
	inTime(t, nil, func(t *testing.T, w *world, d *device) {
		d.settle("v1/1")
		good := w.repo["v2/1"]
		for name, bad := range map[string][]byte{"cut off": good[:len(good)/2], "longer": append(slices.Clone(good), 0), "another": w.repo["v3/1"],
			"flipped": flip(good, len(good)-20), "empty": {}} {
			w.mu.Lock()
			w.fetches = 0
			w.said["v2/1"] = Offer{Size: int64(len(good)), SHA256: digest(good)}
			w.repo["v2/1"] = bad
			w.mu.Unlock()
			_ = d.Offer("main", Wish{Target: "v2/1", Rev: d.state().Rev + 1})
			s := d.until(name, time.Hour, func(s SlotState) bool { return w.fetched() > 1 })
			if !strings.Contains(s.Error, "not what was signed") || s.Active.Target != "v1/1" || len(d.Refused()) != 0 {
				t.Errorf("%s: %+v", name, s)
			}
			_ = d.Offer("main", Wish{Target: "v1/1", Rev: s.Rev + 1})
			d.until("given up", time.Minute, func(s SlotState) bool { return s.Target == "" })
		}
		w.repo["v2/1"] = good
	})
}

// A signed bundle that is none is the model's own fault.
func TestASignedBundleThatIsNoneIsRefused(t *testing.T) {
	files := map[string]string{"labels.txt": "ok\n", "model.onnx": "weights", "baseline.json": "{}"}
	whole := manifestOf("x", "1", files)
	for name, c := range map[string]struct {
		change func(f map[string]string)
		want   string
	}{
		"no files":         {func(f map[string]string) { f[manifestName] = `{"v":1,"name":"x","version":"1"}` }, "names no files"},
		"another weight":   {func(f map[string]string) { f["model.onnx"] = "WEIGHTS" }, "model.onnx has the digest"},
		"another size":     {func(f map[string]string) { f["model.onnx"] = "more weights" }, "model.onnx has 12 bytes"},
		"one is missing":   {func(f map[string]string) { delete(f, "model.onnx") }, "model.onnx is named by the manifest, and is not there"},
		"one too many":     {func(f map[string]string) { f["evil.so"] = "x" }, "evil.so is not named"},
		"no manifest":      {func(f map[string]string) { f[manifestName] = "{" }, "manifest.json"},
		"another manifest": {func(f map[string]string) { f[manifestName] = `{"v":2}` }, "v is not 1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := map[string]string{manifestName: whole}
			for k, v := range files {
				f[k] = v
			}
			c.change(f)
			archive := pack(t, bundle(t, f))
			inTime(t, nil, func(t *testing.T, w *world, d *device) {
				w.repo["bad/1"] = archive
				_ = d.Offer("main", Wish{Target: "bad/1", Rev: 1})
				s := d.until("refused", time.Hour, ended(StepRefused, "bad/1"))
				if s.Last.At != StepFetched || !strings.Contains(s.Last.Reason, c.want) || !s.Active.IsNone() {
					t.Errorf("%+v", s.Last)
				}
				d.until("nothing left", time.Minute, func(SlotState) bool {
					left, _ := os.ReadDir(filepath.Join(d.cfg.Dir, "incoming"))
					return len(left) == 0 && len(onDisk(t, d.cfg.Dir)) == 0
				})
			})
		})
	}
}

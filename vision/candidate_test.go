package vision_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/scripted"
	"heron/vision"
)

// better is a script whose answers differ from the first model's.
var better = scripted.Script{Answers: []scripted.Answer{{Label: "dark", Score: 0.7}, {Label: "bright", Score: 0.6}}}

// contest runs a Client on a card and the first model.
func contest(t *testing.T, source string, shadows *atomic.Int64) *eyes {
	t.Helper()
	cmd, env := self("serve")
	cam := card(50)
	if source != "" {
		cam.Source, cam.FPS = source, 0
	}
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, InferenceTimeout: time.Second, OnShadow: func(s vision.Shadow) {
		if s.Slot == "main" && s.Camera == "front" && s.Model != "" && (len(s.Top) > 0 || s.Error != "") {
			shadows.Add(1)
		}
	}, Config: vision.Config{Cameras: []vision.CameraConfig{cam}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, e.WaitReady(ctx))
	e.flows(3)
	return e
}

func (e *eyes) eventually(what string, ok func() bool) {
	e.t.Helper()
	for t0 := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(t0) > patience {
			e.t.Fatalf("not within %v: %s; stats %+v", patience, what, e.Stats())
		}
	}
}

func (e *eyes) newest() vision.Observation {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.obs[len(e.obs)-1]
}

func TestCandidateSeesFramesAndTakesOverBetweenTwo(t *testing.T) {
	t.Parallel()
	var shadows atomic.Int64
	e := contest(t, "", &shadows)
	first := e.newest().Model
	st, err := e.Stage(t.Context(), vision.SlotConfig{Slot: "main", Bundle: bundle(t, "scripted", better)}, 1)
	must(t, err)
	if st.Model == "" || st.Model == first || st.Engine != "scripted" {
		t.Errorf("staged %+v", st)
	}
	e.eventually("shadows", func() bool { return shadows.Load() >= 5 })
	if m := e.newest().Model; m != first {
		t.Errorf("the live model is %s before the promotion", m)
	}
	must(t, e.Promote(t.Context(), "main"))
	e.eventually("the new model answers", func() bool { return e.newest().Model == st.Model })
	e.flows(5)
	pid := e.Stats().PID
	e.mu.Lock()
	seen, changed := "", 0
	for i, o := range e.obs {
		if o.Model != seen {
			seen = o.Model
			changed++
		}
		if i > 0 && o.Frame <= e.obs[i-1].Frame {
			t.Errorf("frame %d after %d", o.Frame, e.obs[i-1].Frame)
		}
	}
	e.mu.Unlock()
	if s := e.Stats(); changed != 2 || s.Restarts != 0 {
		t.Errorf("%d models, %d replacements", changed, s.Restarts)
	}
	if err := e.Promote(t.Context(), "main"); err == nil || !strings.Contains(err.Error(), "no candidate") {
		t.Errorf("a second promotion: %v", err)
	}
	p, err := os.FindProcess(pid) // a process that comes later loads the new one
	must(t, err)
	must(t, p.Kill())
	e.eventually("the successor answers", func() bool { return e.Stats().Restarts == 1 && e.Stats().State == vision.StateRunning })
	e.flows(3)
	if m := e.newest().Model; m != st.Model {
		t.Errorf("after a replacement the model is %s", m)
	}
}

// A folder's frames all count: none is lost or answered twice when the model changes in their midst.
func TestCandidateTakesOverInAFolder(t *testing.T) {
	t.Parallel()
	var shadows atomic.Int64
	dir := pictures(t, 400)
	e := contest(t, "pictures:"+dir, &shadows)
	_, err := e.Stage(t.Context(), vision.SlotConfig{Slot: "main", Bundle: bundle(t, "scripted", better)}, 1)
	must(t, err)
	must(t, e.Promote(t.Context(), "main"))
	e.until("the end", func(s vision.ClientStats) bool { return s.State == vision.StateEnded })
	if n := e.count(); n != 400 {
		t.Errorf("%d observations of 400 pictures", n)
	}
}

func TestFault_M_CandidateThatMisbehavesCostsOnlyItself(t *testing.T) {
	for _, c := range []struct {
		name, engine string
		script       scripted.Script
		want         string
	}{
		{"hangs", "native", scripted.Script{HangEvery: 4}, "an inference of the candidate"},
		{"aborts", "native", scripted.Script{FailEvery: 4}, "assertion failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var shadows atomic.Int64
			e := contest(t, "", &shadows)
			first := e.newest().Model
			_, err := e.Stage(t.Context(), vision.SlotConfig{Slot: "main", Bundle: bundle(t, c.engine, c.script)}, 1)
			must(t, err)
			e.eventually("the candidate is lost", func() bool {
				why, blamed := e.CandidateLost("main")
				return blamed && strings.Contains(why, c.want)
			})
			e.flows(5)
			if s := e.Stats(); s.Restarts != 1 || s.State == vision.StateCrashLoop || e.newest().Model != first {
				t.Errorf("stats %+v, model %s", s, e.newest().Model)
			}
			if err := e.Promote(t.Context(), "main"); err == nil {
				t.Error("a lost candidate was promoted")
			}
		})
	}
}

func TestCandidateIsRefused(t *testing.T) {
	t.Parallel()
	var shadows atomic.Int64
	e := contest(t, "", &shadows)
	_, err := e.Stage(t.Context(), vision.SlotConfig{Slot: "main", Bundle: t.TempDir()}, 1)
	if r := (*inference.Refusal)(nil); !errors.As(err, &r) || r.Code != inference.CodeBundle {
		t.Errorf("an empty folder: %v", err)
	}
	e.flows(3)
	e.Replace(vision.SlotConfig{Slot: "main", Bundle: bundle(t, "scripted", better)})
	first := e.newest().Model
	e.eventually("the other model", func() bool { return e.newest().Model != first })
	if s := e.Stats(); s.Restarts != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestFault_M9_HundredSwaps(t *testing.T) {
	t.Parallel()
	var shadows atomic.Int64
	e := contest(t, "", &shadows)
	bundles := []string{bundle(t, "scripted", better), bundle(t, "scripted", scripted.Script{})}
	n := 100
	var early int64
	for i := range n {
		_, err := e.Stage(t.Context(), vision.SlotConfig{Slot: "main", Bundle: bundles[i%2]}, 0.2)
		must(t, err)
		must(t, e.Promote(t.Context(), "main"))
		if i == n/4 {
			e.flows(10)
			early = e.Stats().RSS
		}
	}
	e.flows(10)
	s := e.Stats()
	t.Logf("memory after %d swaps %d kB, after %d %d kB", n/4, early>>10, n, s.RSS>>10)
	if s.Restarts != 0 || s.RSS > early+16<<20 {
		t.Errorf("stats %+v, %d bytes early on", s, early)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.obs {
		if o.Error != "" {
			t.Fatalf("frame %d: %s", o.Frame, o.Error)
		}
	}
}

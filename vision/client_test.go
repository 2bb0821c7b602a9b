package vision_test

import (
	"bytes"
	"context"
	"errors"
	"image/jpeg"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/scripted"
	"heron/vision"
)

func TestPicturesAreClassifiedOnceEachAndThenItEnds(t *testing.T) {
	cmd, env := self("serve")
	const n = 25
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{
		Cameras: []vision.CameraConfig{{Name: "front", Source: "pictures:" + pictures(t, n), Slot: "main"}, {Name: "back", Source: "pictures:" + pictures(t, n), Slot: "main"}},
		Slots:   []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{LatencyMS: 1})}}}})
	if err := <-e.done; err != nil {
		t.Fatalf("Run: %v", err)
	}
	e.done <- nil
	if s := e.Stats(); s.State != vision.StateEnded || s.Restarts != 0 {
		t.Errorf("stats: %+v", s)
	}
	for _, c := range e.Stats().Cameras {
		if c.State != "ended" || c.Read != n || c.Inferred != n {
			t.Errorf("camera %s after its last picture: %+v", c.Name, c)
		}
	}
	next := map[string]uint64{}
	for _, o := range e.obs {
		if next[o.Camera]++; o.Frame != next[o.Camera] {
			t.Fatalf("frame %d of %s follows %d", o.Frame, o.Camera, next[o.Camera]-1)
		}
		want := []string{"dark", "bright"}[(o.Frame-1)%2]
		if len(o.Top) == 0 || o.Top[0].Label != want || o.Error != "" || o.Facts != nil || !strings.HasPrefix(o.Model, "test@1#") || o.Engine != "scripted" {
			t.Errorf("observation %+v, want %s", o, want)
		}
		if o.LatMS < 1 || o.AgeMS < o.LatMS || o.MonoMS <= 0 || o.At.IsZero() || !strings.HasSuffix(o.Name, ".png") {
			t.Errorf("timings or name: %+v", o)
		}
	}
	if next["front"] != n || next["back"] != n {
		t.Errorf("observations: %v, want %d each", next, n)
	}
}

func TestClassifyAndSnapshot(t *testing.T) {
	cmd, env := self("serve")
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{
		Cameras: []vision.CameraConfig{card(20), {Name: "idle", Source: "testcard:?width=320&height=240"}},
		Slots:   []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, e.WaitReady(ctx))
	dir := pictures(t, 2)
	black := filepath.Join(dir, "black.png")
	picture(t, black, 0)
	o, err := e.Classify(ctx, "main", filepath.Join(dir, "001.png"))
	must(t, err)
	if o.Top[0].Label != "bright" || o.Name != "001.png" || o.Slot != "main" {
		t.Errorf("classified: %+v", o)
	}
	if o, err = e.Classify(ctx, "main", black); err != nil || !slices.Equal(o.Facts, []string{"black"}) || len(o.Top) == 0 {
		t.Errorf("a black picture: %+v, %v; want its fact, and classified all the same", o, err)
	}
	if _, err = e.Classify(ctx, "main", filepath.Join(dir, "none.png")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no picture: %v", err)
	}
	if _, err = e.Classify(ctx, "other", black); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("no slot: %v", err)
	}
	e.flows(2)
	p, err := e.Snapshot(ctx, "front", vision.SnapshotOptions{})
	for err == nil && p.Last == nil && ctx.Err() == nil { // a starved process was replaced, and its next one has not classified yet
		p, err = e.Snapshot(ctx, "front", vision.SnapshotOptions{})
	}
	must(t, err)
	if m, err := jpeg.Decode(bytes.NewReader(p.JPEG)); err != nil || m.Bounds().Dx() != 64 || p.Width != 64 || p.Height != 48 || p.Last == nil || p.Last.Camera != "front" {
		t.Errorf("snapshot: %d bytes, %+v, %v", len(p.JPEG), p.Last, err)
	}
	for { // a camera without a model has pictures too
		if p, err = e.Snapshot(ctx, "idle", vision.SnapshotOptions{MaxWidth: 100}); err == nil || ctx.Err() != nil {
			break
		}
	}
	must(t, err)
	if m, err := jpeg.Decode(bytes.NewReader(p.JPEG)); err != nil || m.Bounds().Dx() != 100 || p.Width != 100 || p.Height != 75 || p.Last != nil {
		t.Errorf("small snapshot: %+v %v", p, err)
	}
}

func TestRefusedModelLeavesTheOthersAlone(t *testing.T) {
	cmd, env := self("serve")
	bad := bundle(t, "scripted", scripted.Script{})
	must(t, os.WriteFile(filepath.Join(bad, "labels.txt"), nil, 0o600))
	other := card(20)
	other.Name, other.Slot = "back", "bad"
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{
		Cameras: []vision.CameraConfig{other, card(20)},
		Slots:   []vision.SlotConfig{{Slot: "bad", Bundle: bad}, {Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var r *inference.Refusal
	if err := e.WaitReady(ctx); !errors.As(err, &r) || r.Code != inference.CodeLabels || r.NextStep == "" {
		t.Fatalf("WaitReady: %v", err)
	}
	e.flows(3)
	s := e.until("running", func(s vision.ClientStats) bool { return s.State == vision.StateRunning })
	if len(s.Refusals) != 1 || s.Refusals[0].Slot != "bad" || s.Restarts != 0 {
		t.Errorf("stats: %+v", s)
	}
	e.until("a picture of the camera whose model is refused", func(vision.ClientStats) bool {
		_, err := e.Snapshot(ctx, "back", vision.SnapshotOptions{})
		return err == nil
	})
}

func TestBlackFramesAreFactsAndNeverAClass(t *testing.T) {
	cmd, env := self("serve")
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{
		Cameras: []vision.CameraConfig{{Name: "front", Source: "dark:10", Slot: "main"}},
		Slots:   []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	dark := func(o vision.Observation) bool { return slices.Equal(o.Facts, []string{"black"}) }
	e.until("black frames", func(vision.ClientStats) bool { return slices.ContainsFunc(e.observations(), dark) })
	for _, o := range e.observations() {
		if dark(o) != (len(o.Top) == 0) || dark(o) != (o.LatMS == 0) {
			t.Errorf("observation: %+v", o)
		}
	}
}

// The camera's own clock goes back every fifteen frames: it is counted, the observation after it says so, and capture times go on.
func TestFault_V7_JumpsOfTheCamerasClockAreToldAndCounted(t *testing.T) {
	t.Parallel()
	cmd, env := self("serve")
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{
		Cameras: []vision.CameraConfig{{Name: "front", Source: "jump:15", Slot: "main"}},
		Slots:   []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	e.until("three jumps", func(s vision.ClientStats) bool { return len(s.Cameras) == 1 && s.Cameras[0].ClockJumps >= 3 })
	e.until("observations that say so", func(vision.ClientStats) bool {
		n := 0
		for _, o := range e.observations() {
			if o.Jumped {
				n++
			}
		}
		return n >= 2
	})
	var last int64
	for _, o := range e.observations() {
		if o.MonoMS < last {
			t.Errorf("frame %d was captured at %d ms, after one at %d", o.Frame, o.MonoMS, last)
		}
		last = o.MonoMS
	}
}

func TestBlackPicturesAreClassifiedAndTheirFactsTold(t *testing.T) {
	cmd, env := self("serve")
	dir := pictures(t, 2)
	picture(t, filepath.Join(dir, "001.png"), 0)
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{
		Cameras: []vision.CameraConfig{{Name: "front", Source: "pictures:" + dir, Slot: "main"}},
		Slots:   []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	e.until("the end", func(s vision.ClientStats) bool { return s.State == vision.StateEnded })
	if len(e.obs) != 2 || len(e.obs[0].Top) == 0 || !slices.Equal(e.obs[1].Facts, []string{"black"}) || len(e.obs[1].Top) == 0 {
		t.Errorf("observations: %+v", e.obs)
	}
}

func TestBadConfigurationsAreRefusedAtOnce(t *testing.T) {
	slot := []vision.SlotConfig{{Slot: "main"}}
	for want, c := range map[string]vision.ClientConfig{
		"either a command or a socket": {},
		"used twice":                   {Socket: "/x", Config: vision.Config{Slots: append(slot, slot...)}},
		`"main", which does not exist`: {Socket: "/x", Config: vision.Config{Cameras: []vision.CameraConfig{card(1)}}},
		"rate -1 is out of range":      {Socket: "/x", Config: vision.Config{Slots: slot, Cameras: []vision.CameraConfig{card(-1)}}},
		"rate NaN is out of range":     {Socket: "/x", Config: vision.Config{Slots: slot, Cameras: []vision.CameraConfig{card(math.NaN())}}},
		"not plain text":               {Socket: "/x", Config: vision.Config{Slots: []vision.SlotConfig{{Slot: "a\nb"}}}},
	} {
		if _, err := vision.NewClient(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

func TestMissingProgramIsSaidAtOnce(t *testing.T) {
	e := look(t, vision.ClientConfig{Command: []string{"/no/such/heron-vision"}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.WaitReady(ctx); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("WaitReady: %v", err)
	}
	if s := e.Stats(); s.ByCause[vision.CauseStart] == 0 || !strings.Contains(s.LastReason, "no such file") {
		t.Errorf("stats: %+v", s)
	}
}

// What the protocol does not carry is refused when the model is loaded, not taken for damage at the first frame.
func TestLabelThatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	cmd, env := self("serve")
	dir := bundle(t, "scripted", scripted.Script{})
	must(t, os.WriteFile(filepath.Join(dir, "labels.txt"), []byte("dark\n"+strings.Repeat("bright", 50)+"\n"), 0o600))
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{Slots: []vision.SlotConfig{{Slot: "main", Bundle: dir}}}})
	s := e.until("refused", func(s vision.ClientStats) bool { return s.State == vision.StateRefused })
	if s.Refusals[0].Code != inference.CodeLabels || !strings.Contains(s.Refusals[0].Reason, "longer than 256 bytes") {
		t.Errorf("%+v", s.Refusals)
	}
}

// A bundle that is mended is taken within the same process: the others are not disturbed.
func TestMendedModelIsTakenWithoutAReplacement(t *testing.T) {
	t.Parallel()
	cmd, env := self("serve")
	dir := bundle(t, "scripted", scripted.Script{})
	labels := filepath.Join(dir, "labels.txt")
	must(t, os.WriteFile(labels, []byte("one\n"), 0o600))
	c, err := vision.NewClient(vision.ClientConfig{Command: cmd, Env: env, Log: quiet(), Config: vision.Config{Cameras: []vision.CameraConfig{card(20)}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: dir}}}})
	must(t, err)
	c.SetWaits(time.Second, time.Second, 200*time.Millisecond)
	e := run(t, c)
	e.until("refused", func(s vision.ClientStats) bool { return s.State == vision.StateRefused })
	must(t, os.WriteFile(labels, []byte("dark\nbright\n"), 0o600))
	s := e.until("running", func(s vision.ClientStats) bool { return s.State == vision.StateRunning })
	if s.Restarts != 0 || len(s.Refusals) != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// Heron's own slowness is not heron-vision's: the beats behind a long callback have not been read yet.
func TestSlowCallbackIsNoFault(t *testing.T) {
	t.Parallel()
	cmd, env := self("serve")
	var n atomic.Int64
	c, err := vision.NewClient(vision.ClientConfig{Command: cmd, Env: env, Log: quiet(), BeatTimeout: 2 * time.Second,
		Config: vision.Config{Cameras: []vision.CameraConfig{card(20)}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}},
		OnObservation: func(vision.Observation) {
			if n.Add(1) == 3 {
				time.Sleep(4 * time.Second)
			}
		}})
	must(t, err)
	e := run(t, c)
	s := e.until("20 observations", func(vision.ClientStats) bool { return n.Load() >= 20 })
	if s.ByCause[vision.CauseBeat] != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// A classify that follows readiness at once finds the model, and no live frame is told of before it.
func TestReadyMeansReady(t *testing.T) {
	cmd, env := self("serve")
	dir, pic := bundle(t, "scripted", scripted.Script{}), filepath.Join(pictures(t, 1), "000.png")
	for range 20 {
		c, err := vision.NewClient(vision.ClientConfig{Command: cmd, Env: env, Log: quiet(), Config: vision.Config{
			Cameras: []vision.CameraConfig{card(0)}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: dir}}}})
		must(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		must(t, c.WaitReady(ctx))
		if _, err := c.Classify(ctx, "main", pic); err != nil || c.Stats().Restarts != 0 {
			t.Errorf("Classify: %v; %+v", err, c.Stats())
		}
		cancel()
		<-done
	}
}

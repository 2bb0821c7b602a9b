package vision_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"heron/inference/scripted"
	"heron/vision"
)

// span is how long the last n observations took by their capture times. A slow machine makes it longer, never shorter.
func (e *eyes) span(n int) time.Duration {
	e.t.Helper()
	e.flows(n + 1)
	o := e.observations()
	o = o[len(o)-n-1:]
	return o[n].At.Sub(o[0].At)
}

func TestSetPaceHoldsForLiveCamerasAndForTheNextProcess(t *testing.T) {
	t.Parallel()
	cmd, env := self("serve")
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{
		Cameras: []vision.CameraConfig{card(0)}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, e.WaitReady(ctx))
	fast := func(what string) {
		t.Helper()
		e.until(what, func(vision.ClientStats) bool { return e.span(10) < 1500*time.Millisecond })
	}
	fast("50 a second")
	if s := e.until("a beat", func(s vision.ClientStats) bool { return len(s.Cameras) == 1 }); !s.Cameras[0].Live {
		t.Errorf("a test card is a live camera: %+v", s.Cameras[0])
	}
	const n, least = 5, 800 * time.Millisecond // 5 a second; one may come early, for the grid
	slow := func(what string) {
		t.Helper()
		e.flows(2)                                                                 // those under way
		e.until(what, func(vision.ClientStats) bool { return e.span(n) >= least }) // more than once where the first came late
	}
	e.SetPace(map[string]float64{"front": 5, "nobody": 3})
	slow("bounded")
	before := e.Stats()
	must(t, syscall.Kill(before.PID, syscall.SIGKILL))
	e.until("a new process", func(s vision.ClientStats) bool { return s.Restarts > before.Restarts && s.State == vision.StateRunning })
	slow("in the next process")
	e.SetPace(nil)
	fast("free again")
	if s := e.Stats(); s.Restarts != 1 {
		t.Errorf("%d restarts: %s", s.Restarts, s.LastReason)
	}
}

// Whoever sets it before there is a process, or again and again, breaks nothing.
func TestSetPaceAtAnyTime(t *testing.T) {
	cmd, env := self("serve")
	c, err := vision.NewClient(vision.ClientConfig{Command: cmd, Env: env, Log: quiet(), Config: vision.Config{
		Cameras: []vision.CameraConfig{card(0)}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	must(t, err)
	c.SetPace(map[string]float64{"front": 1})
	e := run(t, c)
	for i := 0; ; i++ {
		c.SetPace(map[string]float64{"front": float64(1 + i%40)})
		if s := c.Stats(); s.State == vision.StateRunning && len(s.Cameras) > 0 && s.Cameras[0].Inferred > 3 {
			break
		} else if i > int(patience/time.Millisecond) {
			t.Fatalf("never ran: %+v", s)
		}
		time.Sleep(time.Millisecond)
	}
	if s := e.Stats(); s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPicturesAreNeverSlowed(t *testing.T) {
	cmd, env := self("serve")
	c, err := vision.NewClient(vision.ClientConfig{Command: cmd, Env: env, Log: quiet(), Config: vision.Config{
		Cameras: []vision.CameraConfig{{Name: "front", Source: "pictures:" + pictures(t, 200), Slot: "main"}},
		Slots:   []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	must(t, err)
	c.SetPace(map[string]float64{"front": 0.5}) // 200 pictures would take more than six minutes
	e := run(t, c)
	e.until("all pictures", func(s vision.ClientStats) bool { return s.State == vision.StateEnded })
}

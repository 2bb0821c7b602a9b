package agent

import (
	"testing"
	"time"

	"heron/vision"
)

// A source that has ended says so, and its newest frame grows older though heron-vision is gone.
func TestCameraThatEndedGrowsOld(t *testing.T) {
	now, fps := time.Now(), 10.0
	cam := Camera{Name: "front", Source: "file:/belt.mp4", FPS: &fps}
	a := &Agent{views: map[string]*view{cam.Name: {}}}
	vs := vision.ClientStats{State: vision.StateEnded, Since: now.Add(-time.Minute), Cameras: []vision.CameraStats{{Name: cam.Name, State: "ended", FrameAge: 2}}}
	if c := a.cameraView(now, cam, vs); c.State != "ended" || c.FrameAgeS < 61.9 || c.FrameAgeS > 62.1 {
		t.Errorf("%s, %.1f s old", c.State, c.FrameAgeS)
	}
	vs.State, vs.Cameras[0].FrameAge = vision.StateEnded, -1
	if c := a.cameraView(now, cam, vs); c.FrameAgeS != -1 {
		t.Errorf("without a frame it is %.1f s old", c.FrameAgeS)
	}
}

package vision_test

import (
	"bytes"
	"context"
	"image/jpeg"
	"testing"

	"heron/inference/scripted"
	"heron/vision"
)

func TestOnlyNewerFramesAreEncodedAndTheResultDrawnIsTheirOwn(t *testing.T) {
	t.Parallel()
	cmd, env := self("serve")
	dir := pictures(t, 3)
	on := card(1)
	on.Name, on.Slot = "on", "" // so that the process goes on when the pictures have ended
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{
		Cameras: []vision.CameraConfig{{Name: "front", Source: "pictures:" + dir, Slot: "main"}, on},
		Slots:   []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e.until("the last frame", func(vision.ClientStats) bool { return e.count() == 3 })
	p, err := e.Snapshot(ctx, "front", vision.SnapshotOptions{Draw: true})
	must(t, err)
	if p.Same || p.Frame.Seq != 3 || p.Last == nil || p.Last.Frame != 3 || len(p.JPEG) == 0 {
		t.Fatalf("drawn: %+v %+v", p.Frame, p.Last)
	}
	m, err := jpeg.Decode(bytes.NewReader(p.JPEG))
	must(t, err)
	if r, g, b, _ := m.At(1, 47).RGBA(); r>>8 > 110 || g>>8 > 110 || b>>8 > 110 {
		t.Errorf("no panel at the foot: %d %d %d", r>>8, g>>8, b>>8)
	}
	again, err := e.Snapshot(ctx, "front", vision.SnapshotOptions{Draw: true, Have: p.Frame})
	must(t, err)
	if !again.Same || len(again.JPEG) != 0 || again.Frame.Seq != 3 || !again.Frame.At.Equal(p.Frame.At) || again.Age < p.Age {
		t.Errorf("the same frame: %+v", again)
	}
	other := p.Frame
	other.At = other.At.Add(-1) // frame 3 of a process before
	if p, err = e.Snapshot(ctx, "front", vision.SnapshotOptions{Have: other}); err != nil || p.Same || len(p.JPEG) == 0 {
		t.Errorf("another process's frame 3: %+v %v", p.Same, err)
	}
	e.until("the frame is stale", func(vision.ClientStats) bool {
		p, err = e.Snapshot(ctx, "front", vision.SnapshotOptions{Age: true})
		must(t, err)
		return p.Age > vision.StaleAfter
	})
	p, err = e.Snapshot(ctx, "front", vision.SnapshotOptions{Age: true}) // the one before may have been drawn just before it was stale
	must(t, err)
	plain, err := e.Snapshot(ctx, "front", vision.SnapshotOptions{})
	must(t, err)
	if bytes.Equal(plain.JPEG, p.JPEG) {
		t.Error("the age is not in the picture")
	}
}

func TestCameraWithoutAModelIsDrawnAsNotClassified(t *testing.T) {
	cmd, env := self("serve")
	idle := card(20)
	idle.Slot = ""
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{Cameras: []vision.CameraConfig{idle}}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e.until("a picture", func(vision.ClientStats) bool {
		p, err := e.Snapshot(ctx, "front", vision.SnapshotOptions{Draw: true, MaxWidth: 32})
		return err == nil && p.Last == nil && p.Width == 32 && p.Height == 24 && len(p.JPEG) > 0
	})
}

func TestSlowModelsPicturesComeWithTheirOwnResult(t *testing.T) {
	t.Parallel()
	cmd, env := self("serve")
	e := look(t, vision.ClientConfig{Command: cmd, Env: env, Config: vision.Config{Cameras: []vision.CameraConfig{card(20)},
		Slots: []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{LatencyMS: 700})}}}})
	e.flows(1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	have, drawn := vision.FrameID{}, 0
	e.until("two pictures with a result", func(vision.ClientStats) bool {
		p, err := e.Snapshot(ctx, "front", vision.SnapshotOptions{Draw: true, Have: have})
		must(t, err)
		if p.Last != nil {
			drawn++
			if p.Last.Frame != p.Frame.Seq || len(p.Last.Top) == 0 {
				t.Errorf("frame %d has the result of frame %d", p.Frame.Seq, p.Last.Frame)
			}
		}
		have = p.Frame
		return drawn == 2
	})
}

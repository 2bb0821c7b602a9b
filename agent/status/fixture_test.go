package status

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"strings"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// device is a Provider whose answers a test chooses.
type device struct {
	mu      sync.Mutex
	snap    Snapshot
	picture func(ctx context.Context, camera string, width int) ([]byte, error)
}

func (d *device) Snapshot() Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.snap
}

func (d *device) set(s Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.snap = s
}

func (d *device) Picture(ctx context.Context, camera string, o PictureOptions) (Picture, error) {
	if d.picture == nil {
		return Picture{}, errors.New("the camera has delivered no frame yet")
	}
	jpeg, err := d.picture(ctx, camera, o.MaxWidth)
	return Picture{JPEG: jpeg, Caption: "frame 7: größer 91.0 %"}, err
}

// Card is no picture of words, but the words can be found in it.
func (d *device) Card(_, _ int, title string, lines ...string) ([]byte, error) {
	return []byte("\xff\xd8" + title + "\n" + strings.Join(lines, "\n")), nil
}

// bottle is a drawn picture.
func bottle(context.Context, string, int) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, 640, 480))
	for y := range 480 {
		for x := range 640 {
			c := color.RGBA{uint8(70 + x/16), uint8(84 + y/12), 96, 255}
			if dx := x - 320; dx*dx < 70*70 && y > 140 && y < 420 || dx*dx < 26*26 && y > 60 && y <= 140 {
				c = color.RGBA{uint8(30 + dx + 70), 120, 72, 255}
			}
			if dx := x - 320; dx*dx < 70*70 && y > 240 && y < 340 {
				c = color.RGBA{225, 218, 196, 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	err := jpeg.Encode(&b, img, nil)
	return b.Bytes(), err
}

// working is a device without trouble, as of t.
func working(t time.Time) Snapshot {
	var lat Histogram
	for range 900 {
		lat.Observe(0.0031)
	}
	for range 30 {
		lat.Observe(0.012)
	}
	return Snapshot{
		At: t, State: OK,
		Device: Device{Group: "acme", ID: "dev-0042", Agent: "0.1.0", Boot: "3f9ac1", UptimeS: 93_784, Hardware: "Raspberry Pi 4 Model B", Started: t.Add(-93_784 * time.Second)},
		Cameras: []Camera{{
			Name: "front", Source: "v4l2:/dev/video0", Slot: "main", State: "running", FPS: 9.96, FrameAgeS: 0.08, Width: 640, Height: 480,
			Frames: 2_812_342, Dropped: 1_874_895, Inferred: 937_447, Reopened: 1,
			Last: &Last{Frame: 2_812_341, At: t.Add(-120 * time.Millisecond), Engine: "onnx", Model: "bottles@1.4.2#9f86d0", LatMS: 3.14, AgeMS: 38,
				Top: []Score{{"scratched", 0.9123}, {"ok", 0.0612}, {"no_label", 0.0241}, {"empty", 0.0024}}},
		}},
		Models: []Model{{Slot: "main", Name: "bottles", Version: "1.4.2", Digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Engine: "onnx", State: "live", Labels: 4, Latency: &lat}},
		Engine: "onnx",
		Engines: []Engine{
			{Engine: "onnx", Device: "cpu", Present: true, Usable: true, InUse: true, Version: "1.24.3"},
			{Engine: "scripted", Present: true, Usable: true},
		},
		Vision: Vision{State: "running", Since: t.Add(-time.Hour), PID: 4711, Version: "0.1.0", Restarts: 2, ByCause: map[string]uint64{"exit": 1, "stall": 1}, LastCause: "stall",
			LastReason: "camera front gave no frame for 5.0 s", LastAt: t.Add(-time.Hour), RSS: 88 << 20},
		Events: Events{Entered: 1204, Exited: 1203, Suppressed: 37, Unfit: 12},
		Outbox: Outbox{State: "ok", Epoch: "9c21", NextSeq: 938_651, Records: 12, Bytes: 431, ByStream: map[string]int64{"result": 12}, OldestS: 1.2,
			FileBytes: 16 << 20, MaxBytes: 512 << 20, Acked: 938_639, Dropped: map[string]uint64{"full": 0}, Commits: 1402, Written: 31 << 20, WrittenToday: 4 << 20},
		Uplink:  Uplink{State: "online", Since: t.Add(-5 * time.Hour), Broker: "mqtts://broker.example.org:8883", Session: 812, InFlight: 1, Acked: 938_639, Resent: 500, Connects: 3, BytesToday: Traffic{9 << 20, 300 << 10}, BytesTotal: Traffic{22 << 20, 700 << 10}, RTTMS: 41},
		Process: Process{RSS: 19 << 20, CPUS: 812.4, Goroutines: 31, FDs: 14, Version: "go1.26.0"},
	}
}

// troubled is offline with a covered camera.
func troubled(t time.Time) Snapshot {
	s := working(t)
	s.State = Degraded
	s.Reasons = []Reason{
		{Code: "camera-covered", Since: t.Add(-42 * time.Second), Text: "Camera front is covered: its frames are not classified", NextStep: "Clean the lens, or remove what lies before it"},
		{Code: "offline", Since: t.Add(-17 * time.Minute), Text: "No connection to mqtts://broker.example.org:8883 (connection refused); results are kept on disk", NextStep: "Check the network cable and that the broker runs"},
	}
	c := &s.Cameras[0]
	c.Facts = []string{"covered"}
	last := *c.Last
	last.Top, last.Facts = nil, []string{"covered"}
	c.Last = &last
	s.Uplink.State, s.Uplink.Reason, s.Uplink.Since, s.Uplink.RetryInS, s.Uplink.RTTMS = "offline", "dial tcp 192.0.2.7:8883: connect: connection refused", t.Add(-17*time.Minute), 12.3, 0
	s.Outbox.Records, s.Outbox.Bytes, s.Outbox.OldestS, s.Outbox.ByStream = 10_213, 284_000, 1021, map[string]int64{"result": 10_166, "rollup": 17, "event": 13, "health": 17}
	s.Engines = append([]Engine{{Engine: "edgetpu", Reason: "no Edge TPU on USB (1a6e:089a, 18d1:9302)", NextStep: "Plug the stick in; heron returns to it by itself"}}, s.Engines...)
	return s
}

// broken does not do its job.
func broken(t time.Time) Snapshot {
	s := working(t)
	s.State = Failed
	s.Reasons = []Reason{
		{Code: "model-refused", Since: t.Add(-3 * time.Hour), Blocking: true, Text: "Model bottles 1.4.2 is refused: labels.txt has 5 labels, the model answers 4", NextStep: "Put the label file that belongs to this model into the bundle"},
		{Code: "camera-lost", Since: t.Add(-95 * time.Second), Blocking: true, Text: "Camera front: cannot open /dev/video0: no such file or directory", NextStep: "Plug the camera in; heron camera list shows what is there"},
	}
	c := &s.Cameras[0]
	c.State, c.FPS, c.FrameAgeS, c.LastError, c.Errors = "reopening", 0, 95, "open /dev/video0: no such file or directory", 19
	last := *c.Last
	last.At = t.Add(-95 * time.Second)
	c.Last = &last
	s.Engine, s.Engines[0].InUse = "", false
	s.Models[0].State, s.Models[0].Latency = "refused", nil
	s.Models[0].Refusal = &Refusal{Code: "labels", Reason: "labels.txt has 5 labels, the model answers 4", NextStep: "Put the label file that belongs to this model into the bundle"}
	s.Vision.State, s.Vision.RetryInS = "crash-loop", 28
	s.Outbox.State, s.Outbox.Reason, s.Outbox.Dropped = "memory", "the disk is read-only; results are kept in memory and the oldest are lost when it is full", map[string]uint64{"memory": 1533}
	return s
}

// serve runs a Server on a free port until the test ends.
func serve(t testing.TB, d *device, change ...func(*Server)) *Server {
	t.Helper()
	s, err := New(Config{Listen: "127.0.0.1:0", DeviceID: "dev-0042", Hosts: []string{"heron.example.org"}}, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(s)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

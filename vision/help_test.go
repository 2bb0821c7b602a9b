package vision_test

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"heron/camera"
	"heron/inference"
	"heron/inference/scripted"
	"heron/vision"
)

// patience is how long a test waits for what must happen: the machine may be slow and noisy.
const patience = 30 * time.Second

// bundle writes a bundle whose engine is scripted (or native, see openNative) and answers by brightness: dark, bright.
func bundle(t testing.TB, engine string, s scripted.Script) string {
	t.Helper()
	dir := t.TempDir()
	if s.Answers == nil {
		s.Answers = []scripted.Answer{{Label: "dark", Score: 0.9}, {Label: "bright", Score: 0.8}}
	}
	script, err := json.Marshal(s)
	must(t, err)
	m := inference.Manifest{V: 1, Name: "test", Version: "1", Labels: "labels.txt",
		Engines: []inference.EngineEntry{{Engine: engine, File: "answers.json"}},
		Input:   inference.Input{Width: 32, Height: 32, Layout: "NHWC", DType: inference.Float32},
		Output:  inference.Output{Kind: "probabilities"}}
	manifest, err := json.Marshal(m)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "answers.json"), script, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "labels.txt"), []byte("dark\nbright\n"), 0o600))
	return dir
}

// pictures writes n pictures with structure, odd ones bright, and returns the folder.
func pictures(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		picture(t, filepath.Join(dir, fmt.Sprintf("%03d.png", i)), uint8(60+100*(i%2)))
	}
	return dir
}

func picture(t testing.TB, path string, level uint8) {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, 64, 48))
	for y := range 48 {
		for x := range 64 {
			v := level
			if level > 0 && (x/4+y/4)%2 == 0 {
				v += 60
			}
			m.SetGray(x, y, color.Gray{Y: v})
		}
	}
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, png.Encode(f, m))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eyes is a running Client with what it told.
type eyes struct {
	*vision.Client
	t    testing.TB
	stop context.CancelFunc
	done chan error

	mu   sync.Mutex
	obs  []vision.Observation
	told []vision.ClientStats
}

// self is this test binary as a heron-vision of the given mode.
func self(mode string) ([]string, []string) {
	return []string{os.Args[0]}, []string{"HERON_VISION_TEST=" + mode}
}

// look starts a Client; it is stopped when the test ends.
func look(t testing.TB, c vision.ClientConfig) *eyes {
	t.Helper()
	e := newEyes(t)
	c.OnObservation, c.OnChange = e.observe, e.change
	if c.Log == nil {
		c.Log = quiet()
	}
	client, err := vision.NewClient(c)
	must(t, err)
	e.run(client)
	return e
}

// run starts a Client made by the test, whose observations nobody keeps.
func run(t testing.TB, c *vision.Client) *eyes {
	e := newEyes(t)
	e.run(c)
	return e
}

func newEyes(t testing.TB) *eyes { return &eyes{t: t, done: make(chan error, 1)} }

func (e *eyes) observe(o vision.Observation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.obs = append(e.obs, o)
}

func (e *eyes) change(s vision.ClientStats) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, s)
}

func (e *eyes) run(c *vision.Client) {
	e.Client = c
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	go func() { e.done <- c.Run(ctx) }()
	e.t.Cleanup(func() {
		cancel()
		select {
		case <-e.done:
		case <-time.After(patience):
			e.t.Error("Run does not return")
		}
	})
}

// count is how many observations have come.
// observations copies what came so far.
func (e *eyes) observations() []vision.Observation {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.obs)
}

func (e *eyes) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.obs)
}

// until waits for f.
func (e *eyes) until(what string, f func(vision.ClientStats) bool) vision.ClientStats {
	e.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		s := e.Stats()
		if f(s) {
			return s
		}
		if time.Now().After(end) {
			e.t.Fatalf("after %v not yet: %s; stats %+v", patience, what, s)
		}
	}
}

// flows waits until n more observations have come and returns how long that took.
func (e *eyes) flows(n int) time.Duration {
	e.t.Helper()
	t0, have := time.Now(), e.count()
	e.until(fmt.Sprintf("%d observations", n), func(vision.ClientStats) bool { return e.count() >= have+n })
	return time.Since(t0)
}

// card is a camera that never ends, classified by slot "main".
func card(fps float64) vision.CameraConfig {
	return vision.CameraConfig{Name: "front", Source: "testcard:?width=64&height=48&fps=50", FPS: fps, Slot: "main"}
}

// hangOpener is the camera driver "hang:AFTER": a card whose driver hangs in Read after so many frames, "hang:0" from the first;
// "dark:AFTER", whose frames are black from then on; "jump:AFTER", whose own clock goes back each time after so many.
func hangOpener(_ context.Context, o camera.Options) (camera.Device, error) {
	var after int
	if n, _ := fmt.Sscanf(o.Source, "hang:%d", &after); n == 1 {
		return &hanging{left: after}, nil
	}
	if n, _ := fmt.Sscanf(o.Source, "dark:%d", &after); n == 1 {
		return &hanging{left: after, dark: true}, nil
	}
	if n, _ := fmt.Sscanf(o.Source, "jump:%d", &after); n == 1 {
		return &hanging{left: 1 << 30, jumps: after}, nil
	}
	return nil, camera.ErrNotMine
}

type hanging struct {
	left  int
	dark  bool
	jumps int // frames after which its own clock goes back; 0: it has none
	n     int
}

func (h *hanging) Read(f *camera.Frame) error {
	if h.left--; h.left < 0 && !h.dark {
		select {} // as a native call: nothing ends it
	}
	time.Sleep(20 * time.Millisecond)
	if h.n++; h.jumps > 0 {
		f.Device = time.Duration(1+h.n%h.jumps) * time.Second / 50
	}
	f.Width, f.Height, f.Stride = 64, 48, 192
	f.Pix = append(f.Pix[:0], make([]byte, 192*48)...)
	for i := range f.Pix {
		if h.left >= 0 {
			f.Pix[i] = byte(i*7 + h.left)
		}
	}
	return nil
}

func (h *hanging) Close() error { return nil }

// startParent starts this binary as a heron whose child is the good stub; both are gone when the test ends.
func startParent(t *testing.T) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HERON_VISION_TEST=parent", "HERON_VISION_CHILD=good")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var child, restarts int
	if _, err := fmt.Fscan(out, &child, &restarts); err != nil {
		t.Fatalf("the parent told no child: %v", err)
	}
	return cmd, child
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// countingLog counts lines.
func countingLog() (*slog.Logger, *atomic.Int64) {
	var n atomic.Int64
	return slog.New(slog.NewTextHandler(writer(func(b []byte) { n.Add(1) }), nil)), &n
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

//go:build cgo

// Command framepath divides Heron's frame path (MJPEG file in, observation out of the vision client) by a bare ONNX Runtime session
// on the same model. Blocks of the two alternate in one run, so that the ratio survives a machine whose speed changes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	ort "github.com/yalue/onnxruntime_go"

	"heron/bench/measure"
	"heron/vision"
)

var (
	program = flag.String("vision", "bin/heron-vision", "heron-vision")
	library = flag.String("lib", "bin/lib/libonnxruntime.so", "ONNX Runtime, for the bare session")
	bundle  = flag.String("bundle", "bench/out/bundle", "model bundle")
	video   = flag.String("video", "bench/out/frames.avi", "film")
	threads = flag.Int("threads", 1, "threads of one inference")
	blocks  = flag.Int("blocks", 10, "pairs of blocks")
	frames  = flag.Int("block", 200, "frames a block")
)

func main() {
	flag.Parse()
	run, err := bareSession(filepath.Join(*bundle, "model.onnx"))
	measure.Must(err)
	p, err := startPath()
	measure.Must(err)
	defer p.stop()

	var wall, cpu, bareMS, pathMS, pathCPU []float64
	for range *blocks {
		path := p.block(*frames)
		bare := bareBlock(run, *frames)
		wall = append(wall, path.wall/bare.wall)
		cpu = append(cpu, path.cpu/bare.cpu)
		bareMS = append(bareMS, bare.wall/float64(*frames)*1e3)
		pathMS = append(pathMS, path.wall/float64(*frames)*1e3)
		pathCPU = append(pathCPU, path.cpu/float64(*frames)*1e3)
	}
	st := p.client.Stats()
	dropped := uint64(0)
	for _, c := range st.Cameras {
		dropped += c.Dropped
	}
	ms := measure.Median(pathMS)
	prep, infer := p.stages()
	measure.Figures{
		"figure": "frame_path", "threads": *threads, "blocks": *blocks, "frames": *blocks * *frames, "dropped": dropped, "restarts": st.Restarts,
		"frame_path_over_bare_wall": measure.Round(measure.Median(wall), 3), "frame_path_over_bare_cpu": measure.Round(measure.Median(cpu), 3),
		"bare_ms_p50": measure.Round(measure.Median(bareMS), 3), "wall_ms_per_frame": measure.Round(ms, 2),
		"cpu_ms_per_frame": measure.Round(measure.Median(pathCPU), 2), "fps": measure.Round(1e3/ms, 1),
		"prep_ms_p50": measure.Round(prep, 3), "infer_ms_p50": measure.Round(infer, 3),
		"peak_rss_mb": measure.MemoryOf(p.pid()).Peak, "runtime": ort.GetVersion(),
	}.Print()
}

// cost of a block in seconds.
type cost struct{ wall, cpu float64 }

// path is a heron-vision that we can stop and let go on: it was started over a unix socket, so that the client does not see its state.
type path struct {
	client   *vision.Client
	acceptor *acceptor
	stop     func()
	seen     atomic.Int64
	arrived  chan struct{}

	mu          sync.Mutex
	prep, infer []float64 // ms of each frame; medians, since a pause falls into some
}

func startPath() (*path, error) {
	a, err := listen(*program)
	if err != nil {
		return nil, err
	}
	file, err := filepath.Abs(*video)
	if err != nil {
		return nil, err
	}
	model, err := filepath.Abs(*bundle)
	if err != nil {
		return nil, err
	}
	p := &path{acceptor: a, arrived: make(chan struct{}, 1)}
	const ever = 24 * time.Hour // no deadline may notice the pauses
	p.client, err = vision.NewClient(vision.ClientConfig{
		Socket: a.address, BeatTimeout: ever, InferenceTimeout: ever, OnObservation: p.observe,
		Config: vision.Config{
			Cameras: []vision.CameraConfig{{Name: "film", Source: "file:" + file + "?loop=true", Stall: ever, Slot: "main"}},
			Slots:   []vision.SlotConfig{{Slot: "main", Bundle: model, Engines: []string{"onnx"}, Threads: *threads}},
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.client.Run(ctx) }()
	p.stop = func() {
		_ = syscall.Kill(p.pid(), syscall.SIGCONT)
		cancel()
		<-ended
		a.close()
	}
	ready, done := context.WithTimeout(ctx, 30*time.Second)
	defer done()
	if err := p.client.WaitReady(ready); err != nil {
		return nil, fmt.Errorf("heron-vision: %w", err)
	}
	p.wait(100) // warm
	p.signal(syscall.SIGSTOP)
	return p, nil
}

func (p *path) observe(o vision.Observation) {
	if o.Error != "" {
		measure.Must(fmt.Errorf("frame %d: %s", o.Frame, o.Error))
	}
	p.seen.Add(1)
	p.mu.Lock()
	p.prep, p.infer = append(p.prep, o.PrepMS), append(p.infer, o.LatMS)
	p.mu.Unlock()
	select {
	case p.arrived <- struct{}{}:
	default:
	}
}

// wait returns after n more observations.
func (p *path) wait(n int) {
	for end := p.seen.Load() + int64(n); p.seen.Load() < end; {
		select {
		case <-p.arrived:
		case <-time.After(20 * time.Second):
			measure.Must(fmt.Errorf("no observation for 20 s: %s", p.client.Stats().LastReason))
		}
	}
}

func (p *path) pid() int { return p.acceptor.pid() }

func (p *path) signal(s syscall.Signal) { measure.Must(syscall.Kill(p.pid(), s)) }

// block lets the path run for n frames. A few frames before it starts the clock fill the pipeline that the pause emptied;
// both processes are counted: heron-vision, and this one, which consumes.
func (p *path) block(n int) cost {
	p.signal(syscall.SIGCONT)
	p.wait(5)
	began, cpu := time.Now(), p.cpu()
	p.wait(n)
	c := cost{time.Since(began).Seconds(), p.cpu() - cpu}
	p.signal(syscall.SIGSTOP)
	return c
}

func (p *path) cpu() float64 { return measure.CPU(p.pid()) + measure.CPU(os.Getpid()) }

func (p *path) stages() (prep, infer float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return measure.Median(p.prep), measure.Median(p.infer)
}

func bareBlock(run func() error, n int) cost {
	for range 5 {
		measure.Must(run())
	}
	began, cpu := time.Now(), measure.CPU(os.Getpid())
	for range n {
		measure.Must(run())
	}
	return cost{time.Since(began).Seconds(), measure.CPU(os.Getpid()) - cpu}
}

// bareSession loads the model with the options that the engine uses and returns one inference on a fixed tensor.
func bareSession(model string) (func() error, error) {
	ort.SetSharedLibraryPath(*library)
	if err := ort.InitializeEnvironment(); err != nil {
		return nil, err
	}
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer o.Destroy()
	for _, err := range []error{
		o.SetIntraOpNumThreads(*threads), o.SetInterOpNumThreads(1), o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
	} {
		if err != nil {
			return nil, err
		}
	}
	in, err := ort.NewEmptyTensor[float32](ort.NewShape(1, 3, 224, 224))
	if err != nil {
		return nil, err
	}
	for i := range in.GetData() {
		in.GetData()[i] = float32(i%256)/64 - 2
	}
	out, err := ort.NewEmptyTensor[float32](ort.NewShape(1, 1000))
	if err != nil {
		return nil, err
	}
	s, err := ort.NewAdvancedSession(model, []string{"input"}, []string{"output"}, []ort.Value{in}, []ort.Value{out}, o)
	if err != nil {
		return nil, err
	}
	return s.Run, nil
}

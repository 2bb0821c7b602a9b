// Package demo shows Heron at work on one machine: a bottling line drawn by package line, its camera, a broker that can be taken away,
// a subscriber that keeps the books, and a judge who knows what the camera showed. The agent itself comes from the caller.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"heron/demo/cloud"
	"heron/demo/line"
)

// Options of a Run.
type Options struct {
	For         time.Duration // end by itself after this long, the broker away for the middle third; 0: until q or ctx's end, or 30 s without a terminal
	Interactive bool          // In and Out are a terminal: live view and keys; else plain lines
	In          *os.File      // read for keys where Interactive
	Out         io.Writer
	JSON        bool   // the summary as one JSON object, and nothing else, on Out
	NoColor     bool   // NO_COLOR is set
	Seed        uint64 // of the line's programme; 0 is 1
	Listen      string // of the page; handed to the agent
	Broker      string // host:port of the broker; default 127.0.0.1:0
	Camera      string // host:port of the camera; default 127.0.0.1:0

	// NewAgent builds the agent for what the demo has set up; it starts nothing.
	NewAgent func(Wiring) (Agent, error)
}

// Wiring is what the agent needs to know of the demo.
type Wiring struct {
	Camera string   // URL of the MJPEG stream, 640 × 480, 15 frames a second
	Broker string   // URL: tcp://host:port
	Bundle string   // folder with the model
	State  string   // folder for the outbox and whatever else; removed after a good run
	Listen string   // Options.Listen
	Log    *os.File // where the agent's log goes: the screen belongs to the demo
}

// Agent is what the demo drives and shows. Its methods may be called from any goroutine while Run runs.
type Agent interface {
	// Run runs the agent until ctx ends, then stops it cleanly; nil after a clean stop.
	Run(ctx context.Context) error
	View() View
	// KillVision kills the present heron-vision, as a fault would.
	KillVision() error
}

// View is the agent's present, for the screen. Fields that are not known are zero.
type View struct {
	State    string   // ok, degraded, failed
	Reasons  []string // why not ok, a line each
	Model    string
	Engine   string
	FPS      float64 // results a second
	LatMS    float64 // inference alone
	AgeMS    float64 // from capture to the end of inference
	Last     Seen    // newest result
	Results  uint64  // results handed to the outbox since the start: what the cloud must have in the end
	Dropped  uint64  // records that the outbox gave up
	Backlog  int64   // records waiting to be sent, sealed or not
	Bytes    int64   // of the backlog, compressed
	Link     string  // online, offline, connecting, …
	Vision   string  // state of heron-vision: running, loading, replacing, …
	Restarts uint64  // of heron-vision
	Cause    string  // of the last restart
	Page     string  // URL
}

// Seen is one result.
type Seen struct {
	At    time.Time // capture
	Label string    // empty where the frame was unfit; Facts say why
	Score float64
	Facts []string
}

const (
	withoutTerminal = 30 * time.Second // how long when nobody said and nobody can press q
	drainPatience   = 8 * time.Second
	stopPatience    = 15 * time.Second
)

// Run sets everything up, runs the demo, takes it down, and prints and returns how it went. An error means that it could not be run;
// whether what it showed was right is in the Summary's Verdict.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.For == 0 && !o.Interactive {
		o.For = withoutTerminal
	}
	dir, err := os.MkdirTemp("", "heron-demo-")
	if err != nil {
		return Summary{}, fmt.Errorf("demo: make a folder for its state: %w", err)
	}
	s, err := setUp(o, dir)
	if err != nil {
		os.RemoveAll(dir)
		return Summary{}, err
	}
	sum, err := s.run(ctx)
	if s.log.Close(); err != nil {
		return sum, fmt.Errorf("%w (the agent's log: %s)", err, s.log.Name())
	}
	if !sum.OK {
		sum.Log = s.log.Name()
		return sum, sum.print(o.Out, o.JSON)
	}
	if err := os.RemoveAll(dir); err != nil {
		return sum, fmt.Errorf("demo: %w", err)
	}
	return sum, sum.print(o.Out, o.JSON)
}

// stage is everything the demo holds while it runs.
type stage struct {
	o      Options
	camera *line.Camera
	judge  *judge
	ledger *cloud.Ledger
	broker *cloud.Broker
	agent  Agent
	log    *os.File
	dir    string
	start  time.Time
	away   uint64        // times the broker was taken away
	wait   time.Duration // for the backlog, at the end
	screen screen
	paged  bool // the page's address was printed
}

func setUp(o Options, dir string) (_ *stage, err error) {
	s := &stage{o: o, dir: dir, wait: drainPatience}
	if s.camera, err = line.NewCamera(line.CameraConfig{Addr: o.Camera, Seed: o.Seed}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.camera.Close()
		}
	}()
	s.judge = &judge{truth: s.camera.Truth}
	if s.ledger, err = cloud.NewLedger(s.judge.take); err != nil {
		return nil, err
	}
	if o.Broker == "" {
		o.Broker = "127.0.0.1:0"
	}
	s.broker = cloud.NewBroker(o.Broker, s.ledger.Take)
	if s.log, err = os.Create(filepath.Join(dir, "heron.log")); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	bundle, state := filepath.Join(dir, "bundle"), filepath.Join(dir, "state")
	if err = errors.Join(WriteBundle(bundle), os.Mkdir(state, 0o700)); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	if err = s.broker.Start(context.Background()); err != nil {
		return nil, err
	}
	s.agent, err = o.NewAgent(Wiring{Camera: s.camera.URL(), Broker: s.broker.URL(), Bundle: bundle, State: state, Listen: o.Listen, Log: s.log})
	if err != nil {
		s.broker.Stop()
	}
	return s, err
}

// run is the demo itself: camera and agent at work, the programme (timed, or keys), then the end in an order that loses nothing:
// camera off, agent drained, agent stopped, broker stopped, books compared.
func (s *stage) run(ctx context.Context) (Summary, error) {
	s.start = time.Now()
	camera := startJob(context.WithoutCancel(ctx), "demo camera", s.camera.Run)
	agent := startJob(context.WithoutCancel(ctx), "heron", s.agent.Run)
	err := s.perform(ctx, camera, agent)
	failed := agent.ended() || camera.ended()
	took := time.Since(s.start)

	camera.stop()
	if !s.broker.Up() {
		err = errors.Join(err, s.broker.Start(context.WithoutCancel(ctx)))
	}
	if !failed {
		s.drain()
	}
	last := s.agent.View()
	agent.stop()
	err = errors.Join(err, camera.wait(), agent.wait(), s.broker.Stop())
	if err == nil && failed {
		err = errors.New("demo: heron or its camera ended by itself")
	}
	return s.summary(took, last), err
}

// drain waits until the cloud has every result that the agent says it took, for a bounded time.
func (s *stage) drain() {
	deadline := time.Now().Add(s.wait)
	for time.Now().Before(deadline) {
		v, t := s.agent.View(), s.ledger.Totals()
		if v.Backlog == 0 && t.Live+t.Late >= v.Results {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// job is something that runs until it is stopped.
type job struct {
	name string
	stop context.CancelFunc
	done chan struct{}
	err  error // after done
}

func startJob(ctx context.Context, name string, run func(context.Context) error) *job {
	ctx, stop := context.WithCancel(ctx)
	j := &job{name: name, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(j.done)
		defer func() { // the screen must be given back before anything is printed
			if p := recover(); p != nil {
				j.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		j.err = run(ctx)
	}()
	return j
}

func (j *job) ended() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// wait waits for the end, for a bounded time.
func (j *job) wait() error {
	select {
	case <-j.done:
	case <-time.After(stopPatience):
		return fmt.Errorf("%s did not stop within %v", j.name, stopPatience)
	}
	if j.err != nil && !errors.Is(j.err, context.Canceled) {
		return fmt.Errorf("%s: %w", j.name, j.err)
	}
	return nil
}

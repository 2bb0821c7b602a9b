package vision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"heron/camera"
	"heron/inference"
)

// Drivers are what a heron-vision was built with.
type Drivers struct {
	Version     string
	Camera      camera.Opener
	CameraNames []string                                 // for the hello
	Engines     map[string]inference.Opener              // by the name that manifests use
	Report      func() []EngineReport                    // what can run here, as far as that costs nothing to say; nil: nothing is said
	Look        func() []EngineReport                    // every engine, and why it cannot run; nil: as Report
	Picture     func(path string, f *camera.Frame) error // reads a picture file for Classify
	Encode      camera.Encoder                           // of snapshots
	Resize      inference.Resizer                        // faster than Go's; nil: there is none
	Log         *slog.Logger
}

const (
	configureWithin = 30 * time.Second // from the hello
	maxRequests     = 32               // at work at one time; more than heron ever has open
	snapshotQuality = 85
	snapshotWait    = 500 * time.Millisecond // for the result of the very frame that is shown
)

// Serve is heron-vision: it says hello on conn, takes its configuration, and reports what the cameras see until conn ends (nil)
// or ctx does (its error). It returns at once, whatever cameras and engines are stuck in: nothing in Go can end a native call,
// so the caller must end the process. Panics are not caught: the process ends, and heron starts another.
func Serve(ctx context.Context, conn net.Conn, d Drivers) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{d: d, w: newWriter(conn, 0), slots: map[string]*slot{}, cameras: map[string]*cam{}}
	h := hello{Protocol: ProtocolVersion, Version: d.Version, PID: os.Getpid(), Cameras: d.CameraNames}
	if d.Report != nil {
		h.Engines = d.Report()
	}
	if err := s.w.send(kindHello, h); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- s.read(ctx, conn) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// server is one Serve.
type server struct {
	d        Drivers
	w        *writer
	c        configure
	slots    map[string]*slot
	cameras  map[string]*cam
	retries  chan *slot
	requests atomic.Int32 // at work
	lossless atomic.Int32 // cameras that have not ended
	beating  sync.Mutex   // a beat is sent before a later one is made
}

// slot is a model slot: its model is loaded once, and stays until a candidate takes its place.
type slot struct {
	cfg   SlotConfig
	turn  sync.Mutex    // cameras take turns; a Mutex hands itself to the longest waiter once one has waited a millisecond
	ready chan struct{} // closed when heron has been told of the model
	model atomic.Pointer[model]

	candidate atomic.Pointer[candidate] // beside it; nil: there is none
}

// announced is the model once heron knows of it: before that no observation may name it. nil: there is none yet.
func (sl *slot) announced() *model {
	select {
	case <-sl.ready:
		return sl.model.Load()
	default:
		return nil
	}
}

// read takes heron's messages. It never waits for anything but the socket: the end of the connection must be seen while everything else hangs.
func (s *server) read(ctx context.Context, conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(configureWithin)); err != nil {
		return err
	}
	r := newReader(conn)
	for first := true; ; first = false {
		k, b, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && first:
			return fmt.Errorf("wait for the configuration: %w", err)
		case err != nil:
			return err
		case first != (k == kindConfigure):
			return badf("message of kind %d in the wrong place", k)
		}
		if err := s.handle(ctx, conn, k, b); err != nil {
			return err
		}
	}
}

func (s *server) handle(ctx context.Context, conn net.Conn, k kind, b []byte) error {
	switch k {
	case kindConfigure:
		if err := unmarshal(b, &s.c); err != nil {
			return err
		}
		if s.c.Look {
			go s.look()
		} else {
			s.start(ctx)
		}
		return conn.SetReadDeadline(time.Time{})
	case kindRetry:
		var m retry
		if err := unmarshal(b, &m); err != nil {
			return err
		}
		if slot := s.slots[m.Slot]; slot != nil {
			select {
			case s.retries <- slot:
			default: // enough tries are waiting
			}
		}
		return nil
	case kindSnapshot:
		var m snapshot
		if err := unmarshal(b, &m); err != nil {
			return err
		}
		s.request(func() { s.snapshot(ctx, m) })
		return nil
	case kindStage, kindPromote, kindDiscard:
		return s.takeCandidate(ctx, k, b)
	case kindPace:
		return s.takePace(b)
	case kindClassify:
		var m classify
		if err := unmarshal(b, &m); err != nil {
			return err
		}
		s.request(func() { s.classify(ctx, m) })
		return nil
	}
	return badf("message of kind %d goes the other way", k)
}

// request answers in a goroutine of its own. Over the bound a request is dropped: whoever asked has a deadline.
func (s *server) request(answer func()) {
	if s.requests.Add(1) > maxRequests {
		s.requests.Add(-1)
		s.d.Log.Warn("too many requests at once; one was dropped")
		return
	}
	go func() {
		defer s.requests.Add(-1)
		answer()
	}()
}

// start sets everything going that was configured.
func (s *server) start(ctx context.Context) {
	held := map[string]bool{}
	for _, name := range s.c.Held {
		held[name] = true
	}
	var load []*slot
	for _, c := range s.c.Slots {
		sl := &slot{cfg: c, ready: make(chan struct{})}
		s.slots[c.Slot] = sl
		if !held[c.Slot] {
			load = append(load, sl)
		}
	}
	s.retries = make(chan *slot, len(s.c.Slots))
	for _, c := range s.c.Cameras {
		s.cameras[c.Name] = s.newCam(c)
	}
	s.pace(s.c.Pace)
	s.lossless.Store(int32(len(s.cameras)))
	go s.load(ctx, load)
	for _, c := range s.cameras {
		go c.run(ctx)
	}
	go s.beats(ctx)
}

// look looks at every engine. A driver that kills the process here costs nobody else anything.
func (s *server) look() {
	var e engines
	switch {
	case s.d.Look != nil:
		e.Engines = s.d.Look()
	case s.d.Report != nil:
		e.Engines = s.d.Report()
	}
	s.say(kindEngines, e)
}

// the process ends rather than go on with a camera that nobody hears.
func (s *server) say(k kind, v any) bool {
	err := s.w.send(k, v)
	if bad := (*encodeError)(nil); errors.As(err, &bad) {
		panic(bad)
	}
	return err == nil
}

// beats tells that the process is alive and what it is doing. It takes no lock that a native call is made under.
func (s *server) beats(ctx context.Context) {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	for {
		if !s.sayBeat() {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) sayBeat() bool {
	s.beating.Lock()
	defer s.beating.Unlock()
	return s.say(kindBeat, s.beat())
}

func (s *server) beat() beat {
	b := beat{RSS: residentBytes("self")}
	for _, c := range s.c.Cameras {
		b.Cameras = append(b.Cameras, s.cameras[c.Name].stats())
	}
	for _, c := range s.c.Slots {
		st := SlotStats{Slot: c.Slot}
		if k := s.slots[c.Slot].candidate.Load(); k != nil {
			st.Candidate, st.CandidateRunning = k.id, k.Running().Seconds()
		}
		if m := s.slots[c.Slot].model.Load(); m != nil {
			in := m.Stats()
			st.Model, st.Engine, st.Running, st.Inferred, st.Errors = m.id, m.engine, in.Running.Seconds(), in.Inferred, in.Errors
			st.Digest, st.Labels, st.Device, st.LoadMS = m.Spec().Digest, len(m.Spec().Labels), m.Info().Device, m.loadMS
		}
		b.Slots = append(b.Slots, st)
	}
	return b
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

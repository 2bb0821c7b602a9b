package camera

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"
)

// ErrStopped is Next's answer after Run has ended.
var ErrStopped = errors.New("camera source has stopped")

// Config says what a Source reads and how.
type Config struct {
	Options
	Open Opener // composed of the drivers that the program has

	// StopTimeout bounds how long Run waits at its end for a driver that does not return; default 2 s.
	StopTimeout time.Duration
}

// Source keeps one camera read: it opens the device, reads it in one goroutine, opens it anew after failures, and hands on
// the newest frame that nobody has seen, at most FPS a second. Frames of a Lossless device wait for the consumer instead.
//
// One consumer calls Next and Release. Stats and Snapshot may be called from anywhere, also while the driver hangs.
// Frames live in a few buffers that go around between reader and consumer: none is copied, none is allocated anew.
type Source struct {
	config Config
	fresh  chan struct{} // one token: a frame is ready, or the source is over
	room   chan struct{} // one token: the consumer took the frame that a lossless reader waits to replace

	mu       sync.Mutex
	free     []*Frame
	ready    *Frame // the newest unseen frame
	last     *Frame // the newest frame that the consumer has been given, kept for Snapshot
	lastHeld bool   // the consumer has not released last yet
	over     error  // io.EOF or ErrStopped
	demand   demand
	stats    progress
	limit    float64 // of SetFPS

	ticks ticks  // the consumer's
	view  viewer // the reader's
}

// New makes a Source; nothing is opened before Run.
func New(c Config) (*Source, error) {
	switch {
	case c.Open == nil:
		return nil, errors.New("camera source: Open is missing")
	case c.Source == "":
		return nil, fmt.Errorf("camera %q: source is empty", c.Name)
	case c.FPS < 0 || c.FPS > 1000:
		return nil, fmt.Errorf("camera %q: fps %v is not between 0 and 1000", c.Name, c.FPS)
	}
	if err := errors.Join(c.View.Validate(), c.Controls.Validate()); err != nil {
		return nil, fmt.Errorf("camera %q: %w", c.Name, err)
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = 2 * time.Second
	}
	s := &Source{config: c, fresh: make(chan struct{}, 1), room: make(chan struct{}, 1), view: newViewer(c.View)}
	s.config.Note = s.note
	s.config.Step = func() { s.calling() }
	s.stats.state = Opening
	s.ticks.period = period(c.FPS)
	return s, nil
}

// Run reads until ctx ends (nil) or the source has ended (io.EOF). A driver that does not return within StopTimeout of ctx's end
// is left behind with an error: the process that holds it must then go.
func (s *Source) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // some drivers keep state per thread; the thread ends with the goroutine
		done <- s.read(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(s.config.StopTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		s.finish(ErrStopped)
		return fmt.Errorf("camera %s: the driver did not return within %v", s.config.Name, s.config.StopTimeout)
	}
}

// Next waits for the next tick of the schedule and hands on the newest frame that was not handed on before. The caller may read
// the frame, not change it, and gives it back with Release. io.EOF follows the last frame of a source that ended.
func (s *Source) Next(ctx context.Context) (*Frame, error) {
	s.mu.Lock()
	s.demand.returned(time.Now())
	s.mu.Unlock()
	if err := s.ticks.wait(ctx); err != nil {
		return nil, err
	}
	for {
		f, err := s.take()
		if f != nil || err != nil {
			return f, err
		}
		select {
		case <-s.fresh:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take hands on the ready frame; without one it notes that the consumer waits, or tells that none will come.
func (s *Source) take() (*Frame, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.ready
	if f == nil {
		s.demand.waiting = true
		return nil, s.over
	}
	if s.last != nil && !s.lastHeld {
		s.recycle(s.last)
	}
	s.ready, s.last, s.lastHeld = nil, f, true
	now := time.Now()
	s.ticks.period = period(s.config.FPS)
	if s.stats.live {
		s.ticks.period = max(s.ticks.period, period(s.limit))
	}
	s.ticks.taken(now)
	s.demand.served(now, s.ticks.next)
	signal(s.room)
	return f, nil
}

// Release gives a frame back; its pixels may be overwritten from then on.
func (s *Source) Release(f *Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case f == nil:
	case f == s.last:
		s.lastHeld = false
	default:
		s.recycle(f)
	}
}

// keptBytes is the largest buffer that is kept for reuse: a 4K frame. Larger pictures are left to the garbage collector.
const keptBytes = 32 << 20

// recycle puts a buffer back for the reader. The caller holds mu.
func (s *Source) recycle(f *Frame) {
	if len(s.free) >= 4 || slices.Contains(s.free, f) {
		return
	}
	if cap(f.Pix) > keptBytes {
		f.Pix = nil
	}
	s.free = append(s.free, f)
}

// buffer gives the reader a frame to fill.
func (s *Source) buffer() *Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		f := s.free[n-1]
		s.free = s.free[:n-1]
		*f = Frame{Pix: f.Pix}
		return f
	}
	return &Frame{}
}

func (s *Source) finish(why error) {
	s.mu.Lock()
	if s.over == nil {
		s.over = why
	}
	if why == io.EOF {
		s.stats.state = Ended
	}
	s.stats.calling = time.Time{}
	s.mu.Unlock()
	signal(s.fresh)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

package camera

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	backoffMin  = 100 * time.Millisecond
	backoffMax  = 2 * time.Second  // so that a camera that is back is seen at once: a try costs next to nothing
	goodFor     = 10 * time.Second // a session that lasted so long starts the back-off anew
	maxInARow   = 10               // temporary failures in a row that a live device is forgiven
	clockJumped = 5 * time.Second  // driver's clock against ours, between two frames
)

// read is the reading goroutine: sessions with a back-off between them, for ever.
func (s *Source) read(ctx context.Context) error {
	var wait time.Duration
	for ctx.Err() == nil {
		began := time.Now()
		err := s.session(ctx)
		if err == io.EOF {
			s.finish(io.EOF)
			return io.EOF
		}
		if ctx.Err() != nil {
			break
		}
		s.failed(err)
		if time.Since(began) >= goodFor {
			wait = 0
		}
		wait = min(max(2*wait, backoffMin), backoffMax)
		if !sleep(ctx, wait) {
			break
		}
		s.reopening()
	}
	s.finish(ErrStopped)
	return nil
}

// session opens the device and reads it until it fails, ends (io.EOF) or ctx ends (nil).
func (s *Source) session(ctx context.Context) error {
	s.calling()
	d, err := s.config.Open(ctx, s.config.Options)
	s.called()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if sc := Scheme(s.config.Source); s.config.Controls != (Controls{}) && sc != "v4l2" && sc != "usb" {
		s.note("controls are for v4l2: and usb: cameras; this source is left as it is")
	}
	defer func() {
		s.calling()
		if cerr := d.Close(); cerr != nil {
			s.noteError(fmt.Errorf("close: %w", cerr))
		}
		s.called()
	}()
	l, ok := d.(Lossless)
	lossless := ok && l.Lossless()
	s.opened(lossless)
	for inARow := 0; ctx.Err() == nil; {
		err := s.one(ctx, d, lossless)
		switch {
		case err == nil:
			inARow = 0
		case errors.Is(err, ErrTemporary) && (lossless || inARow < maxInARow):
			inARow++
			s.noteError(err)
		case errors.Is(err, io.EOF) && !errors.Is(err, ErrTemporary):
			return io.EOF
		default:
			return fmt.Errorf("read: %w", err)
		}
	}
	return nil
}

// one takes in one frame and makes it the newest.
func (s *Source) one(ctx context.Context, d Device, lossless bool) error {
	var at time.Time
	g, grabs := d.(Grabber)
	if grabs = grabs && !lossless; grabs {
		s.calling()
		err := g.Grab()
		at = s.called()
		if err != nil {
			return err
		}
		if !s.arrived(at) {
			s.dropped()
			return nil
		}
	}
	f := s.buffer()
	began := s.calling()
	err := d.Read(f)
	now := s.called()
	if err == nil {
		err = f.check()
	}
	if err != nil {
		s.discard(f, grabs || errors.Is(err, ErrDamaged))
		return err
	}
	if s.view.needed {
		s.view.apply(f)
	}
	if grabs {
		s.decoded(time.Since(began))
	} else {
		at = now
		s.arrived(at)
	}
	f.At = s.capture(f.At, at, lossless)
	s.publish(ctx, f, lossless)
	return nil
}

// arrived notes that a frame came and says whether one that is still undecoded is worth decoding.
func (s *Source) arrived(at time.Time) (wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.arrived(at)
	s.demand.came(at)
	return s.demand.wants(at)
}

func (s *Source) dropped() {
	s.mu.Lock()
	s.stats.read++
	s.stats.dropped++
	s.mu.Unlock()
}

func (s *Source) decoded(cost time.Duration) {
	s.mu.Lock()
	s.demand.decode = smooth(s.demand.decode, cost)
	s.mu.Unlock()
}

// discard takes back the buffer of a frame that is none; damaged says that one came.
func (s *Source) discard(f *Frame, damaged bool) {
	s.mu.Lock()
	s.recycle(f)
	if damaged {
		s.stats.damaged++
	}
	s.mu.Unlock()
}

// publish makes f the newest frame. A lossless one waits until the one before it was taken.
func (s *Source) publish(ctx context.Context, f *Frame, lossless bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.read++
	f.Seq = s.stats.read
	s.stats.frame(f, lossless)
	for lossless && s.ready != nil && ctx.Err() == nil {
		s.stats.holding = true
		s.mu.Unlock()
		select {
		case <-s.room:
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	s.stats.holding = false
	switch {
	case s.ready == nil:
	case lossless: // stopped while it waited
		s.recycle(f)
		return
	default:
		s.stats.dropped++
		s.recycle(s.ready)
	}
	s.ready = f
	signal(s.fresh)
}

// check refuses a frame that would make others read beyond its pixels.
func (f *Frame) check() error {
	if f.Width <= 0 || f.Height <= 0 || f.Stride < 3*f.Width || len(f.Pix) < f.Stride*(f.Height-1)+3*f.Width {
		return fmt.Errorf("driver gave a malformed frame: %d×%d, stride %d, %d bytes", f.Width, f.Height, f.Stride, len(f.Pix))
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package vision

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// LostError is the answer to a request whose process was lost before it answered.
type LostError struct {
	Cause  string // one of the Cause constants
	Reason string // a line for people
}

func (e *LostError) Error() string { return e.Reason }

// FrameID tells a frame from all others of its camera, over the life of processes: numbers begin anew with each.
type FrameID struct {
	Seq uint64
	At  time.Time // capture
}

// SnapshotOptions say what is wanted of the newest frame.
type SnapshotOptions struct {
	MaxWidth int     // it is scaled down where it is wider; 0: as it is
	Draw     bool    // draw into it what it became, and its facts
	Age      bool    // draw its age where that is more than StaleAfter
	Have     FrameID // known already: only a newer frame is encoded; zero: any is
}

// StaleAfter is the age from which a frame is not what is before the camera now.
const StaleAfter = 2 * time.Second

// Snapshot returns the newest frame that camera's consumer has looked at as a JPEG.
func (c *Client) Snapshot(ctx context.Context, camera string, o SnapshotOptions) (Picture, error) {
	if _, ok := c.known.cameras[camera]; !ok {
		return Picture{}, fmt.Errorf("no camera %q is configured", camera)
	}
	a, err := c.ask(ctx, func(id uint64) (kind, any) { return kindSnapshot, o.message(id, camera) })
	if err != nil {
		return Picture{}, fmt.Errorf("snapshot of camera %q: %w", camera, err)
	}
	p, ok := a.(*picture)
	switch {
	case !ok:
		return Picture{}, fmt.Errorf("snapshot of camera %q: the answer is no picture", camera)
	case p.Error != "":
		return Picture{}, fmt.Errorf("snapshot of camera %q: %s", camera, p.Error)
	case p.Same && (o.Have.Seq == 0 || o.Have.Seq != p.Frame):
		return Picture{}, fmt.Errorf("snapshot of camera %q: the answer names frame %d, which was not asked about", camera, p.Frame)
	}
	return Picture{JPEG: p.JPEG, At: p.At, Width: p.Width, Height: p.Height, Last: p.Last,
		Frame: FrameID{p.Frame, p.At}, Age: time.Duration(p.AgeMS * float64(time.Millisecond)), Same: p.Same}, nil
}

func (o SnapshotOptions) message(id uint64, camera string) snapshot {
	return snapshot{ID: id, Camera: camera, MaxWidth: o.MaxWidth, Draw: o.Draw, Age: o.Age, Have: o.Have.Seq, HaveAt: o.Have.At}
}

// Classify classifies a picture file by the same path as frames. Facts such as "black" are told, but the picture is classified all the same.
// A picture that cannot be read is an error; an inference that failed is an Observation with Error. A process that was lost over it is a *LostError.
func (c *Client) Classify(ctx context.Context, slot, path string) (Observation, error) {
	if _, ok := c.known.slots[slot]; !ok {
		return Observation{}, fmt.Errorf("no model slot %q is configured", slot)
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return Observation{}, fmt.Errorf("classify %s: %w", path, err)
	}
	a, err := c.ask(ctx, func(id uint64) (kind, any) { return kindClassify, classify{id, slot, full} })
	if err != nil {
		return Observation{}, fmt.Errorf("classify %s: %w", path, err)
	}
	r, ok := a.(*classified)
	switch {
	case !ok:
		return Observation{}, fmt.Errorf("classify %s: the answer is no observation", path)
	case r.Error != "":
		return Observation{}, errors.New(r.Error) // says which file already
	}
	return *r.Observation, nil
}

// ask sends a request to the present process and waits for its answer.
func (c *Client) ask(ctx context.Context, request func(id uint64) (kind, any)) (any, error) {
	c.mu.Lock()
	s := c.session
	state := c.stats.State
	c.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("%w (%s)", ErrNotRunning, state)
	}
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	case <-ctx.Done():
		return nil, fmt.Errorf("too many requests at once: %w", ctx.Err())
	}
	id, answer, err := s.register()
	if err != nil {
		return nil, err
	}
	if err := s.w.send(request(id)); err != nil {
		s.conn.Close() // a message may have gone out in part
		s.forgetRequest(id)
		return nil, fmt.Errorf("ask heron-vision: %w", err)
	}
	select {
	case a := <-answer:
		if err, ok := a.(error); ok {
			return nil, err
		}
		return a, nil
	case <-ctx.Done():
		s.forgetRequest(id)
		return nil, fmt.Errorf("no answer from heron-vision: %w", ctx.Err())
	}
}

func (s *session) register() (uint64, chan any, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.gone != nil {
		return 0, nil, s.gone
	}
	s.nextID++
	answer := make(chan any, 1)
	s.requests[s.nextID] = answer
	return s.nextID, answer, nil
}

func (s *session) forgetRequest(id uint64) {
	s.c.mu.Lock()
	delete(s.requests, id)
	s.c.mu.Unlock()
}

// answer hands an answer to who asked. One that nobody waits for any more is dropped; one that nobody can have asked for is damage.
func (s *session) answer(id uint64, a any) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if id == 0 || id > s.nextID {
		return badf("an answer to request %d, which was never made", id)
	}
	if c := s.requests[id]; c != nil {
		c <- a
		delete(s.requests, id)
	}
	return nil
}

package vision

import (
	"context"
	"errors"
	"io"

	"heron/camera"
	"heron/inference"
)

// step is one frame between preprocessing and inference.
type step struct {
	ahead *inference.Ahead
	frame camera.Frame // without its pixels, which are the source's again
	obs   *Observation
	err   error // preprocessing failed
}

// ahead works through a source whose every frame counts: each frame is read, looked at and preprocessed while the one before it is inferred.
// For other sources it does nothing and returns nil: there the newest frame is wanted when the model is free, not one prepared before.
// It returns io.EOF after the last frame has been told, or an error when there is nobody to tell any more.
func (c *cam) ahead(ctx context.Context) error {
	if c.slot == nil || c.slot.candidate.Load() != nil || c.source.Stats().Live {
		return nil
	}
	c.slot.turn.Lock()
	m := c.slot.announced()
	if m != nil {
		m.users.Add(1)
		defer m.users.Done()
	}
	c.slot.turn.Unlock()
	if m == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free, ready := make(chan *step, 2), make(chan *step, 1) // one is inferred, one prepared
	for range cap(free) {
		a, err := m.NewAhead()
		if err != nil {
			return nil // the model's own tensor does, frame after frame
		}
		free <- &step{ahead: a}
	}
	ended := make(chan error, 1)
	go func() {
		defer close(ready)
		ended <- c.prepare(ctx, m, free, ready)
	}()
	for w := range ready {
		c.conclude(ctx, m, w)
		if ctx.Err() != nil || !c.s.say(kindObservation, w.obs) {
			cancel()
			for range ready { // the other goroutine must not wait for us
			}
			return errGone
		}
		free <- w
	}
	switch err := <-ended; {
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, errSwitch):
		return nil
	}
	return errGone
}

// prepare reads frames and preprocesses them for m until the source or ctx ends, or the slot's model changes.
func (c *cam) prepare(ctx context.Context, m *model, free <-chan *step, ready chan<- *step) error {
	for {
		if c.slot.model.Load() != m || c.slot.candidate.Load() != nil {
			return errSwitch
		}
		var w *step
		select {
		case w = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		f, err := c.source.Next(ctx)
		if err != nil {
			return err
		}
		w.frame = *f
		w.frame.Pix = nil
		w.obs = &Observation{Camera: c.cfg.Name, Slot: c.slot.cfg.Slot, Frame: f.Seq, Facts: c.quality.Assess(f, false)}
		w.err = w.ahead.Prepare(f.Pix, f.Width, f.Height, f.Stride)
		c.source.Release(f)
		select {
		case ready <- w:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// conclude infers a prepared frame and completes its observation.
func (c *cam) conclude(ctx context.Context, m *model, w *step) {
	c.s.turn(ctx, c.slot, m, &w.frame, w.obs, func(ctx context.Context, _ *model) (inference.Result, error) {
		if w.err != nil {
			return inference.Result{}, w.err
		}
		return w.ahead.Classify(ctx)
	})
	c.inferred.Add(1)
	c.last.Store(w.obs)
}

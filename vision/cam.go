package vision

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"heron/camera"
	"heron/inference"
	"heron/internal/clock"
)

// cam is one camera at work: frame, facts, inference, observation.
type cam struct {
	s        *server
	cfg      CameraConfig
	slot     *slot          // nil: frames are only kept for snapshots
	source   *camera.Source // nil: cannot be made, see broken
	broken   error
	quality  camera.Quality
	jumps    uint64 // of the camera's own timestamps, up to the last frame
	inferred atomic.Uint64
	last     atomic.Pointer[Observation]
}

// idleFPS is how often frames of a camera without a model are looked at, for snapshots.
const idleFPS = 5

func (s *server) newCam(c CameraConfig) *cam {
	m := &cam{s: s, cfg: c, slot: s.slots[c.Slot]}
	o := camera.Options{Name: c.Name, Source: c.Source, Width: c.Width, Height: c.Height, FPS: c.FPS,
		View: c.View, Controls: c.Controls, Username: c.Username, PasswordFile: c.PasswordFile}
	o.ReadTimeout = c.Stall * 4 / 5 // a driver that can give up by itself does so first: that costs one camera, not the process
	if m.slot == nil && o.FPS == 0 {
		o.FPS = idleFPS
	}
	m.source, m.broken = camera.New(camera.Config{Options: o, Open: s.d.Camera})
	return m
}

// run owns the camera until ctx ends or the source has.
func (c *cam) run(ctx context.Context) {
	if c.broken != nil {
		return // every beat says so
	}
	go func() {
		if err := c.source.Run(ctx); err != nil && !errors.Is(err, io.EOF) {
			c.s.d.Log.Error("camera stopped", "camera", c.cfg.Name, "error", err)
		}
	}()
	err := c.next(ctx)
	if err == nil { // from the first frame on it is known what kind of source this is
		err = c.ahead(ctx)
	}
	for err == nil {
		if err = c.next(ctx); err == nil {
			err = c.ahead(ctx)
		}
	}
	if errors.Is(err, io.EOF) {
		c.s.cameraEnded()
	}
}

// next takes one frame on its whole way. It returns io.EOF after the last, or an error when there is nobody to tell any more.
func (c *cam) next(ctx context.Context) error {
	if !c.mayTake(ctx) {
		return errGone
	}
	f, err := c.source.Next(ctx)
	if err != nil {
		return err
	}
	defer c.source.Release(f)
	if !c.frame(ctx, f) {
		return errGone
	}
	return nil
}

// errGone ends a camera's loop: ctx has ended, or the connection.
var errGone = errors.New("nobody listens")

// mayTake waits until frames may be taken: those of files only when their model can look at them, those of live cameras at any time.
func (c *cam) mayTake(ctx context.Context) bool {
	if c.slot == nil || c.slot.announced() != nil {
		return ctx.Err() == nil
	}
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	for !c.source.Stats().Live {
		select {
		case <-c.slot.ready:
			return true
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

// frame makes a frame into an observation and sends it; false when there is nobody to send to.
func (c *cam) frame(ctx context.Context, f *camera.Frame) bool {
	if c.slot == nil {
		return true
	}
	m := c.slot.announced()
	if m == nil {
		return true
	}
	o := &Observation{Camera: c.cfg.Name, Slot: c.slot.cfg.Slot, Frame: f.Seq, Jumped: f.Jumps != c.jumps}
	c.jumps = f.Jumps
	live := c.source.Stats().Live
	o.Facts = c.quality.Assess(f, live)
	if live && unfit(o.Facts) { // a picture or a recording was chosen by somebody: it gets its answer, and its facts beside it
		o.describe(f, m)
	} else {
		c.s.turn(ctx, c.slot, nil, f, o, func(ctx context.Context, m *model) (inference.Result, error) {
			if live && c.quality.Stale(time.Now(), c.wanted()) { // it has waited for its turn
				o.Facts = append(o.Facts, camera.Stale)
			}
			return m.Classify(ctx, f.Pix, f.Width, f.Height, f.Stride)
		})
		c.inferred.Add(1)
	}
	if ctx.Err() != nil {
		return false
	}
	c.last.Store(o)
	if !c.s.say(kindObservation, o) {
		return false
	}
	c.shadow(ctx, f, o)
	return true
}

// unfit says whether a frame shows nothing that could be classified: it is told as a fact and never turned into a class.
func unfit(facts []string) bool {
	return slices.ContainsFunc(facts, func(f string) bool { return f == camera.Black || f == camera.Covered || f == camera.NoSignal })
}

// wanted is the interval at which frames are to be classified; 0 is as they come.
func (c *cam) wanted() time.Duration {
	if c.cfg.FPS <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / c.cfg.FPS)
}

// infer runs the model on f when it is the slot's turn and completes o.
func (s *server) infer(ctx context.Context, sl *slot, f *camera.Frame, o *Observation) {
	s.turn(ctx, sl, nil, f, o, func(ctx context.Context, m *model) (inference.Result, error) {
		return m.Classify(ctx, f.Pix, f.Width, f.Height, f.Stride)
	})
}

// turn waits for the slot, classifies and completes o. m is the model that the frame was prepared for; nil: the one that is live then.
func (s *server) turn(ctx context.Context, sl *slot, m *model, f *camera.Frame, o *Observation, classify func(context.Context, *model) (inference.Result, error)) {
	sl.turn.Lock()
	defer sl.turn.Unlock()
	if m == nil {
		m = sl.model.Load()
	}
	if s.c.SoftInference > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.c.SoftInference)
		defer cancel()
	}
	r, err := classify(ctx, m)
	o.Top, o.LatMS, o.PrepMS = r.Top, r.LatMS, r.PrepMS
	if err != nil {
		o.Top, o.Error, o.Code = nil, cleanText(err.Error()), codeOf(err)
		if accelerated(m.Slot) && ctx.Err() == nil {
			s.steady(ctx, sl, m, err.Error()) // is it the frame, or the engine?
		}
	}
	o.describe(f, m)
}

// describe fills in where and when the frame comes from and what looked at it.
func (o *Observation) describe(f *camera.Frame, m *model) {
	age := max(0, time.Since(f.At))
	o.At, o.AgeMS, o.MonoMS = f.At.UTC(), ms(age), (clock.SinceBoot() - age).Milliseconds()
	o.Model, o.Engine = m.id, m.engine
	o.Name = fitName(f.Name)
}

// fitName cuts a file's name to what the protocol takes.
func fitName(s string) string {
	if okName(s) {
		return s
	}
	if s = cleanText(s); len(s) > maxName {
		s = s[len(s)-maxName:]
	}
	return cleanText(s)
}

// cameraEnded tells heron once every camera's source is at its end; all observations have been sent before, and a last beat with what became of the cameras.
func (s *server) cameraEnded() {
	if s.lossless.Add(-1) == 0 {
		s.sayBeat()
		s.say(kindEnded, struct{}{})
	}
}

func (c *cam) stats() CameraStats {
	out := CameraStats{Name: c.cfg.Name, Inferred: c.inferred.Load()}
	if c.broken != nil {
		out.State, out.FrameAge, out.Errors, out.LastError = string(camera.Reopening), -1, 1, cleanText(c.broken.Error())
		return out
	}
	st := c.source.Stats()
	out.State, out.FrameAge, out.Reading = string(st.State), st.FrameAge.Seconds(), st.Reading.Seconds()
	if st.FrameAge < 0 {
		out.FrameAge = -1
	}
	out.Width, out.Height, out.Read, out.Dropped, out.Jitter = st.Width, st.Height, st.Read, st.Dropped, st.Jitter.Seconds()
	out.Reopened, out.Errors, out.LastError, out.Live = st.Reopened, st.Errors, cleanText(st.LastError), st.Live
	out.ClockJumps, out.Damaged = st.ClockJumps, st.Damaged
	return out
}

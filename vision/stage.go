package vision

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"heron/camera"
)

// candidate is a model that is to take the place of its slot's live one: it sees the same frames, and nobody acts on what it says.
type candidate struct {
	*model
	cfg   SlotConfig
	share float64 // of the time that it may take from the cameras' goroutines

	turn  sync.Mutex
	spent time.Duration
	began time.Time
}

// stage loads a candidate beside the live model. It may block for as long as a runtime does.
func (s *server) stage(ctx context.Context, m stage) {
	a := staged{ID: m.ID}
	c, err := s.candidate(ctx, m)
	if err != nil {
		r := refusal(m.Config.Slot, err)
		a.Refused = &r
	} else {
		a.Model, a.Engine, a.Device, a.LoadMS = c.id, c.engine, c.Info().Device, c.loadMS
		s.slots[m.Config.Slot].candidate.Store(c)
	}
	s.say(kindStaged, a)
}

func (s *server) candidate(ctx context.Context, m stage) (*candidate, error) {
	sl := s.slots[m.Config.Slot]
	if sl == nil {
		return nil, fmt.Errorf("no model slot %q is configured", m.Config.Slot)
	}
	s.dropCandidate(sl)
	t0 := time.Now()
	loaded, err := s.open(ctx, m.Config, true)
	if err != nil {
		return nil, err
	}
	loaded.loadMS = ms(time.Since(t0))
	return &candidate{model: loaded, cfg: m.Config, share: m.Share, began: time.Now()}, nil
}

// dropCandidate takes a candidate away and frees it when nobody uses it any more.
func (s *server) dropCandidate(sl *slot) {
	if c := sl.candidate.Swap(nil); c != nil {
		c.turn.Lock()
		defer c.turn.Unlock()
		_ = c.Close() // it is gone either way
	}
}

// promote puts the candidate in the live model's place between two frames. From the frame after it on, the slot answers with it.
func (s *server) promote(ctx context.Context, m promote) {
	var c *candidate
	sl := s.slots[m.Slot]
	if sl != nil {
		c = sl.candidate.Swap(nil)
	}
	if c == nil {
		s.say(kindPromoted, promoted{ID: m.ID, loaded: loaded{Slot: m.Slot}, Error: fmt.Sprintf("slot %q has no candidate", m.Slot)})
		return
	}
	sl.turn.Lock()
	c.turn.Lock() // its last shadow is over
	c.turn.Unlock()
	old := sl.model.Swap(c.model)
	s.say(kindPromoted, promoted{ID: m.ID, loaded: c.loaded(m.Slot), Engines: c.order}) // before any observation of it
	if old == nil {
		close(sl.ready)
	}
	sl.turn.Unlock()
	if accelerated(c.Slot) {
		go s.testEngine(ctx, sl, c.model)
	}
	if old != nil {
		old.users.Wait()
		_ = old.Close() // it is gone either way
	}
}

// shadow shows a frame to the candidate, as often as its share allows, and tells how it compares.
func (c *cam) shadow(ctx context.Context, f *camera.Frame, o *Observation) {
	k := c.slot.candidate.Load()
	if k == nil || len(o.Top) == 0 && o.Error == "" {
		return
	}
	k.turn.Lock()
	defer k.turn.Unlock()
	if c.slot.candidate.Load() != k || float64(k.spent) > k.share*float64(time.Since(k.began)) {
		return // dropped meanwhile, or its share is used up
	}
	if c.s.c.SoftInference > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.s.c.SoftInference)
		defer cancel()
	}
	t0 := time.Now()
	r, err := k.Classify(ctx, f.Pix, f.Width, f.Height, f.Stride)
	k.spent += time.Since(t0)
	m := Shadow{Slot: o.Slot, Camera: o.Camera, Frame: o.Frame, Model: k.id, LiveMS: o.LatMS, LatMS: r.LatMS, Live: o.Top, Top: r.Top}
	if err != nil {
		m.Top, m.Error, m.Code = nil, cleanText(err.Error()), codeOf(err)
	}
	c.s.say(kindShadow, m)
}

// takeCandidate reads the messages that concern candidates.
func (s *server) takeCandidate(ctx context.Context, k kind, b []byte) error {
	switch k {
	case kindStage:
		var m stage
		if err := unmarshal(b, &m); err != nil {
			return err
		}
		s.request(func() { s.stage(ctx, m) })
	case kindPromote:
		var m promote
		if err := unmarshal(b, &m); err != nil {
			return err
		}
		s.request(func() { s.promote(ctx, m) })
	case kindDiscard:
		var m promote
		if err := unmarshal(b, &m); err != nil {
			return err
		}
		if sl := s.slots[m.Slot]; sl != nil {
			s.request(func() { s.dropCandidate(sl) })
		}
	}
	return nil
}

// errSwitch ends a pipeline: the slot's model has changed, or a candidate wants to see the frames.
var errSwitch = errors.New("the model changes")

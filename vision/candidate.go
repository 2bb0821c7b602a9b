package vision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"heron/inference"
)

// Shadow is what a candidate said of a frame that the live model has answered for.
type Shadow struct {
	Slot   string            `json:"slot"`
	Camera string            `json:"cam"`
	Frame  uint64            `json:"frame"`
	Model  string            `json:"model"` // the candidate's
	LiveMS float64           `json:"live_ms"`
	LatMS  float64           `json:"lat_ms"`
	Live   []inference.Score `json:"live,omitempty"` // the live model's answer
	Top    []inference.Score `json:"top,omitempty"`  // the candidate's
	Error  string            `json:"error,omitempty"`
	Code   string            `json:"code,omitempty"` // that of the inference.Refusal, where Error is one
}

// Staged is a candidate that loaded beside the live model.
type Staged struct {
	Model, Engine, Device string
	LoadMS                float64
}

// Stage loads a candidate beside the live model of cfg.Slot and lets it see the frames, for at most share (0…1) of the cameras' time.
// A model that is refused is a *inference.Refusal. Try it in a process of its own first: here a crash costs the live model two seconds.
func (c *Client) Stage(ctx context.Context, cfg SlotConfig, share float64) (Staged, error) {
	c.mu.Lock()
	c.candidates[cfg.Slot] = &contender{cfg: cfg}
	c.mu.Unlock()
	a, err := c.ask(ctx, func(id uint64) (kind, any) { return kindStage, stage{id, cfg, share} })
	if err == nil {
		m, ok := a.(*staged)
		switch {
		case !ok:
			err = errors.New("the answer says nothing of a candidate")
		case m.Refused != nil:
			err = &inference.Refusal{Code: m.Refused.Code, What: m.Refused.Reason, NextStep: m.Refused.NextStep}
		default:
			return Staged{m.Model, m.Engine, m.Device, m.LoadMS}, nil
		}
	}
	c.mu.Lock()
	if k := c.candidates[cfg.Slot]; k != nil && k.lost != "" {
		err = errors.New(k.lost)
	}
	delete(c.candidates, cfg.Slot)
	c.mu.Unlock()
	return Staged{}, fmt.Errorf("stage a candidate for slot %s: %w", cfg.Slot, err)
}

// Promote puts the staged candidate in the live model's place, between two frames. Later processes load it, too.
func (c *Client) Promote(ctx context.Context, slot string) error {
	a, err := c.ask(ctx, func(id uint64) (kind, any) { return kindPromote, promote{id, slot} })
	if err == nil {
		if m, ok := a.(*promoted); !ok {
			err = errors.New("the answer says nothing of a candidate")
		} else if m.Error != "" {
			err = errors.New(m.Error)
		}
	}
	if err != nil {
		return fmt.Errorf("promote the candidate of slot %s: %w", slot, err)
	}
	return nil
}

// Discard drops a candidate. One that is still being loaded goes with its process.
func (c *Client) Discard(slot string) {
	c.mu.Lock()
	s := c.session
	delete(c.candidates, slot)
	c.mu.Unlock()
	if s != nil {
		_ = s.w.send(kindDiscard, promote{Slot: slot}) // a broken connection is the reader's finding
	}
}

// CandidateLost says why a staged candidate is not there any more, and whether it took its process down itself; empty while it is there,
// or where there was none.
func (c *Client) CandidateLost(slot string) (reason string, blamed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.candidates[slot]; k != nil {
		return k.lost, k.blamed
	}
	return "", false
}

// Replace gives a slot another bundle by a process of its own: for going back when the present model cannot be reasoned with.
func (c *Client) Replace(cfg SlotConfig) {
	c.mu.Lock()
	c.configure(cfg)
	s := c.session
	c.mu.Unlock()
	if s != nil {
		select {
		case s.end <- fmt.Sprintf("slot %s gets another model", cfg.Slot):
		default: // it ends already
		}
	}
}

// configure changes what later processes load. Client.mu is held.
func (c *Client) configure(cfg SlotConfig) {
	slots := slices.Clone(c.cfg.Config.Slots)
	for i := range slots {
		if slots[i].Slot == cfg.Slot {
			slots[i] = cfg
			c.courses[cfg.Slot] = c.courses[cfg.Slot].heir()
			c.cleared[cfg.Slot] = true
		}
	}
	c.cfg.Config.Slots = slots
}

// contender is a candidate as the Client knows it.
type contender struct {
	cfg    SlotConfig
	lost   string // why it is gone
	blamed bool   // it took its process down itself
}

// onPromoted notes the new live model before the first observation of it. The reader's goroutine calls it.
func (s *session) onPromoted(m *promoted) error {
	slot := s.slots[m.Slot]
	s.c.mu.Lock()
	k := s.c.candidates[m.Slot]
	if m.Error == "" {
		if slot == nil || k == nil {
			s.c.mu.Unlock()
			return badf("a candidate of slot %.40q was promoted, which was not staged", m.Slot)
		}
		slot.earlier = [2]string{slot.model, slot.engine}
		slot.model, slot.engine, slot.choice, slot.on = m.Model, m.Engine, m.choice(), inference.Choice(m.Engine, m.Device)
		slot.loaded, slot.settled, slot.accelerated = true, true, onAccelerator(m.Device)
		delete(s.c.refused, m.Slot)
		delete(s.c.candidates, m.Slot)
		s.c.configure(k.cfg)
		now, course := time.Now(), s.c.courses[m.Slot]
		course.loading(&loading{Engines: m.Engines})
		course.loaded(&m.loaded, now, s.c.cfg.EngineRetry)
		s.settle(now)
	}
	s.c.mu.Unlock()
	return s.answer(m.ID, m)
}

func (s *session) onShadow(m *Shadow) error {
	s.c.mu.Lock()
	_, ok := s.c.known.cameras[m.Camera]
	k := s.c.candidates[m.Slot]
	s.c.mu.Unlock()
	if !ok || s.slots[m.Slot] == nil {
		return badf("shadow of camera %.40q and slot %.40q, which were not configured", m.Camera, m.Slot)
	}
	if k != nil && s.c.cfg.OnShadow != nil {
		s.c.cfg.OnShadow(*m)
	}
	return nil
}

// elsewhere says whether it is known that the model or the engine of another slot did it: a stick that dies must not condemn what is tried beside it.
func (l *loss) elsewhere(slot string) bool {
	return l.slot != "" && l.slot != slot && (l.loading || l.cause == CauseEngine)
}

// loseCandidates notes that candidates went with their process, and says whether one of them is to blame for it. Client.mu is not held.
func (c *Client) loseCandidates(l *loss) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	blamed := false
	for slot, k := range c.candidates {
		if k.lost != "" {
			continue
		}
		k.lost = l.reason
		k.blamed = l.candidate == slot || l.candidate == "" && slices.Contains([]string{CauseExit, CauseMemory, CauseBeat, CauseEngine}, l.cause) && !l.outside && !l.elsewhere(slot)
		if !k.blamed {
			k.lost = "heron-vision was replaced meanwhile: " + l.reason
		}
		blamed = blamed || k.blamed
	}
	return blamed
}

package vision

import (
	"context"
	"time"

	"heron/internal/clock"
)

// Run starts heron-vision, watches it and replaces it whenever it is lost, until ctx ends (its error) or all sources have ended
// and every observation was delivered (nil). No process and no goroutine is left when it returns. Call it once.
func (c *Client) Run(ctx context.Context) error {
	h := newHistory(c.pace)
	h.oneShot = c.cfg.OneShot
	for ctx.Err() == nil {
		l, s, err := c.once(ctx, h)
		if l == nil {
			c.finish(err)
			return err
		}
		wait := c.answer(l, s, h)
		if c.single && !l.planned || !clock.Sleep(ctx, wait) {
			break
		}
	}
	c.finish(ctx.Err())
	return ctx.Err()
}

// answer learns from the end of a process, tells of it, and says how long to wait before the next one.
func (c *Client) answer(l *loss, s *session, h *history) (wait time.Duration) {
	if l.planned {
		c.loseCandidates(l)
		c.log.Info("heron-vision is replaced", "reason", l.reason)
		return 0
	}
	now := time.Now()
	if c.loseCandidates(l) { // the live model goes on without it
		l.reason += "; going on without the candidate"
		c.lost(l, s, h, 0)
		return 0
	}
	if c.loseEngine(l, now) {
		h.forget(s, now)
		h.failures = 0
		l.reason += "; going on with the next engine"
	} else {
		wait = h.add(l, s, now)
	}
	c.lost(l, s, h, wait)
	return wait
}

// once is one process: nil and nil after all sources have ended.
func (c *Client) once(ctx context.Context, h *history) (*loss, *session, error) {
	c.change(func() {
		c.retryAt = time.Time{}
		c.state(StateStarting)
	})
	conn, proc, err := c.connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		c.mu.Lock()
		if hopeless(err) {
			c.startErr = err
		}
		c.mu.Unlock()
		return &loss{cause: CauseStart, reason: err.Error(), at: time.Now()}, nil, nil
	}
	s := newSession(c, conn, proc)
	s.begin(h)
	l, err := s.run(ctx, h)
	c.end(s, l)
	return l, s, err
}

// begin makes the session the present one and sends its configuration.
func (s *session) begin(h *history) {
	c := s.c
	m := configure{Config: c.cfg.Config, SoftLoad: c.cfg.LoadTimeout * 3 / 4, SoftInference: c.cfg.InferenceTimeout * 3 / 4}
	c.mu.Lock()
	c.session, c.startErr = s, nil
	for slot := range c.cleared {
		delete(h.slots, slot)
	}
	clear(c.cleared)
	m.Avoid, m.Look = c.avoided(), c.look != nil
	c.plugs.changed(time.Now()) // what is there before the models are loaded is not new
	m.Pace, s.boundsTold = pacing{c.bounds}, c.boundsSet
	clear(c.refused)
	m.Slots = nil
	var last []SlotConfig
	for _, slot := range c.cfg.Config.Slots {
		past := h.slots[slot.Slot]
		switch {
		case past == nil:
			m.Slots = append(m.Slots, slot)
			continue
		case past.held != nil:
			m.Held = append(m.Held, slot.Slot)
			c.refused[slot.Slot] = *past.held
			s.slots[slot.Slot].settled = true
		}
		last = append(last, slot)
	}
	m.Slots = append(m.Slots, last...) // suspects are loaded when the others are at work
	if s.proc != nil {
		c.stats.PID = s.proc.pid
	} else {
		c.stats.PID = 0
	}
	c.mu.Unlock()
	_ = s.w.send(kindConfigure, m) // a broken connection is the reader's finding
}

// end takes the session out of use and answers what was asked of it.
func (c *Client) end(s *session, l *loss) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = nil
	c.stats.PID, c.stats.RSS = 0, 0
	s.gone = ErrNotRunning
	if l != nil {
		s.gone = &LostError{Cause: l.cause, Reason: l.reason}
	}
	for id, answer := range s.requests {
		answer <- s.gone
		delete(s.requests, id)
	}
}

// lost counts a loss and tells about it.
func (c *Client) lost(l *loss, s *session, h *history, wait time.Duration) {
	c.change(func() {
		c.stats.Restarts++
		c.stats.ByCause[l.cause]++
		c.stats.LastCause, c.stats.LastReason, c.stats.LastAt = l.cause, l.reason, l.at
		c.stats.LastSlot = l.slot
		c.stats.LastOwn = l.cause == CauseExit && !l.outside && l.slot == "" && l.candidate == ""
		c.lostAt, c.retryAt = l.at, time.Now().Add(wait)
		for name, slot := range h.slots {
			if slot.held != nil {
				c.refused[name] = *slot.held
			}
		}
		if h.failures >= loopAfter {
			c.state(StateCrashLoop)
		} else {
			c.state(StateReplacing)
		}
	})
}

func (c *Client) finish(err error) {
	c.change(func() {
		c.retryAt = time.Time{}
		if err == nil {
			c.state(StateEnded)
		} else {
			c.state(StateStopped)
		}
	})
}

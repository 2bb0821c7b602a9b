package vision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"heron/inference"
)

// trial is a try of an engine in a heron-vision of its own, beside the one at work.
type trial struct {
	slot, engine string
	cancel       context.CancelFunc
	done         chan error
}

// tryEngines starts a trial where one is due and none is under way.
func (s *session) tryEngines(ctx context.Context, now time.Time) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.trial != nil || s.readyAt.IsZero() || s.loading != "" {
		return
	}
	plugged := c.plugs.changed(now)
	for _, slot := range c.cfg.Config.Slots {
		p := c.courses[slot.Slot]
		if plugged {
			p.plugged(now)
		}
		if d := p.due(now); d != nil && s.trial == nil {
			ctx, cancel := context.WithCancel(ctx)
			s.trial = &trial{slot.Slot, d.Engine, cancel, make(chan error, 1)}
			if s.shares(slot.Slot, d.Engine) {
				s.trial.done <- nil
				continue
			}
			slot.Engines, slot.Known = []string{d.Engine}, d.known
			go func(t *trial, slot SlotConfig) {
				_, err := Try(ctx, c.cfg, slot)
				t.done <- err
			}(s.trial, slot)
		}
	}
}

// shares says whether another slot is at work on the very engine that this one has lost. A trial could not have that device, and what it would
// find out is known: it works. Client.mu is held.
func (s *session) shares(slot, choice string) bool {
	for name, p := range s.slots {
		if name != slot && p.loaded && p.accelerated && (p.choice == choice || p.on == choice) {
			return true
		}
	}
	return false
}

// tried is the end of a trial: nil when it failed, and the engine waits for the next one.
func (s *session) tried(err error) *loss {
	t := s.trial
	t.cancel()
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.trial = nil
	p := c.courses[t.slot]
	d := p.find(t.engine)
	if d == nil {
		return nil
	}
	if err != nil {
		d.failed(err, time.Now(), c.cfg.EngineRetry)
		return nil
	}
	d.Lost, d.Code, d.Reason, d.retryAt = false, inference.CodeUnavailable, "being brought back", time.Now().Add(idleRetry*c.cfg.EngineRetry)
	p.coming = t.engine
	return &loss{cause: CauseReturn, planned: true, reason: fmt.Sprintf("engine %s works again for slot %s and is taken back into use", t.engine, t.slot)}
}

// results is where a trial under way reports.
func (s *session) results() <-chan error {
	if s.trial == nil {
		return nil
	}
	return s.trial.done
}

// endTrial stops a trial that is still under way and waits until its process is gone.
func (s *session) endTrial() {
	if s.trial != nil {
		s.trial.cancel()
		<-s.trial.done
		s.trial = nil
	}
}

// Try loads one slot in a heron-vision of its own, without cameras, and ends it again: live and trial share nothing. nil means that the model
// loaded, answered, and passed its golden pictures. A *inference.Refusal says why not; any other error is what ended the process.
func Try(ctx context.Context, cfg ClientConfig, slot SlotConfig) (ClientStats, error) {
	cfg.Config = Config{Slots: []SlotConfig{slot}}
	cfg.OnObservation = nil
	lost := make(chan string, 1)
	cfg.OnChange = func(s ClientStats) {
		if s.Restarts > 0 {
			select {
			case lost <- s.LastReason:
			default:
			}
		}
	}
	c, err := NewClient(cfg)
	if err != nil {
		return ClientStats{}, err
	}
	c.single = true
	ctx, cancel := context.WithTimeout(ctx, c.cfg.HelloTimeout+2*c.cfg.LoadTimeout)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Run(ctx) // how it ended is in its Stats, or nobody's affair
	}()
	ready := make(chan error, 1)
	go func() { ready <- c.WaitReady(ctx) }()
	select {
	case err = <-ready:
	case reason := <-lost:
		err = errors.New(reason)
	}
	stats := c.Stats()
	for t0 := time.Now(); err == nil && !told(stats) && time.Since(t0) < 2*time.Second; stats = c.Stats() {
		time.Sleep(beatEvery / 10) // the beat that names the engine comes soon
	}
	cancel()
	<-ended
	return stats, err
}

// told says whether a beat has named what runs.
func told(s ClientStats) bool { return len(s.Slots) > 0 && s.Slots[0].Engine != "" }

// Look starts a heron-vision, asks it to look at every engine that it knows, and ends it. A driver that kills the process costs nobody anything.
func Look(ctx context.Context, cfg ClientConfig) ([]EngineReport, error) {
	found := make(chan []EngineReport, 1)
	cfg.Config, cfg.OnObservation, cfg.OnChange = Config{}, nil, nil
	c, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	c.single, c.look = true, found
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	select {
	case list := <-found:
		return list, nil
	case err := <-ended:
		ended <- err
		if s := c.Stats(); s.LastReason != "" {
			return nil, errors.New(s.LastReason)
		}
		return nil, err
	}
}

// asRefusal is the Refusal in err's chain; nil when there is none.
func asRefusal(err error) *inference.Refusal {
	r := (*inference.Refusal)(nil)
	errors.As(err, &r)
	return r
}

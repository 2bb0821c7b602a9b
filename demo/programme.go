package demo

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	redraw    = 250 * time.Millisecond
	plainLine = time.Second
)

// perform runs the programme until its time is over, q is pressed, a job ends or ctx does: it moves the broker and the hand,
// and shows what happens.
func (s *stage) perform(ctx context.Context, jobs ...*job) error {
	keys, release, err := s.openScreen()
	if err != nil {
		return err
	}
	defer release()
	every := plainLine
	if s.o.Interactive {
		every = redraw
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	steps := s.steps()
	for !slices.ContainsFunc(jobs, (*job).ended) {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case key := <-keys:
			if key == keyQuit {
				return nil
			}
			err = s.press(ctx, key)
		case <-steps.next():
			if steps.last() {
				return nil
			}
			err = s.setBroker(ctx, len(steps.timers) == 2) // first away, then back, whatever the keys did meanwhile
			steps.pop()
		case <-tick.C:
		}
		if err != nil {
			return err
		}
		s.show()
	}
	return nil
}

// press does what a key asks for.
func (s *stage) press(ctx context.Context, key byte) error {
	s.screen.note = ""
	switch key {
	case keyBroker:
		return s.setBroker(ctx, !s.broker.Up())
	case keyCover:
		s.camera.Cover(!s.camera.Covered())
	case keyKill:
		if err := s.agent.KillVision(); err != nil {
			s.screen.note = "heron-vision could not be killed: " + err.Error()
		}
	}
	return nil
}

// setBroker brings the broker back, or takes it away.
func (s *stage) setBroker(ctx context.Context, up bool) error {
	if up {
		return s.broker.Start(ctx)
	}
	if s.broker.Up() {
		s.away++
	}
	return s.broker.Stop()
}

// steps are the moments of a timed run: broker away, broker back, end. A run without a time has none.
type steps struct{ timers []*time.Timer }

func (s *stage) steps() *steps {
	p := &steps{}
	if s.o.For > 0 {
		for _, at := range []time.Duration{s.o.For / 3, s.o.For * 2 / 3, s.o.For} {
			p.timers = append(p.timers, time.NewTimer(at))
		}
	}
	return p
}

func (p *steps) next() <-chan time.Time {
	if len(p.timers) == 0 {
		return nil
	}
	return p.timers[0].C
}

func (p *steps) last() bool { return len(p.timers) == 1 }
func (p *steps) pop()       { p.timers = p.timers[1:] }

// show draws the present.
func (s *stage) show() {
	if s.o.JSON && !s.o.Interactive {
		return
	}
	p := s.present()
	if s.o.Interactive {
		s.screen.draw(p)
		return
	}
	if !s.paged && p.Page != "" { // else nobody whose output goes to a file would know where it is
		s.paged = true
		fmt.Fprintln(s.o.Out, "the page is at", p.Page)
	}
	fmt.Fprintln(s.o.Out, p.line())
}

// present collects what the screen shows.
func (s *stage) present() present {
	p := present{View: s.agent.View(), truth: s.camera.Now(), brokerUp: s.broker.Up(), books: s.ledger.Totals(), score: s.judge.copy(), since: time.Since(s.start)}
	if s.o.For > 0 {
		p.left = max(0, s.o.For-p.since)
	}
	return p
}

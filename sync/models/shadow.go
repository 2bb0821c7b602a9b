package models

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	doingShadow   = "in shadow"
	agreeQuickly  = 30 * time.Second // a shadow run lasts at least so long, or as long as asked
	patienceTimes = 4                // a shadow run without frames lasts so many times as long, then goes on
)

// shadow lets the model answer beside the live one.
func (s *slot) shadow(ctx context.Context, n next) (Step, func(*next), error) {
	b, err := s.whole(n)
	if err != nil {
		return "", nil, err
	}
	c, err := parseCustom(n.Offer.Custom)
	if err != nil {
		return "", nil, &Refusal{Check: CheckTerms, Reason: err.Error()}
	}
	v := vigil{accept: c.Acceptance, length: n.Wish.Shadow, by: against{same: b.Labels != "" && b.Labels == n.live.Labels}}
	v.by.budgetMS, v.by.base = about(b.Dir)
	if err := s.stageIt(ctx, b, n); err != nil {
		return "", nil, err
	}
	tick := time.NewTicker(s.m.pace.tick)
	defer tick.Stop()
	for began, lost := time.Now(), 0; ; {
		select {
		case <-ctx.Done():
			return "", nil, ctx.Err()
		case <-tick.C:
		}
		st := s.m.cfg.Watcher.Shadow(s.name)
		if st.Lost != "" {
			if lost++; st.Blamed || lost > 5 {
				return "", nil, lostError(st)
			}
			if err := s.stageIt(ctx, b, n); err != nil {
				return "", nil, err
			}
			began = time.Now()
			continue
		}
		done, err := v.look(st, time.Since(began))
		if err != nil || done {
			return StepShadow, func(n *next) { n.Ref = &st.Live }, err
		}
		s.progress(int64(min(time.Since(began), v.length)), int64(v.length))
	}
}

func lostError(st ShadowStats) error {
	if st.Blamed {
		return &Fault{Check: CheckCrash, Err: errors.New(st.Lost)}
	}
	// Killed from outside again and again, but only with this candidate: a kernel short of memory does that, and it is a strike.
	return &Fault{Check: CheckLost, Err: fmt.Errorf("heron-vision was lost again and again beside it: %s", st.Lost)}
}

func (s *slot) stageIt(ctx context.Context, b Bundle, n next) error {
	s.m.cfg.Watcher.Reset(s.name, true)
	s.staged = b.Digest
	if err := s.m.cfg.Eyes.Stage(ctx, s.name, b, s.m.cfg.Share); err != nil {
		s.staged = ""
		return fmt.Errorf("stage %s: %w", n.Wish.Target, err)
	}
	return nil
}

// vigil judges a shadow run.
type vigil struct {
	accept Acceptance
	by     against
	length time.Duration
}

// look says whether the run is over; its error is a *Refusal.
func (v *vigil) look(st ShadowStats, spent time.Duration) (bool, error) {
	by, c := v.by, st.Candidate
	by.ref = &st.Live
	if no := v.accept.judge(c, by); no != nil {
		return false, no
	}
	agreed := c.share(st.Agreed)
	if c.Frames >= v.accept.Frames && spent >= min(agreeQuickly, v.length) && agreed >= max(agreeEnough, v.accept.Agreement) {
		return true, nil
	}
	if spent < v.length || c.Frames < someFrames && spent < patienceTimes*v.length {
		return false, nil
	}
	if c.Frames >= someFrames && agreed < v.accept.Agreement {
		return false, &Refusal{Check: CheckAgreement, Reason: fmt.Sprintf("it agrees with the live model on %.1f %% of %d frames; at least %.1f %% are asked for", 100*agreed, c.Frames, 100*v.accept.Agreement)}
	}
	return true, nil
}

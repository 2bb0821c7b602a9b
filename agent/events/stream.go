package events

import (
	"time"

	"heron/inference"
	"heron/sync/message"
	"heron/vision"
)

// stream is the state of one camera and slot.
type stream struct {
	camera string
	cfg    *Config
	stats  *TrackerStats
	out    []message.EventRecord // of the present step

	last    time.Duration // capture time of the newest frame
	lastFit message.Stamp // of the newest fit frame
	started bool          // last is set
	model   string

	// The label that is entered; empty when none is.
	label  string
	engine string
	score  float64       // in the newest fit frame
	since  message.Stamp // of the first frame that spoke for it
	told   time.Duration // capture time of the last enter or still
	frames int           // fit frames since and including that first one
	below  int           // fit frames in a row under exit

	// The label that may be entered next.
	candidate      string
	candidateSince message.Stamp
	agree          int  // fit frames in a row for it
	held           bool // its cooldown was counted in this row

	cooling map[string]time.Duration // label → capture time from which it may be entered again
}

func (s *stream) step(at message.Stamp, obs *vision.Observation) {
	s.checkClock(at, obs.Jumped)
	s.absent(at)
	if !fit(obs) {
		s.stats.Unfit++
		return
	}
	if obs.Model != s.model {
		s.leave(at) // two models' scores cannot be compared
		s.model, s.candidate = obs.Model, ""
	}
	s.engine, s.lastFit = obs.Engine, at
	s.follow(at, obs.Top)
	s.propose(at, obs.Top[0])
}

// checkClock forgets the past when capture time went back or far ahead, or the camera's own time did: nothing measured across such a step is true.
func (s *stream) checkClock(at message.Stamp, own bool) {
	jumped := s.started && (own || at.Mono < s.last || at.Mono-s.last > MaxJump)
	s.last, s.started = at.Mono, true
	if !jumped {
		return
	}
	s.stats.ClockJumps++
	s.leave(s.lastFit) // at the last moment that is known
	s.candidate, s.cooling = "", nil
	s.lastFit = message.Stamp{}
}

// absent ends what rests on frames that are too old.
func (s *stream) absent(now message.Stamp) {
	if now.Mono-s.lastFit.Mono <= Absence {
		return
	}
	s.candidate = ""
	s.leave(now)
}

// follow looks at the label that is entered.
func (s *stream) follow(at message.Stamp, top []inference.Score) {
	if s.label == "" {
		return
	}
	r := s.cfg.Rule(s.label)
	s.score = scoreOf(top, s.label)
	s.frames++
	if s.score >= r.Exit {
		s.below = 0
	} else if s.below++; s.below >= r.Dwell {
		s.leave(at)
		return
	}
	if at.Mono-s.told >= StillEvery {
		s.told = at.Mono
		s.stats.Still++
		s.emit(Still, at)
	}
}

// propose looks at the best answer, which may be entered next.
func (s *stream) propose(at message.Stamp, best inference.Score) {
	r := s.cfg.Rule(best.Label)
	if best.Label == "" || best.Label == inference.Unknown || best.Label == s.label || r.Ignore || best.Score < r.Enter {
		s.candidate = ""
		return
	}
	if best.Label != s.candidate {
		s.candidate, s.candidateSince, s.agree, s.held = best.Label, at, 0, false
	}
	if s.agree++; s.agree < r.Dwell {
		return
	}
	if until, ok := s.cooling[best.Label]; ok && at.Mono < until {
		if !s.held { // once a row, not once a frame
			s.held = true
			s.stats.Suppressed++
		}
		return
	}
	s.enter(at, best.Score)
}

func (s *stream) enter(at message.Stamp, score float64) {
	s.leave(at)
	s.label, s.since, s.frames, s.score = s.candidate, s.candidateSince, s.agree, score
	s.told, s.below, s.candidate = at.Mono, 0, ""
	delete(s.cooling, s.label)
	s.stats.Entered++
	s.emit(Enter, at)
}

func (s *stream) leave(at message.Stamp) {
	if s.label == "" {
		return
	}
	s.stats.Exited++
	s.emit(Exit, at)
	if c := s.cfg.Rule(s.label).Cooldown; c > 0 {
		s.cool(at.Mono, at.Mono+c)
	}
	s.label = ""
}

// cool remembers until when the label rests, and forgets what has rested; beyond the bound the one that rests the shortest goes.
func (s *stream) cool(now, until time.Duration) {
	if s.cooling == nil {
		s.cooling = map[string]time.Duration{}
	}
	s.cooling[s.label] = until
	if len(s.cooling) <= maxCooldowns {
		return
	}
	soonest := s.label
	for l, u := range s.cooling {
		if u <= now {
			delete(s.cooling, l)
		} else if u < s.cooling[soonest] || u == s.cooling[soonest] && l < soonest {
			soonest = l
		}
	}
	if len(s.cooling) > maxCooldowns {
		delete(s.cooling, soonest)
	}
}

func (s *stream) emit(state string, at message.Stamp) {
	s.out = append(s.out, message.EventRecord{
		Stamp: at, Camera: s.camera, Label: s.label, State: state, Score: s.score,
		DwellMS: max(0, (at.Mono - s.since.Mono).Milliseconds()), Frames: s.frames, Engine: s.engine, Model: s.model,
	})
}

package vision

import (
	"fmt"
	"strconv"
	"time"
)

const (
	watchEvery = 100 * time.Millisecond
	beatEvery  = 200 * time.Millisecond
	// stoppedAfter is how long a beat may be late before a child's state is looked up: two beats missed.
	stoppedAfter = 2*beatEvery + watchEvery
	// openGrace is added to a camera's stall deadline before its first frame: opening a network stream takes its time.
	openGrace = 10 * time.Second
)

// forgive moves the deadlines by a time in which heron itself did not run.
func (s *session) forgive(gap time.Duration) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.lastBeat = s.lastBeat.Add(gap)
	s.progress = s.progress.Add(gap)
	s.begun = s.begun.Add(gap)
}

// verdict says whether the process has to be replaced now.
func (s *session) verdict(now time.Time, h *history) *loss {
	var rss int64
	if s.proc != nil {
		rss = residentBytes(strconv.Itoa(s.proc.pid))
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	rss = max(rss, s.beat.RSS)
	for _, check := range []func(time.Time, *history) *loss{s.silent, s.slowLoad, s.slowInference, s.stalled} {
		if l := check(now, h); l != nil {
			return l
		}
	}
	if rss > s.c.cfg.MaxMemory {
		l := &loss{cause: CauseMemory, slot: s.loading, loading: s.loading != "",
			reason: fmt.Sprintf("%s uses %d MiB of memory, more than the %d MiB allowed", s.name(), rss>>20, s.c.cfg.MaxMemory>>20)}
		if l.engine = s.engine; l.slot == "" {
			l.slot, l.suspect = s.onlyRunning(), s.suspect(h.failures) // accelerators' libraries leak: another engine, before the model is blamed
		}
		l.reason += s.whose(l)
		return l
	}
	return nil
}

// whose names the slot to blame.
func (s *session) whose(l *loss) string {
	switch {
	case l.loading:
		return fmt.Sprintf(", while loading the model of slot %q", l.slot)
	case l.slot != "":
		return fmt.Sprintf(", while running the model of slot %q", l.slot)
	}
	return ""
}

// onlyRunning is the one slot that was inferring at the last beat; empty when there is none or several.
func (s *session) onlyRunning() string {
	name := ""
	for _, slot := range s.beat.Slots {
		if slot.Running > 0 && name != "" {
			return ""
		}
		if slot.Running > 0 {
			name = slot.Slot
		}
	}
	return name
}

func (s *session) silent(now time.Time, h *history) *loss {
	if !s.hello {
		if limit := h.helloTimeout(s.c.cfg.HelloTimeout); now.Sub(s.begun) > limit {
			return &loss{cause: CauseHello, reason: fmt.Sprintf("%s said no hello within %v", s.name(), limit)}
		}
		return nil
	}
	late := now.Sub(s.lastBeat)
	if s.delivering || late < stoppedAfter {
		return nil
	}
	if s.proc != nil && processState(s.proc.pid) == 'T' {
		return &loss{cause: CauseStopped, reason: s.name() + " was stopped by a signal"}
	}
	if limit := h.beatTimeout(s.c.cfg.BeatTimeout); late > limit {
		return &loss{cause: CauseBeat, reason: fmt.Sprintf("%s gave no sign of life for %.1f s", s.name(), late.Seconds())}
	}
	return nil
}

func (s *session) slowLoad(now time.Time, _ *history) *loss {
	if s.loading == "" || now.Sub(s.progress) <= s.c.cfg.LoadTimeout {
		return nil
	}
	return &loss{cause: CauseLoad, slot: s.loading, loading: true, engine: s.engine,
		reason: fmt.Sprintf("%s did not finish loading the model of slot %q within %v", s.name(), s.loading, s.c.cfg.LoadTimeout)}
}

func (s *session) slowInference(time.Time, *history) *loss {
	for _, slot := range s.beat.Slots {
		limit, p := s.c.cfg.InferenceTimeout, s.slots[slot.Slot]
		if p.accelerated && s.c.courses[slot.Slot].alternative(p.choice) {
			limit = min(limit, acceleratorTimeout)
		}
		if slot.CandidateRunning > limit.Seconds() {
			return &loss{cause: CauseInference, candidate: slot.Slot,
				reason: fmt.Sprintf("%s: an inference of the candidate %s has taken %.1f s, more than %v", s.name(), slot.Candidate, slot.CandidateRunning, limit)}
		}
		if slot.Running <= limit.Seconds() {
			continue
		}
		l := &loss{cause: CauseInference, slot: slot.Slot, loading: s.loading == slot.Slot, engine: p.choice,
			reason: fmt.Sprintf("%s: an inference of slot %q has taken %.1f s, more than %v", s.name(), slot.Slot, slot.Running, limit)}
		if l.loading {
			l.engine = s.engine
		}
		return l
	}
	return nil
}

// stalled finds a camera whose driver hangs in one call. A camera that fails and is reopened is the source's business, not a reason to replace anything.
func (s *session) stalled(_ time.Time, h *history) *loss {
	for _, m := range s.beat.Cameras {
		limit := h.stallTimeout(m.Name, s.c.known.cameras[m.Name].Stall)
		if m.State != "running" {
			limit += openGrace
		}
		if m.Reading > limit.Seconds() {
			return &loss{cause: CauseStall, camera: m.Name,
				reason: fmt.Sprintf("%s: camera %q hangs in its driver for %.1f s (limit %v)", s.name(), m.Name, m.Reading, limit)}
		}
		if s.wedged(m, limit) {
			return &loss{cause: CauseStall, camera: m.Name,
				reason: fmt.Sprintf("%s: camera %q says that it runs, but its newest frame is %.1f s old", s.name(), m.Name, m.FrameAge)}
		}
	}
	return nil
}

// wedged finds a camera that runs without frames although no driver call hangs: not foreseen, so it is given twice the time and two more frames.
func (s *session) wedged(m CameraStats, limit time.Duration) bool {
	if m.State != "running" || m.Reading > 0 {
		return false
	}
	limit = 2*limit + 2*time.Second
	if fps := s.c.known.cameras[m.Name].FPS; fps > 0 {
		limit += time.Duration(2 / fps * float64(time.Second))
	}
	return m.FrameAge > limit.Seconds()
}

// retry asks for another try of slots that were refused or held back long ago.
func (s *session) retry(now time.Time, h *history) {
	s.c.mu.Lock()
	if !s.hello || s.loading != "" {
		s.c.mu.Unlock()
		return
	}
	slot := ""
	for name, p := range s.slots {
		held := h.slots[name]
		switch {
		case p.loaded || !p.settled:
		case held != nil && held.held != nil:
			if now.After(held.retryAt) {
				held.retryAt, slot = now.Add(held.wait), name
			}
		case now.After(p.retryAt):
			p.retryAt, slot = now.Add(s.c.pace.refused), name
		}
	}
	s.c.mu.Unlock()
	if slot != "" {
		_ = s.w.send(kindRetry, retry{slot}) // a broken connection is the reader's finding
	}
}

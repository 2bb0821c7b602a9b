package vision

import (
	"fmt"
	"time"

	"heron/inference"
)

// Causes of a loss: why a heron-vision process was given up and replaced.
const (
	CauseStart     = "start"             // it could not be started or connected to
	CauseExit      = "exit"              // it ended or closed its connection by itself
	CauseHello     = "no-hello"          // connected, but silent
	CauseProtocol  = "protocol"          // what it said is not our protocol
	CauseBeat      = "no-beat"           // silent: hanging, or starved of CPU
	CauseStopped   = "stopped"           // SIGSTOP
	CauseLoad      = "load-timeout"      // a model's loading hangs
	CauseInference = "inference-timeout" // an inference hangs
	CauseStall     = "stall"             // a camera's driver hangs in a call
	CauseMemory    = "memory"            // more than MaxMemory
	CauseEngine    = "engine"            // an accelerator fails or answers rubbish
	CauseReturn    = "engine-return"     // not lost: replaced, because a better engine works again
)

// loss is the end of a process that should have gone on.
type loss struct {
	cause, reason string
	slot          string           // whose model is to blame; empty: none in particular
	loading       bool             // … while it was being loaded
	camera        string           // which camera is to blame
	engine        string           // which engine of slot was in use, as its order has it; empty: none is to blame
	suspect       string           // slot whose accelerator may have done it, where nothing is known; empty: none
	planned       bool             // nothing failed
	candidate     string           // slot whose candidate is to blame
	outside       bool             // somebody outside killed it
	known         *inference.Known // what the engine answered while it worked; nil: not known
	at            time.Time
}

// How losses are answered.
const (
	healthyAfter = 10 * time.Second // of observations: what happened before is forgotten
	quietAfter   = time.Minute      // ready for so long without observations counts as healthy too: no camera may be there
	loopAfter    = 3                // losses in a row are called a crash loop
	maxBeat      = 8 * time.Second
	maxHello     = 2 * time.Minute
	maxStall     = 5 * time.Minute
	heldRetryMax = time.Hour
	loadStrikes  = 2 // losses in a row while loading one slot's model, and the slot is held back
	runStrikes   = 3 // … while running it
)

// history is what Run remembers from one process to the next. Run's goroutine alone uses it.
type history struct {
	pace
	oneShot  bool
	failures int // losses in a row, without a healthy run between
	beats    int // losses in a row by silence
	hellos   int // … before the hello
	stalls   map[string]int
	slots    map[string]*slotHistory
}

// slotHistory is what one slot's model has done to processes.
type slotHistory struct {
	strikes int
	held    *Refused      // not loaded at start: only after wait, and then with the process at risk
	wait    time.Duration // between tries while held
	retryAt time.Time
}

func newHistory(p pace) *history {
	return &history{pace: p, stalls: map[string]int{}, slots: map[string]*slotHistory{}}
}

// add learns from the end of a session and says how long to wait before the next one.
func (h *history) add(l *loss, s *session, now time.Time) time.Duration {
	if s != nil {
		h.forget(s, now)
	}
	h.failures++
	switch l.cause {
	case CauseBeat:
		h.beats++
	case CauseHello:
		h.hellos++
	case CauseStall:
		h.stalls[l.camera]++ // its deadline grows, which is back-off enough: the other cameras need not wait
		h.failures--
		return 0
	}
	if l.slot != "" && h.strike(l, now) {
		h.failures = 1 // the culprit is found: the others need not wait
	}
	if h.failures == 1 {
		return 0
	}
	return min(h.min<<min(h.failures-2, 10), h.max)
}

// forget drops what a healthy run has disproved.
func (h *history) forget(s *session, now time.Time) {
	if s.lastObs.Sub(s.firstObs) >= healthyAfter || !s.readyAt.IsZero() && now.Sub(s.readyAt) >= quietAfter {
		h.failures, h.beats, h.hellos = 0, 0, 0
	}
	for name, since := range s.fresh {
		if s.beat.at(name).State == "running" && s.lastBeat.Sub(since) >= healthyAfter {
			delete(h.stalls, name)
		}
	}
	for name, slot := range s.slots {
		if slot.lastObs.Sub(slot.firstObs) >= healthyAfter {
			delete(h.slots, name)
		}
	}
}

// strike notes that a slot's model cost a process and says whether the slot is now held back.
func (h *history) strike(l *loss, now time.Time) bool {
	s := h.slots[l.slot]
	if s == nil {
		s = &slotHistory{wait: h.refused / 2}
		h.slots[l.slot] = s
	}
	s.strikes++
	limit := runStrikes
	if l.loading {
		limit = loadStrikes
	}
	if s.strikes < limit {
		return false
	}
	s.wait = min(2*s.wait, heldRetryMax)
	s.retryAt = now.Add(s.wait)
	next := "use another model"
	if !h.oneShot {
		next += fmt.Sprintf("; this one is tried again every %v", s.wait)
	}
	s.held = &Refused{Slot: l.slot, Code: heldCode(l.cause), NextStep: next,
		Reason: fmt.Sprintf("the model of slot %q took heron-vision down %d times, last: %s", l.slot, s.strikes, l.reason)}
	return true
}

func heldCode(cause string) string {
	switch cause {
	case CauseLoad, CauseInference:
		return "hung"
	case CauseMemory:
		return "memory"
	}
	return "crashed"
}

// beatTimeout grows with losses by silence: a starved board is not a hang.
func (h *history) beatTimeout(base time.Duration) time.Duration {
	return max(base, min(base<<min(h.beats, 6), maxBeat))
}

// helloTimeout grows likewise: a board that is starved of CPU starts a process slowly each time.
func (h *history) helloTimeout(base time.Duration) time.Duration {
	return max(base, min(base<<min(h.hellos, 6), maxHello))
}

// stallTimeout grows with stalls of one camera, so that a dead one does not keep interrupting the others.
func (h *history) stallTimeout(camera string, base time.Duration) time.Duration {
	return max(base, min(base<<min(h.stalls[camera], 12), maxStall))
}

// at is a camera's part of the beat.
func (b *beat) at(camera string) CameraStats {
	for _, c := range b.Cameras {
		if c.Name == camera {
			return c
		}
	}
	return CameraStats{}
}

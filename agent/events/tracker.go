package events

import (
	"slices"
	"time"

	"heron/inference"
	"heron/sync/message"
	"heron/vision"
)

const (
	// Absence is how long a label outlives the last fit frame: a covered or silent camera for longer leaves it.
	Absence = 30 * time.Second
	// StillEvery is how often a label that lasts is told again.
	StillEvery = 10 * time.Minute
	// MaxJump is the longest step of a stream's capture clock that is believed.
	MaxJump = time.Hour

	maxStreams   = 64  // (camera, slot) pairs; far above any device's, a bound against a broken heron-vision
	maxCooldowns = 256 // labels remembered for their cooldown, per stream
)

// Event states.
const (
	Enter = "enter"
	Still = "still"
	Exit  = "exit"
)

// TrackerStats counts what a Tracker did since New.
type TrackerStats struct {
	Entered    uint64
	Still      uint64
	Exited     uint64
	Suppressed uint64 // times a label would have been entered but for its cooldown
	Unfit      uint64 // frames without a usable answer
	ClockJumps uint64 // resets because capture time went back, or forward by more than MaxJump, or the camera's own timestamps jumped
	Refused    uint64 // observations of streams beyond the bound
}

// Tracker makes events of observations, separately for each camera and model slot.
//
// A label is entered when it is the best answer with a score ≥ enter in dwell fit frames in a row. It is left when its
// score is < exit in dwell fit frames in a row, when another label is entered, when the model changes, or when there was no fit frame
// for longer than Absence. Unfit frames neither enter nor leave, and do not break a row. Intervals are measured on the
// capture clock that never steps (time since boot), so a corrected wall clock changes nothing here.
//
// For each stream and label, "enter" and "exit" alternate, and "still" comes only between them.
type Tracker struct {
	cfg     Config
	streams map[streamKey]*stream
	stats   TrackerStats
}

type streamKey struct{ camera, slot string }

// NewTracker returns a Tracker for a valid configuration, or Validate's error.
func NewTracker(cfg Config) (*Tracker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Tracker{cfg: cfg, streams: map[streamKey]*stream{}}, nil
}

// Stats copies the counters.
func (t *Tracker) Stats() TrackerStats { return t.stats }

// Step takes one observation and returns the events it caused, in order; nil where it caused none.
// Events bear the frame's capture time; now stands in for a frame that has none.
func (t *Tracker) Step(now message.Stamp, obs vision.Observation) []message.EventRecord {
	key := streamKey{obs.Camera, obs.Slot}
	s := t.streams[key]
	if s == nil {
		if len(t.streams) >= maxStreams {
			t.stats.Refused++
			return nil
		}
		s = &stream{camera: obs.Camera, cfg: &t.cfg, stats: &t.stats}
		t.streams[key] = s
	}
	at := message.Stamp{T: obs.At, Mono: time.Duration(obs.MonoMS) * time.Millisecond}
	if obs.MonoMS <= 0 || obs.MonoMS > int64(maxMono/time.Millisecond) {
		at.Mono = now.Mono
	}
	if at.T.IsZero() {
		at.T = now.T
	}
	s.out = nil
	s.step(at, &obs)
	return s.out
}

// maxMono is a century: beyond it a capture time is nonsense, and arithmetic on it could overflow.
const maxMono = 100 * 365 * 24 * time.Hour

// Tick leaves the labels whose streams had no fit frame for longer than Absence; call it every second or so,
// for a camera that died sends no observations.
func (t *Tracker) Tick(now message.Stamp) []message.EventRecord {
	var out []message.EventRecord
	for _, s := range t.ordered() {
		s.out = nil
		s.absent(now)
		out = append(out, s.out...)
	}
	return out
}

// Close leaves every label, for a regular end: readers see no label that is entered for ever.
func (t *Tracker) Close(now message.Stamp) []message.EventRecord {
	var out []message.EventRecord
	for _, s := range t.ordered() {
		s.out = nil
		s.leave(now)
		out = append(out, s.out...)
	}
	clear(t.streams)
	return out
}

// ordered makes the result of Tick and Close independent of map order.
func (t *Tracker) ordered() []*stream {
	keys := make([]streamKey, 0, len(t.streams))
	for k := range t.streams {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b streamKey) int {
		return slices.Compare([]string{a.camera, a.slot}, []string{b.camera, b.slot})
	})
	all := make([]*stream, len(keys))
	for i, k := range keys {
		all[i] = t.streams[k]
	}
	return all
}

// fit says whether the observation's answer can be believed at all. Without an answer heron-vision itself found the frame unfit;
// with these facts the answer is about something else than what is before the camera.
func fit(obs *vision.Observation) bool {
	if obs.Error != "" || len(obs.Top) == 0 || !(obs.Top[0].Score >= 0 && obs.Top[0].Score <= 1) {
		return false
	}
	return !slices.ContainsFunc(obs.Facts, func(f string) bool {
		return f == "black" || f == "covered" || f == "no-signal" || f == "frozen" || f == "stale"
	})
}

func scoreOf(top []inference.Score, label string) float64 {
	for _, s := range top {
		if s.Label == label {
			return s.Score
		}
	}
	return 0
}

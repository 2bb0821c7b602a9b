package models

import (
	"maps"
	"math"
	"sync"
)

// Look is one frame that a model answered for, or could not.
type Look struct {
	LatencyMS float64
	Label     string // top answer; "unknown" where its score is below the threshold
	Score     float64
	Failed    bool
	NotFinite bool // failed, because the answer held NaN or infinity
	Hung      bool // failed, because no answer came in time
}

// Unknown is the label of a best score below its threshold.
const Unknown = "unknown"

// ShadowStats compares a staged model with the live one on the same frames.
type ShadowStats struct {
	Live, Candidate Sample
	Agreed          int    // frames with the same top answer
	Lost            string // why the candidate is gone; empty while it is there
	Blamed          bool   // it took its process down itself
}

// LiveStats is how the live model of a slot does, since it became that.
type LiveStats struct {
	Sample
	Losses   int // processes that ended by this slot's fault
	LastLoss string
}

// Meter is the Watcher that ships: whoever receives observations feeds it. All methods may be called at any time, from anywhere.
type Meter struct {
	mu    sync.Mutex
	slots map[string]*gauge
}

type gauge struct {
	live, beside, candidate tally // beside: the live model on the candidate's frames
	agreed                  int
	shadow                  ShadowStats // its loss only
	losses                  int
	lastLoss                string
}

// NewMeter counts nothing yet.
func NewMeter() *Meter { return &Meter{slots: map[string]*gauge{}} }

func (m *Meter) with(slot string, fn func(*gauge)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.slots[slot]
	if g == nil {
		g = &gauge{}
		m.slots[slot] = g
	}
	fn(g)
}

// Saw counts a frame of the live model.
func (m *Meter) Saw(slot string, l Look) { m.with(slot, func(g *gauge) { g.live.add(l) }) }

// Compared counts a frame that the candidate and the live model answered for.
func (m *Meter) Compared(slot string, live, candidate Look) {
	m.with(slot, func(g *gauge) {
		g.beside.add(live)
		g.candidate.add(candidate)
		if !live.Failed && !candidate.Failed && live.Label == candidate.Label {
			g.agreed++
		}
	})
}

// LostCandidate notes that a staged model is gone; blamed says that it took its process down itself.
func (m *Meter) LostCandidate(slot, reason string, blamed bool) {
	m.with(slot, func(g *gauge) { g.shadow.Lost, g.shadow.Blamed = reason, blamed })
}

// LostProcess counts a process that ended by the fault of the slot's live model.
func (m *Meter) LostProcess(slot, reason string) {
	m.with(slot, func(g *gauge) { g.losses, g.lastLoss = g.losses+1, reason })
}

// Reset begins the counts of the shadow run anew, or those of the live model.
func (m *Meter) Reset(slot string, shadow bool) {
	m.with(slot, func(g *gauge) {
		if shadow {
			g.beside, g.candidate, g.agreed, g.shadow = tally{}, tally{}, 0, ShadowStats{}
		} else {
			g.live, g.losses, g.lastLoss = tally{}, 0, ""
		}
	})
}

// Shadow is the comparison since the last Reset.
func (m *Meter) Shadow(slot string) (s ShadowStats) {
	m.with(slot, func(g *gauge) {
		s = ShadowStats{Live: g.beside.sample(), Candidate: g.candidate.sample(), Agreed: g.agreed, Lost: g.shadow.Lost, Blamed: g.shadow.Blamed}
	})
	return s
}

// Live is how the live model does since the last Reset; of long times the later part weighs more.
func (m *Meter) Live(slot string) (s LiveStats) {
	m.with(slot, func(g *gauge) { s = LiveStats{Sample: g.live.sample(), Losses: g.losses, LastLoss: g.lastLoss} })
	return s
}

const (
	tallyFrames  = 20_000 // after so many all counts are halved
	tallyLabels  = 2_000
	tallyBuckets = 320
	bucketGrowth = 1.05 // of latency: p95 is right to 5 %
	bucketFirst  = 0.02 // ms
)

// tally adds up looks in bounded memory.
type tally struct {
	s       Sample
	score   float64 // sum
	latency [tallyBuckets]int
}

func (t *tally) add(l Look) {
	if t.s.Labels == nil {
		t.s.Labels = map[string]int{}
	}
	if t.s.Frames++; t.s.Frames > tallyFrames {
		t.halve()
	}
	if l.Failed || math.IsNaN(l.Score) || math.IsInf(l.Score, 0) {
		t.s.Errors++
		if !l.Failed || l.NotFinite {
			t.s.NotFinite++
		}
		if l.Hung {
			t.s.Hung++
		}
		return
	}
	t.score += l.Score
	if l.Label == Unknown {
		t.s.Unknown++
	}
	if _, ok := t.s.Labels[l.Label]; ok || len(t.s.Labels) < tallyLabels {
		t.s.Labels[l.Label]++
	}
	b := int(math.Log(max(l.LatencyMS, bucketFirst)/bucketFirst) / math.Log(bucketGrowth))
	t.latency[min(max(b, 0), tallyBuckets-1)]++
}

func (t *tally) halve() {
	for _, n := range []*int{&t.s.Frames, &t.s.Errors, &t.s.NotFinite, &t.s.Hung, &t.s.Unknown} {
		*n /= 2
	}
	for l := range t.s.Labels {
		t.s.Labels[l] /= 2
	}
	for i := range t.latency {
		t.latency[i] /= 2
	}
	t.score /= 2
}

func (t *tally) sample() Sample {
	s := t.s
	s.Labels = maps.Clone(s.Labels)
	answers := s.Frames - s.Errors
	if answers <= 0 {
		return s
	}
	s.Confidence = min(t.score/float64(answers), 1)
	total := 0
	for _, n := range t.latency {
		total += n
	}
	seen := 0
	for i, n := range t.latency {
		if seen += n; seen*100 >= total*95 {
			s.P95MS = bucketFirst * math.Pow(bucketGrowth, float64(i)+0.5)
			break
		}
	}
	return s
}

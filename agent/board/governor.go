package board

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Codes of what slows cameras down.
const (
	CodeHot          = "hot"
	CodeThrottled    = "throttled"
	CodeUnderVoltage = "under-voltage"
	CodeStarved      = "cpu-quota"
	CodeSlow         = "inference-slow"
)

// Rules of the Governor.
const (
	coolerBy   = 5.0              // °C below the limit at which the heat is over
	starvedAt  = 0.8              // share of time slices without CPU from which on the quota is too small
	toldFor    = 30 * time.Second // how long trouble must be away to be over
	leastFPS   = 0.5              // of a camera, unless it is configured slower
	fullAt     = 0.9              // share of its time that a model may be at work
	slowBy     = 1.5              // times the normal latency, when that fills the time
	muchSlower = 3.0              // times the normal latency, when …
	nearlyFull = 0.7              // … it is at work for this share of its time
	margin     = 1.25             // latency must allow so much more before the rate goes up
)

// Load is what the Governor judges, once a second.
type Load struct {
	Board   State
	Slots   []SlotLoad
	Cameras []CameraLoad
}

// SlotLoad is how one model slot fares.
type SlotLoad struct {
	Slot    string
	Engine  string        // another one has another normal latency
	Latency time.Duration // recent mean of one inference with its preprocessing; 0 is none
}

// CameraLoad is one camera that is classified.
type CameraLoad struct {
	Name, Slot string
	FPS        float64 // configured; 0 is every frame
	Rate       float64 // frames a second that it delivers; 0 is unknown
	Live       bool    // files and folders are never slowed
}

// Trouble is one thing that the board suffers from.
type Trouble struct {
	Code, Text string
	Since      time.Time
}

// Order is the rate of one camera.
type Order struct {
	Camera string
	Wanted float64   // frames a second that it would have; 0 is unknown, until the camera has delivered some
	FPS    float64   // … and has now; equal to Wanted while nothing slows it
	Since  time.Time // since when it is slowed; zero while it is not
	Codes  []string  // of what slows it
	Why    string    // in words
}

// Slowed says whether the camera has less than it would have.
func (o *Order) Slowed() bool { return !o.Since.IsZero() }

// Governor brings the cameras' rates down by halves while the board is in trouble or inference has become slow, and up again
// step by step. It is a function of what Step was given and when: no clock, no input of its own.
type Governor struct {
	hot   float64 // °C
	adapt bool

	trouble map[string]*Trouble // by code
	seen    map[string]time.Time
	tooHot  bool
	codes   []string // of the last strain
	why     []string // … and in words
	board   lever
	slots   map[string]*slotJudge
	wanted  map[string]float64   // by camera: learned while nothing slows it
	since   map[string]time.Time // by camera
}

// NewGovernor slows cameras from hot °C on; with adapt false it only tells.
func NewGovernor(hot float64, adapt bool) *Governor {
	return &Governor{hot: hot, adapt: adapt, trouble: map[string]*Trouble{}, seen: map[string]time.Time{}, slots: map[string]*slotJudge{},
		wanted: map[string]float64{}, since: map[string]time.Time{}, board: lever{further: 30 * time.Second}}
}

// Step judges l at now and returns a rate for each live camera, and what the board suffers from, in a fixed order.
func (g *Governor) Step(now time.Time, l Load) (orders []Order, troubles []Trouble) {
	strained := g.judge(now, &l.Board)
	g.board.most = g.halvings(l.Cameras, "")
	if g.adapt {
		g.board.step(now, strained, true)
	}
	for _, s := range l.Slots {
		g.judgeSlot(now, s, l.Cameras)
	}
	for _, c := range l.Cameras {
		if c.Live {
			orders = append(orders, g.order(now, c))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(g.trouble)) {
		troubles = append(troubles, *g.trouble[code])
	}
	return orders, troubles
}

// judge notes the board's troubles and says whether one holds right now.
func (g *Governor) judge(now time.Time, s *State) (strained bool) {
	z, known := s.Hottest()
	g.tooHot = known && (z.C >= g.hot || g.tooHot && z.C > g.hot-coolerBy)
	note := func(holds bool, code, format string, args ...any) {
		strained = strained || holds
		g.note(now, holds, code, format, args...)
	}
	note(g.tooHot, CodeHot, "the board is at %.0f °C (%s)", z.C, z.Name)
	note(isTrue(s.Throttled), CodeThrottled, "the board holds its clocks back (%s)", s.Why)
	note(isTrue(s.UnderVoltage), CodeUnderVoltage, "the power supply is too weak (%s)", s.Why)
	note(s.Starved != nil && *s.Starved >= starvedAt, CodeStarved, "Heron's CPU quota runs out in %.0f %% of the time", 100*value(s.Starved))
	if strained {
		g.codes, g.why = nil, nil
		for _, code := range slices.Sorted(maps.Keys(g.trouble)) {
			g.codes, g.why = append(g.codes, code), append(g.why, g.trouble[code].Text)
		}
	}
	return strained
}

func value(f *float64) float64 {
	if f == nil {
		return 0
	}
	return *f
}

// justPassed is said of a trouble that is kept for a while: what was measured is not so any more.
const justPassed = "; it has just passed"

// note keeps a trouble from its first sight until it has been away for toldFor, so that one which comes and goes is one.
func (g *Governor) note(now time.Time, holds bool, code, format string, args ...any) {
	t := g.trouble[code]
	switch {
	case holds && t == nil:
		g.trouble[code] = &Trouble{Code: code, Since: now, Text: fmt.Sprintf(format, args...)}
		g.seen[code] = now
	case holds:
		t.Text, g.seen[code] = fmt.Sprintf(format, args...), now
	case t != nil && now.Sub(g.seen[code]) >= toldFor:
		delete(g.trouble, code)
	case t != nil && !strings.HasSuffix(t.Text, justPassed):
		t.Text += justPassed
	}
}

// order is c's rate at the present levels.
func (g *Governor) order(now time.Time, c CameraLoad) Order {
	level, slot := g.board.level, g.slots[c.Slot]
	if slot != nil {
		level = max(level, slot.level)
	}
	if want := g.want(c); level == 0 || g.wanted[c.Name] == 0 {
		g.wanted[c.Name] = want
	}
	o := Order{Camera: c.Name, Wanted: g.wanted[c.Name]}
	o.FPS = slowed(o.Wanted, level)
	if o.FPS >= o.Wanted {
		delete(g.since, c.Name)
		return o
	}
	if g.since[c.Name].IsZero() {
		g.since[c.Name] = now
	}
	o.Since = g.since[c.Name]
	g.explain(&o, slot)
	return o
}

// halvings is how many make a difference to the live cameras of a slot; of all slots where it is empty.
func (g *Governor) halvings(cameras []CameraLoad, slot string) (n int) {
	for _, c := range cameras {
		want := max(g.wanted[c.Name], g.want(c))
		for c.Live && (slot == "" || c.Slot == slot) && slowed(want, n) > slowed(want, n+1) {
			n++
		}
	}
	return n
}

// want is what c has while nothing slows it: its configured rate, or less where it delivers less.
func (g *Governor) want(c CameraLoad) float64 {
	if c.FPS == 0 || c.Rate > 0 && c.Rate < 0.8*c.FPS {
		return c.Rate
	}
	return c.FPS
}

// slowed halves fps level times, but not below the floor.
func slowed(fps float64, level int) float64 {
	return min(fps, max(fps/float64(int(1)<<level), leastFPS))
}

// explain says in words what slows o's camera.
func (g *Governor) explain(o *Order, slot *slotJudge) {
	var why []string
	if g.board.level > 0 {
		o.Codes, why = slices.Clone(g.codes), slices.Clone(g.why)
		if !g.board.calm.IsZero() {
			why[0] = "recovering: " + why[0]
		}
	}
	if slot != nil && slot.level > 0 {
		o.Codes = append(o.Codes, CodeSlow)
		why = append(why, slot.why())
	}
	o.Why = strings.Join(why, "; ")
}

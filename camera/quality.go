package camera

import (
	"slices"
	"time"
)

// Facts about a frame's fitness, as Quality names them. They are told beside an answer, or instead of one; they never become a class.
const (
	Black        = "black"        // hardly any light anywhere
	Covered      = "covered"      // light but no structure: something is before the lens
	NoSignal     = "no-signal"    // not what a lens sees: the flat colour of an empty decoder or input, or snow
	Frozen       = "frozen"       // the same picture for a while: no camera's noise repeats itself, or stops
	Overexposed  = "overexposed"  // most of it is at the end of the scale
	Underexposed = "underexposed" // even its brightest parts are dark
	Blurred      = "blurred"      // no edge in it is sharp: out of focus, dirt, condensation
	Moved        = "moved"        // what stands still in the scene is lastingly elsewhere: the camera was turned or pushed
	Stale        = "stale"        // it was old when its inference began
)

// Limits at which a fact begins and ends; apart, so that a frame near a limit does not make it flap.
const (
	blackMean, blackMeanEnd     = 16, 22
	blackLit, blackLitEnd       = 0.01, 0.02
	darkMean, darkMeanEnd       = 36, 44
	darkLit, darkLitEnd         = 0.05, 0.10
	brightShare, brightShareEnd = 0.60, 0.50
	flatSpread, flatSpreadEnd   = 6, 9
	flatGradient, flatEnd       = 1.5, 2.5
)

// Quality tells cheap facts about the frames of one camera, in order. The zero value is ready. It is not safe for concurrent use.
//
// Time is the frames' own (At), so that a recording of a day can be judged in seconds. What one frame proves is told at once;
// what only time shows (frozen, blurred, moved) is told when it has lasted, see the files named after it.
type Quality struct {
	black, dark, bright, covered bool

	grid, before *grid // of this frame and of the one before it
	input        input
	sharp        sharpness
	cover        cover
	frozen       frozen
	scene        scene
	lag          lag

	holds [9]bool // in the order of factNames
	facts []string
}

// factNames are in the order in which facts are told: the worst first.
var factNames = [9]string{Black, Covered, NoSignal, Frozen, Overexposed, Underexposed, Blurred, Moved, Stale}

// Assess names what is wrong with f: nil when nothing is. Frames of a live source are compared with those before them; pictures
// and frames of a file stand for themselves and are never frozen, moved or stale. The answer is not to be changed.
func (q *Quality) Assess(f *Frame, live bool) []string {
	if f.check() != nil {
		return nil
	}
	if q.grid == nil {
		q.grid, q.before = new(grid), new(grid)
	}
	if !live {
		*q = Quality{grid: q.grid, before: q.before, holds: q.holds, facts: q.facts}
	}
	q.grid, q.before = q.before, q.grid
	m := q.grid.measure(f)
	q.light(m)
	looked := q.sharp.look(f, live)
	q.input.judge(&m, f, &q.sharp, looked)
	none := q.input.none
	blind := q.black || q.covered || none || q.bright || q.dark // nothing can be said about edges and places
	holds := [9]bool{q.black, q.covered && !none, none, false, q.bright, q.dark && !none}
	if live && q.cover.judge(f, q.grid, q.sharp.edges, !blind) {
		holds[1], blind = true, true
	}
	if live {
		holds[3] = q.frozen.judge(f, q.grid, q.before, !blind)
		holds[7] = q.scene.judge(f, q.grid, !blind)
		q.lag.note(f)
	}
	holds[6] = q.sharp.judge(f.At, live, looked && !blind) && !blind
	return q.tell(holds)
}

// tell names what holds; a list is made only when it differs from the last.
func (q *Quality) tell(holds [9]bool) []string {
	if holds == q.holds {
		return q.facts
	}
	q.holds, q.facts = holds, nil
	for i, name := range factNames {
		if holds[i] {
			q.facts = append(q.facts, name)
		}
	}
	q.facts = slices.Clip(q.facts)
	return q.facts
}

// light judges the measures of one frame against the limits of light and structure.
func (q *Quality) light(m Measures) {
	q.black = m.Mean < pick(q.black, blackMean, blackMeanEnd) && m.Lit < pick(q.black, blackLit, blackLitEnd)
	q.bright = m.Bright > pick(q.bright, brightShare, brightShareEnd)
	q.covered = !q.black && !q.bright &&
		m.Spread < pick(q.covered, flatSpread, flatSpreadEnd) && m.Gradient < pick(q.covered, flatGradient, flatEnd)
	q.dark = !q.black && !q.covered && m.Mean < pick(q.dark, darkMean, darkMeanEnd) && m.Lit < pick(q.dark, darkLit, darkLitEnd)
}

// pick is the limit that counts now.
func pick(holds bool, begin, end float64) float64 {
	if holds {
		return end
	}
	return begin
}

// lasting is a fact that begins and ends only when what speaks for it, or against it, has done so for a while.
type lasting struct {
	on    bool
	since time.Time // since when the measure has spoken against on; zero while it agrees
}

// step takes in whether the measure holds in a frame captured at at.
func (l *lasting) step(holds bool, at time.Time, begin, end time.Duration) bool {
	after := begin
	if l.on {
		after = end
	}
	switch {
	case holds == l.on:
		l.since = time.Time{}
	case l.since.IsZero():
		l.since = at
	}
	if !l.since.IsZero() && at.Sub(l.since) >= after {
		*l = lasting{on: holds}
	}
	return l.on
}

package camera

import (
	"math"
	"slices"
	"testing"
	"time"
)

// shade is a thing with shades of its own before the lens: ±20 % over the picture.
func shade(w, h int) func(x, y int) int {
	return func(x, y int) int {
		return int(100 * (1 + 0.12*math.Sin(3.8*float64(x)/float64(w)+1) + 0.10*math.Sin(3.4*float64(y)/float64(h))))
	}
}

// TestFault_V4_CoveredByAHand: it is told as covered within ten seconds and not as moved, at every noise; and it ends.
func TestFault_V4_CoveredByAHand(t *testing.T) {
	arithmetic(t)
	for _, c := range []struct {
		w, h    int
		sigma   float64
		quality int
	}{{64, 48, 0.5, 0}, {160, 120, 2, 80}, {160, 120, 3, 50}, {96, 72, 8, 0}, {64, 48, 4, 0}} {
		on := false
		hand := shade(c.w, c.h)
		m := &film{w: c.w, h: c.h, fps: 10, sigma: c.sigma, quality: c.quality, over: func(_ float64, x, y int) int {
			if on {
				return hand(x, y)
			}
			return -1
		}}
		m.ready(3, yard(5))
		var q Quality
		mustBeFine(t, &q, m, 40*time.Second)
		for range 2 {
			on = true
			took := until(t, &q, m, Covered, true, 6*time.Second, nil)
			for range 150 {
				if facts := q.Assess(m.next(t), true); !slices.Equal(facts, []string{Covered}) {
					t.Fatalf("%+v: %v; rough %.1f, edges %.3f", c, facts, q.cover.passing, q.sharp.edges)
				}
			}
			on = false
			t.Logf("%+v: covered after %v, over after %v", c, took, until(t, &q, m, Covered, false, 4*time.Second, nil))
			mustBeFine(t, &q, m, 10*time.Second)
		}
	}
}

// TestFault_V4_CoveredAtAnyMoment: a second that began with the scene and ended with the hand, or in which it came, is no smooth one of the scene.
func TestFault_V4_CoveredAtAnyMoment(t *testing.T) {
	arithmetic(t)
	const w, h = 64, 48
	hand := shade(w, h)
	for _, fps := range []float64{2, 5, 10} {
		for begin := 60.0; begin < 61; begin += max(0.1, 1/fps) {
			for _, takes := range []float64{0, 0.7, 2} {
				m := &film{w: w, h: h, fps: fps, sigma: 2, over: func(at float64, x, y int) int {
					if at >= begin && float64(x) <= (at-begin)/max(takes, 1e-9)*w {
						return hand(x, y)
					}
					return -1
				}}
				m.ready(3, yard(5))
				var q Quality
				mustBeFine(t, &q, m, 60*time.Second)
				if took := until(t, &q, m, Covered, true, 10*time.Second, nil); t.Failed() {
					t.Fatalf("%v frames a second, at %.1f s, within %.1f s: not covered after %v; least %.1f", fps, begin, takes, took, q.cover.least)
				}
			}
		}
	}
}

// TestFault_V4_WhatIsNotCovered: pictures without an edge that belong to the scene.
func TestFault_V4_WhatIsNotCovered(t *testing.T) {
	arithmetic(t)
	const w, h = 64, 48
	belt := shade(w, h)
	for name, over := range map[string]func(t float64, x, y int) int{
		"an empty belt between boxes": func(at float64, x, y int) int {
			if math.Mod(at, 5) < 2 {
				return belt(x, y)
			}
			return -1
		},
		"an empty belt for long, with boxes at times": func(at float64, x, y int) int {
			if at < 60 || math.Mod(at, 60) > 5 {
				return belt(x, y)
			}
			return -1
		},
		"a wall lit from the side": func(_ float64, x, y int) int { return belt(x, y) },
		"a seam":                   func(_ float64, x, y int) int { return belt(x, y) - 30*b2i(y > 70) },
	} {
		m := &film{w: w, h: h, fps: 10, sigma: 2, over: over}
		m.ready(3, yard(5))
		var q Quality
		for range 5 * 600 {
			if facts := q.Assess(m.next(t), true); slices.Contains(facts, Covered) {
				t.Fatalf("%s: after %.1f s: %v", name, float64(m.n)/m.fps, facts)
			}
		}
	}
}

// A lens out of focus, be it far, shows what it shows.
func TestFault_V4_OutOfFocusIsNotCovered(t *testing.T) {
	m := yardOf(film{sigma: 1})
	var q Quality
	mustBeFine(t, &q, m, 40*time.Second)
	for range 200 {
		f := *m.next(t)
		f.Pix = slices.Clone(f.Pix)
		unfocused(&f, 6)
		if facts := q.Assess(&f, true); slices.Contains(facts, Covered) {
			t.Fatalf("%v; rough %.1f", facts, q.cover.rough(q.grid.veil))
		}
	}
}

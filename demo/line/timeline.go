package line

import (
	"image"
	"math"
	"sync"
	"time"
)

// How a bottle passes: it slides in, rests while it is looked at, and the next one pushes it out.
const (
	slide     = 280 * time.Millisecond
	restMin   = 1100 * time.Millisecond
	restRange = 500 * time.Millisecond
	atStation = 8  // bottles before the camera looks at another station
	creep     = 14 // pixels a second while at rest: nothing alive stands quite still
	keptPlans = 1 << 16
	programme = 1004 // so chosen that seed 1 begins with something of everything, and with no bottle that the model mistakes (docs/demo-model.md)
)

// plan is one bottle's visit. It slides in from start on, rests from start+slide, and ends where the next begins.
type plan struct {
	start, end time.Duration // since the timeline's zero
	class      Class
	seed       uint64
	station    uint64
	rest       float64 // where it comes to rest, pixels
	belt       float64 // how far the belt had moved before, pixels
}

// crept is how far the bottle and the belt have crept on since the bottle came to rest.
func (p *plan) crept(since time.Duration) float64 {
	return creep * max(0, since-p.start-slide).Seconds()
}

// timeline is the line's programme: a function of seed and time alone, worked out as far as it was asked for.
type timeline struct {
	mu      sync.Mutex
	d       dice
	plans   []plan
	dropped int // plans forgotten from the front
}

func newTimeline(seed uint64) *timeline { return &timeline{d: newDice(seed, programme)} }

// at returns the visit at a time and the one before it (nil at the beginning, or when forgotten).
func (t *timeline) at(since time.Duration) (now, before *plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.extend(since)
	lo, hi := 0, len(t.plans)-1
	for lo < hi {
		if mid := (lo + hi + 1) / 2; t.plans[mid].start <= since {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	p := t.plans[lo]
	if lo == 0 {
		return &p, nil
	}
	q := t.plans[lo-1]
	return &p, &q
}

func (t *timeline) extend(since time.Duration) {
	for len(t.plans) == 0 || t.plans[len(t.plans)-1].end <= since {
		p := plan{class: OK}
		if n := len(t.plans); n > 0 {
			last := &t.plans[n-1]
			p.start, p.belt = last.end, last.belt+Width+last.crept(last.end)
		}
		n := t.dropped + len(t.plans)
		if t.d.one(.6) { // about two in five are good, the rest share what is left
			p.class = Classes()[1+t.d.IntN(3)]
		}
		if n > 0 && p.class != OK && p.class == t.plans[len(t.plans)-1].class {
			p.class = OK // the same fault twice would look like a picture that stands still
		}
		p.end = p.start + slide + restMin + time.Duration(t.d.in(0, float64(restRange)))
		p.seed, p.rest = t.d.Uint64(), Width*t.d.in(.43, .55)
		p.station = t.d.Uint64()
		if n%atStation != 0 {
			p.station = t.plans[len(t.plans)-1].station
		}
		t.plans = append(t.plans, p)
		if len(t.plans) > keptPlans {
			t.plans, t.dropped = append([]plan(nil), t.plans[keptPlans/2:]...), t.dropped+keptPlans/2
		}
	}
}

// class says what stood before the camera during the whole of [from, to], or false where it changed or moved.
func (t *timeline) class(from, to time.Duration) (Class, bool) {
	p, _ := t.at(to)
	if from < p.start+slide || from < 0 {
		return 0, false
	}
	return p.class, true
}

// stage keeps what the last frame was drawn from: the station and the two newest bottles.
type stage struct {
	timeline *timeline
	id       uint64
	station  *Station
	bottles  map[uint64]*Bottle
}

// draw draws the line as it is at a time.
func (g *stage) draw(dst *image.RGBA, since time.Duration) {
	p, before := g.timeline.at(since)
	if g.station == nil || g.id != p.station {
		g.id, g.station, g.bottles = p.station, NewStation(p.station), map[uint64]*Bottle{}
	}
	t := float64(since-p.start) / float64(slide)
	in := 1 - max(0, 1-t)*max(0, 1-t) // slows down as it arrives
	shake := 1.2 * math.Sin(since.Seconds()*41)
	x := p.rest - Width*(1-in) + p.crept(since) + shake
	v := View{Belt: int(p.belt + Width*in + p.crept(since)), Noise: uint64(since), Light: float32(1 + .05*math.Sin(since.Seconds()*.7))}
	v.Bottles = append(v.Bottles, Placed{g.bottle(p), int(x)})
	if before != nil && in < 1 {
		v.Bottles = append(v.Bottles, Placed{g.bottle(before), int(before.rest + before.crept(before.end) + Width*in)})
	}
	for seed := range g.bottles {
		if seed != p.seed && (before == nil || seed != before.seed) {
			delete(g.bottles, seed)
		}
	}
	g.station.Render(dst, v)
}

func (g *stage) bottle(p *plan) *Bottle {
	b := g.bottles[p.seed]
	if b == nil {
		b = NewBottle(p.seed, p.class)
		g.bottles[p.seed] = b
	}
	return b
}

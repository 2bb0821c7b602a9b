package camera

import (
	"math"
	"time"
)

// Moved: what stands still in the scene is lastingly elsewhere. Each of 16×12 cells has a direction: how the logarithm of luma, averaged over
// a second, rises to its right and lower neighbour. Light that grows or fades as a whole leaves it as it is, and what passes within a second
// hardly touches it. A view is learned over a minute; cells with a clear direction that stayed the same are its landmarks.
//
// The camera was moved when 60 % of the landmarks differ for 10 seconds in a row: somebody who walks through the picture, or stands in it,
// hides fewer. (A lorry parked before the lens does not: that is told.) It was moved back when no more than 35 % differ for 3 seconds.
// After 5 minutes the new view is learned instead, and the fact ends. The last three views are remembered, and a return
// to any is no move: a camera on a motor, or day and night with lamps, is told once. Without 24 landmarks there is no opinion: fog, a bare wall,
// a camera on a vehicle. Shifts of less than about half a cell (20 pixels of 640) are not noticed.
const (
	landmarksLeast = 24
	landmark       = 0.05 // of the logarithm of luma, between neighbours: 5 % contrast
	learnSeconds   = 60
	followSeconds  = 600 // over which a known view follows slow shadows
	otherPlace     = 0.75
	movedShare     = 0.60
	movedShareEnd  = 0.35
	movedAfter     = 10 * time.Second
	movedEndAfter  = 3 * time.Second
	adoptAfter     = 5 * time.Minute
	keptViews      = 3
)

// place is how luma rises to the right and downward of a cell.
type place struct{ right, down float32 }

// view is a scene as it was learned.
type view struct {
	places  [cells]place
	waver   [cells]float32 // mean deviation
	seconds int            // learned; known from learnSeconds on
}

// scene judges whether the camera was moved.
type scene struct {
	now   second
	views [keptViews]view
	at    int // the view that is taken for the present one
	moved lasting
	away  time.Time // since when moved is told
}

func (s *scene) judge(f *Frame, g *grid, fit bool) bool {
	full, ok := s.now.add(f.At, g, fit)
	if !ok {
		s.moved.since = time.Time{}
	}
	if full {
		s.second(f.At)
		s.now.begin(f.At)
	}
	return s.moved.on
}

// second compares one second's mean picture with the views that are known.
func (s *scene) second(at time.Time) {
	var now [cells]place
	s.places(&now)
	v := &s.views[s.at]
	if v.seconds < learnSeconds {
		v.learn(&now)
		return
	}
	was := s.moved.on
	away := v.differs(&now)
	if away > pick(was, movedShare, movedShareEnd) {
		if k := s.known(&now); k >= 0 {
			s.at, s.moved = k, lasting{}
			return
		}
		if s.moved.step(true, at, movedAfter, movedEndAfter); s.moved.on && !was {
			s.away = at
		}
	} else {
		s.moved.step(false, at, movedAfter, movedEndAfter)
		if away < movedShareEnd {
			v.learn(&now)
		}
	}
	if s.moved.on && at.Sub(s.away) >= adoptAfter {
		s.at = (s.at + 1) % keptViews
		s.views[s.at], s.moved = view{}, lasting{}
	}
}

// known is a view that the present second belongs to; −1 is none.
func (s *scene) known(now *[cells]place) int {
	for i := range s.views {
		if i != s.at && s.views[i].seconds >= learnSeconds && s.views[i].differs(now) <= movedShareEnd {
			return i
		}
	}
	return -1
}

// places makes the directions of this second's mean picture. The last column and row have no neighbour and no direction.
func (s *scene) places(now *[cells]place) {
	var logs [cells]float32
	for c, sum := range s.now.lumas {
		logs[c] = float32(math.Log(float64(sum/float32(s.now.n)) + 4)) // black has noise, and no logarithm
	}
	for y := range cellRows - 1 {
		for x := range cellCols - 1 {
			c := y*cellCols + x
			now[c] = place{logs[c+1] - logs[c], logs[c+cellCols] - logs[c]}
		}
	}
}

func (v *view) learn(now *[cells]place) {
	v.seconds++
	span := learnSeconds
	if v.seconds > learnSeconds {
		span = followSeconds
	}
	k := 1 / float32(min(v.seconds, span))
	for c := range cells {
		p := &v.places[c]
		r, d := now[c].right-p.right, now[c].down-p.down
		if v.seconds > 1 {
			v.waver[c] += (hypot(r, d) - v.waver[c]) * k
		}
		p.right += r * k
		p.down += d * k
	}
}

// differs is the share of landmarks that are not where they were; 0 without enough of them.
func (v *view) differs(now *[cells]place) float64 {
	landmarks, other := 0, 0
	for c, p := range v.places {
		size := hypot(p.right, p.down)
		if size < landmark || v.waver[c] > size/3 {
			continue
		}
		landmarks++
		if hypot(now[c].right-p.right, now[c].down-p.down) > otherPlace*size {
			other++
		}
	}
	if landmarks < landmarksLeast {
		return 0
	}
	return float64(other) / float64(landmarks)
}

func hypot(a, b float32) float32 { return float32(math.Sqrt(float64(a*a + b*b))) }

package camera

import "time"

// Blur. An edge is a run of 16 pixels (at a width of 640; of wider frames every second, third … pixel) across which green changes by
// more than the noise explains. A sharp lens makes that change within two or three pixels, a blurred one over all sixteen. So the
// share of the change that lies in its steepest two pixels is a measure of sharpness that does not depend on what the scene shows,
// how much of it, or how bright: 1 is a knife's edge, 0.3 a Gaussian blur of 2.7 pixels, 0.13 a ramp with no edge in it. It is
// averaged over all edges found, larger ones for more. Noise would look like sharpness: its share is estimated from the quietest
// quarter of the runs and taken off. Where fewer than 3 % of the runs cross an edge (a wall, fog) there is no opinion: what was told stays.
//
// A live camera is blurred when it is below blurLive and below blurShare of the best that this camera has shown lately: a
// scene of soft shapes is its own best and no alarm. The price: a camera that was never sharp is not told.
// A picture has no past: it is blurred below blurPicture alone, so a picture of nothing but soft shapes is called blurred.
const (
	run       = 16 // steps
	runsDown  = 24 // rows of runs across, 24 to a row
	runsRight = 16 // columns of runs down, 12 to a column
	perRow    = 24
	perColumn = 12
	maxRuns   = runsDown*perRow + runsRight*perColumn

	blurPicture, blurPictureEnd = 0.25, 0.30
	blurLive, blurLiveEnd       = 0.36, 0.42
	blurShare, blurShareEnd     = 0.60, 0.75
	fewEdges                    = 0.03
	blurAfter, blurEndAfter     = 3 * time.Second, time.Second // an autofocus hunts for a second or two
	lookEvery                   = 200 * time.Millisecond       // blur does not come and go faster
	bestAfter                   = 15                           // looks, before the best so far is a measure
)

// sharpness judges blur.
type sharpness struct {
	lookedAt time.Time
	steep    float64 // of the newest look: share of an edge in its steepest two pixels
	edges    float64 // … share of runs that cross an edge
	fine     float64 // … mean difference of neighbouring pixels
	coarse   float64 // … mean difference of pixels a run apart
	best     float64 // slow maximum of steep
	looks    int
	blurred  lasting
}

// look measures f; for a live camera a few times a second, which is what it answers.
func (s *sharpness) look(f *Frame, live bool) bool {
	if live && !s.lookedAt.IsZero() {
		if d := f.At.Sub(s.lookedAt); d >= 0 && d < lookEvery {
			return false
		}
	}
	s.lookedAt = f.At
	var runs runs
	runs.take(f)
	s.steep, s.edges, s.fine, s.coarse = runs.judge()
	return true
}

// judge says whether the camera is blurred; fresh, that there is a new look and light enough to believe it.
func (s *sharpness) judge(at time.Time, live, fresh bool) bool {
	clear := s.edges < fewEdges
	switch {
	case !fresh || live && clear:
	case !live:
		s.blurred.on = !clear && s.steep < pick(s.blurred.on, blurPicture, blurPictureEnd)
	default:
		if !s.blurred.on {
			s.learn()
		}
		soft := s.looks >= bestAfter && s.steep < pick(s.blurred.on, blurLive, blurLiveEnd) &&
			s.steep < s.best*pick(s.blurred.on, blurShare, blurShareEnd)
		s.blurred.step(soft, at, blurAfter, blurEndAfter)
	}
	return s.blurred.on
}

// learn follows the best: up within seconds, down over half an hour or so, for a scene or a lens may change for good.
func (s *sharpness) learn() {
	s.looks++
	switch {
	case s.looks <= bestAfter:
		s.best += (s.steep - s.best) / float64(s.looks)
	case s.steep > s.best:
		s.best += (s.steep - s.best) / 20
	default:
		s.best += (s.steep - s.best) / 10000
	}
}

// runs are the samples of one look.
type runs struct {
	n            int
	change       [maxRuns]uint8 // highest less lowest
	steepest     [maxRuns]uint8 // over two steps
	rough        [1024]uint16   // how many runs have a sum of second differences of so many quarters
	fine, coarse int
}

// take samples runs across and down, on a regular grid; those that a mask touches are left out.
func (r *runs) take(f *Frame) {
	unit := max(1, (f.Width+320)/640)
	if length := run*unit + 1; f.Width >= length {
		for j := range runsDown {
			y := (2*j + 1) * f.Height / (2 * runsDown)
			row := f.Pix[y*f.Stride:][:3*f.Width]
			for i := range perRow {
				if x := i * (f.Width - length) / (perRow - 1); !f.hides(rect{x, y, x + length, y + 1}) {
					r.add(row[3*x+1:], 3*unit)
				}
			}
		}
	}
	if length := run*unit + 1; f.Height >= length {
		for i := range runsRight {
			x := (2*i + 1) * f.Width / (2 * runsRight)
			for j := range perColumn {
				if y := j * (f.Height - length) / (perColumn - 1); !f.hides(rect{x, y, x + 1, y + length}) {
					r.add(f.Pix[y*f.Stride+3*x+1:], f.Stride*unit)
				}
			}
		}
	}
}

// add takes in the run of samples p[0], p[step] … p[16·step].
func (r *runs) add(p []byte, step int) {
	p = p[: run*step+1 : run*step+1]
	a, b := int(p[0]), int(p[step])
	low, high, steepest, rough, fine := min(a, b), max(a, b), 0, 0, abs(b-a)
	for k := 2 * step; k < len(p); k += step {
		c := int(p[k])
		low, high = min(low, c), max(high, c)
		steepest = max(steepest, abs(c-a))
		rough += abs(c - 2*b + a)
		fine += abs(c - b)
		a, b = b, c
	}
	r.change[r.n], r.steepest[r.n] = uint8(high-low), uint8(steepest)
	r.rough[min(rough/4, len(r.rough)-1)]++
	r.n++
	r.fine += fine
	r.coarse += abs(b - int(p[0]))
}

// judge makes one look of the runs.
func (r *runs) judge() (steep, edges, fine, coarse float64) {
	if r.n == 0 {
		return 0, 0, 0, 0
	}
	quiet, quarter := 0, r.n/4
	for quiet < len(r.rough)-1 && quarter >= int(r.rough[quiet]) {
		quarter -= int(r.rough[quiet])
		quiet++
	}
	noise := float64(quiet) * 4 / (run - 1) / 1.95 // of a Gaussian, second differences have a mean of 1.95 σ
	least := uint8(min(255, 24+6*noise))
	var change, steepest float64
	found := 0
	for i, c := range r.change[:r.n] {
		if c >= least {
			found++
			change += float64(c) - 3*noise
			steepest += max(0, float64(r.steepest[i])-2.2*noise)
		}
	}
	n := float64(r.n)
	return steepest / max(1, change), float64(found) / n, float64(r.fine) / n / run, float64(r.coarse) / n
}

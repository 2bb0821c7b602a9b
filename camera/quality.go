package camera

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"time"
)

// Facts about a frame's fitness, as Quality names them.
const (
	Black       = "black"       // hardly any light anywhere
	Overexposed = "overexposed" // most of it is at the end of the scale
	Covered     = "covered"     // light but no structure: something lies on the lens
	Frozen      = "frozen"      // the very same pixels for a while: no camera's noise repeats itself
)

// Measures of a frame, from a grid of at most 64×48 points. Luma is 0 to 255.
type Measures struct {
	Mean     float64 // of luma
	Spread   float64 // standard deviation of luma
	Gradient float64 // mean difference of luma between neighbours on the grid, across and down
	Bright   float64 // share of points at luma 250 or more
	Lit      float64 // share of points at luma 48 or more
}

// The limits at which a fact begins and ends; apart, so that a frame near a limit does not make it flap.
const (
	blackMean, blackMeanEnd     = 16, 22
	blackLit, blackLitEnd       = 0.01, 0.02
	brightShare, brightShareEnd = 0.60, 0.50
	flatSpread, flatSpreadEnd   = 6, 9
	flatGradient, flatEnd       = 1.5, 2.5
	frozenAfter                 = 5 * time.Second
)

// Quality tells cheap facts about the frames of one camera, in order. The zero value is ready. It is not safe for concurrent use.
type Quality struct {
	black, bright, covered bool
	seed                   maphash.Seed
	hash                   uint64
	since                  time.Time // capture of the first frame with this hash
	seen                   bool
}

// Assess names what is wrong with f: nil when nothing is. Frames of a live source are compared with those before them; pictures
// and frames of a file stand for themselves and are never frozen.
func (q *Quality) Assess(f *Frame, live bool) []string {
	if f.check() != nil {
		return nil
	}
	if !live {
		*q = Quality{}
	}
	m := Measure(f)
	q.black = m.Mean < pick(q.black, blackMean, blackMeanEnd) && m.Lit < pick(q.black, blackLit, blackLitEnd)
	q.bright = m.Bright > pick(q.bright, brightShare, brightShareEnd)
	q.covered = !q.black && !q.bright &&
		m.Spread < pick(q.covered, flatSpread, flatSpreadEnd) && m.Gradient < pick(q.covered, flatGradient, flatEnd)
	var facts []string
	for _, fact := range [...]struct {
		holds bool
		name  string
	}{{q.black, Black}, {q.bright, Overexposed}, {q.covered, Covered}, {live && q.frozen(f), Frozen}} {
		if fact.holds {
			facts = append(facts, fact.name)
		}
	}
	return facts
}

func pick(holds bool, begin, end float64) float64 {
	if holds {
		return end
	}
	return begin
}

// frozen compares every fourth row, whole, with the frame before.
func (q *Quality) frozen(f *Frame) bool {
	if !q.seen {
		q.seed = maphash.MakeSeed()
	}
	h := uint64(f.Width)
	for y := 0; y < f.Height; y += 4 {
		row := f.Pix[y*f.Stride:][:3*f.Width]
		h = h*0x9e3779b97f4a7c15 + maphash.Bytes(q.seed, row)
	}
	if !q.seen || h != q.hash {
		q.seen, q.hash, q.since = true, h, f.At
	}
	return f.At.Sub(q.since) > frozenAfter
}

// Measure takes the measures of f. Each point is the mean of 2×2 pixels, so that noise counts for less than structure.
func Measure(f *Frame) Measures {
	if f.Width == 1 {
		f = f.doubled()
	}
	cols, rows := min(64, max(1, f.Width/2)), min(48, max(1, f.Height/2))
	var columns, above [64]int
	for i := range columns[:cols] {
		columns[i] = 3 * (i * (f.Width - 1) / cols) // always a pixel left of the last
	}
	var sum, squares, gradient, bright, lit int
	for j := range rows {
		y := j * (f.Height - 1) / rows
		upper := f.Pix[y*f.Stride:][:3*f.Width]
		lower := f.Pix[min(y+1, f.Height-1)*f.Stride:][:3*f.Width]
		left := 0
		for i, at := range columns[:cols] {
			l := luma(upper[at:at+6:at+6], lower[at:at+6:at+6])
			sum, squares = sum+l, squares+l*l
			if i > 0 {
				gradient += abs(l - left)
			}
			if j > 0 {
				gradient += abs(l - above[i])
			}
			if l >= 250 {
				bright++
			}
			if l >= 48 {
				lit++
			}
			left, above[i] = l, l
		}
	}
	n := float64(cols * rows)
	mean := float64(sum) / n
	return Measures{
		Mean:     mean,
		Spread:   math.Sqrt(max(0, float64(squares)/n-mean*mean)),
		Gradient: float64(gradient) / max(1, float64((cols-1)*rows+cols*(rows-1))),
		Bright:   float64(bright) / n,
		Lit:      float64(lit) / n,
	}
}

// luma is that of 2×2 pixels, two in each row of 6 bytes. Blue and red are summed in one word, 16 bits apart.
func luma(upper, lower []byte) int {
	const blueRed = 0xff00ff
	a, b := binary.LittleEndian.Uint32(upper), binary.LittleEndian.Uint32(upper[2:])>>8
	c, d := binary.LittleEndian.Uint32(lower), binary.LittleEndian.Uint32(lower[2:])>>8
	br := a&blueRed + b&blueRed + c&blueRed + d&blueRed
	g := a>>8&0xff + b>>8&0xff + c>>8&0xff + d>>8&0xff
	return int((29*(br&0xffff) + 150*g + 77*(br>>16)) >> 10)
}

// doubled is a frame one pixel wide, twice.
func (f *Frame) doubled() *Frame {
	wide := &Frame{Width: 2, Height: f.Height, Stride: 6, Pix: make([]byte, 0, 6*f.Height)}
	for y := range f.Height {
		p := f.Pix[y*f.Stride:][:3]
		wide.Pix = append(append(wide.Pix, p...), p...)
	}
	return wide
}

func abs(x int) int { return max(x, -x) }

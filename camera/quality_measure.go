package camera

import (
	"encoding/binary"
	"math"
	"time"
)

const (
	gridCols, gridRows = 64, 48 // points at most, evenly over the frame
	cellCols, cellRows = 16, 12 // cells of points, for what is judged place by place
	cells              = cellCols * cellRows
	maxPoints          = gridCols * gridRows
)

// Measures of a frame, from a grid of at most 64×48 points. Luma is 0 to 255.
type Measures struct {
	Mean     float64 // of luma
	Spread   float64 // standard deviation of luma
	Gradient float64 // mean difference of luma between neighbours on the grid, across and down
	Bright   float64 // share of points at luma 250 or more
	Lit      float64 // share of points at luma 48 or more
	Dead     float64 // share of points in the green of an empty YUV buffer, as were several before them in the row
}

// grid is what is kept of a frame to compare the next one with it.
type grid struct {
	cols, rows    int
	width, height int              // of the frame
	luma          [maxPoints]uint8 // of 2×2 pixels each
	green         [maxPoints]uint8 // of one pixel: averaging would hide the noise
	dead          int              // points
	veil          *veil            // what masks hide; nil: nothing
	laidVeil      *veil            // the one that was laid out last

	laid    [2]int          // the size that place and perCell are for
	place   [gridCols]uint8 // the cell column of each grid column
	perCell [cells]uint16   // points
	mean    [cells]float32  // of luma
}

// celled says whether the frame is large enough to be judged place by place.
func (g *grid) celled() bool { return g.cols >= 2*cellCols && g.rows >= 2*cellRows }

// alike says whether two grids are of frames of one size.
func (g *grid) alike(o *grid) bool { return g.width == o.width && g.height == o.height }

// Measure takes the measures of f. Each point is the mean of 2×2 pixels, so that noise counts for less than structure.
func Measure(f *Frame) Measures { return new(grid).measure(f) }

func (g *grid) measure(f *Frame) Measures {
	width := f.Width
	if f.Width == 1 {
		f = f.doubled()
	}
	cols, rows := min(gridCols, max(1, f.Width/2)), min(gridRows, max(1, f.Height/2))
	g.cols, g.rows, g.width, g.height = cols, rows, width, f.Height
	g.dead = 0
	var columns [gridCols]int
	for i := range columns[:cols] {
		columns[i] = 3 * (i * (f.Width - 1) / cols) // always a pixel left of the last
	}
	g.veil = g.veilOf(f, columns[:cols])
	for j := range rows {
		y := j * (f.Height - 1) / rows
		upper := f.Pix[y*f.Stride:][:3*f.Width]
		lower := f.Pix[min(y+1, f.Height-1)*f.Stride:][:3*f.Width]
		g.row(j, columns[:cols], upper, lower)
	}
	if g.veil != nil {
		g.fill()
	}
	m := g.sum()
	if g.celled() {
		g.divide()
	}
	return m
}

// deadRun is how many alike points in a row are no chance: in green light with noise, neighbours are alike now and then.
const deadRun = 6

// row samples one row of points.
func (g *grid) row(j int, columns []int, upper, lower []byte) {
	lumas, greens := g.luma[j*g.cols:][:len(columns)], g.green[j*g.cols:][:len(columns)]
	left, alike := uint8(0), 0
	for i, at := range columns {
		a, b := upper[at:at+6:at+6], lower[at:at+6:at+6]
		l := luma(a, b)
		lumas[i], greens[i] = l, a[1]
		if a[0]|a[2] < 4 && a[1] > 40 && a[1] < 180 && l-left+1 <= 2 {
			if alike++; alike > deadRun {
				g.dead++
			}
		} else {
			alike = 0
		}
		left = l
	}
}

// totals are sums over points.
type totals struct{ n, pairs, sum, squares, gradient, bright, lit int }

// sum makes the measures of the sampled points.
func (g *grid) sum() Measures {
	var t totals
	if g.veil == nil {
		t = g.all()
	} else {
		t = g.measured()
	}
	n := float64(t.n)
	mean := float64(t.sum) / n
	return Measures{
		Mean:     mean,
		Spread:   math.Sqrt(max(0, float64(t.squares)/n-mean*mean)),
		Gradient: float64(t.gradient) / float64(max(1, t.pairs)),
		Bright:   float64(t.bright) / n,
		Lit:      float64(t.lit) / n,
		Dead:     float64(g.dead) / n,
	}
}

// all adds up every point.
func (g *grid) all() totals {
	cols := g.cols
	var sum, squares, gradient, bright, lit int
	for j := range g.rows {
		row := g.luma[j*cols:][:cols]
		above := row
		if j > 0 {
			above = g.luma[(j-1)*cols:][:cols]
		}
		left := int(row[0])
		for i, v := range row {
			l := int(v)
			sum, squares = sum+l, squares+l*l
			gradient += abs(l-left) + abs(l-int(above[i]))
			bright += (l + 6) >> 8 // 250 or more
			lit += (l + 208) >> 8  // 48 or more
			left = l
		}
	}
	return totals{n: cols * g.rows, pairs: (cols-1)*g.rows + cols*(g.rows-1), sum: sum, squares: squares, gradient: gradient, bright: bright, lit: lit}
}

// second sums the cells' luma over a second.
type second struct {
	lumas [cells]float32
	n     int // frames
	began time.Time
}

// add takes in a frame captured at at. Where it does not go on from the one before, or is not fit, another second begins and ok is false.
// full: there is a whole second, to be used and then begun anew.
func (s *second) add(at time.Time, g *grid, fit bool) (full, ok bool) {
	d := at.Sub(s.began)
	if !fit || !g.celled() || s.began.IsZero() || d < 0 || d > time.Minute {
		s.begin(at)
		return false, false
	}
	s.n++
	for c, m := range g.mean {
		s.lumas[c] += m
	}
	return d >= secondLong && s.n >= secondLeast, true
}

func (s *second) begin(at time.Time) {
	s.began, s.n = at, 0
	clear(s.lumas[:])
}

// layOut says to which cell each point belongs.
func (g *grid) layOut() {
	clear(g.perCell[:])
	for i := range g.cols {
		g.place[i] = uint8(i * cellCols / g.cols)
	}
	for j := range g.rows {
		for i := range g.cols {
			g.perCell[j*cellRows/g.rows*cellCols+int(g.place[i])]++
		}
	}
}

// divide averages the points of each cell.
func (g *grid) divide() {
	var sums [cells]int
	if size := [2]int{g.cols, g.rows}; g.laid != size {
		g.layOut()
		g.laid = size
	}
	for j := range g.rows {
		base := j * cellRows / g.rows * cellCols
		row := sums[base:][:cellCols]
		for i, l := range g.luma[j*g.cols:][:g.cols] {
			row[g.place[i]&(cellCols-1)] += int(l)
		}
	}
	for c, s := range sums {
		g.mean[c] = float32(s) / float32(g.perCell[c])
	}
}

// luma is that of 2×2 pixels, two in each row of 6 bytes. Blue and red are summed in one word, 16 bits apart.
func luma(upper, lower []byte) uint8 {
	const blueRed = 0xff00ff
	a, b := binary.LittleEndian.Uint32(upper), binary.LittleEndian.Uint32(upper[2:])>>8
	c, d := binary.LittleEndian.Uint32(lower), binary.LittleEndian.Uint32(lower[2:])>>8
	br := a&blueRed + b&blueRed + c&blueRed + d&blueRed
	g := a>>8&0xff + b>>8&0xff + c>>8&0xff + d>>8&0xff
	return uint8((29*(br&0xffff) + 150*g + 77*(br>>16)) >> 10)
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

package camera

// Masked: what a mask made black is no part of the picture, so nothing is judged by it. Without that a dark border would be the structure and the
// sharp edge of a picture that has neither any more, and half a picture in black could never be overexposed. Points of the grid under
// a mask are left out of the measures; for what is judged cell by cell each takes the value of the nearest point that is seen, which adds
// neither edge nor noise.

// veil says which points of a grid lie under masks.
type veil struct {
	masked []rect // of the frame it was laid out for
	hidden [maxPoints]bool
	seen   int         // points that are not hidden
	from   []pointPair // where each hidden point takes its value from
	blind  [cells]bool // cells without a point that is seen
}

type pointPair struct{ to, from uint16 }

// veilOf is the one for f's masks, laid out anew only when they are others; nil where nothing or everything is masked.
func (g *grid) veilOf(f *Frame, columns []int) *veil {
	if len(f.masked) == 0 {
		return nil
	}
	v := g.laidVeil
	if v == nil || len(v.masked) != len(f.masked) || &v.masked[0] != &f.masked[0] {
		v = &veil{masked: f.masked}
		v.layOut(f, columns, g.rows)
		g.laidVeil = v
	}
	if v.seen == 0 {
		return nil
	}
	return v
}

func (v *veil) layOut(f *Frame, columns []int, rows int) {
	cols := len(columns)
	source := make([]int, cols*rows) // the point that stands for it; −1: not known yet
	var queue []int
	for j := range rows {
		y := j * (f.Height - 1) / rows
		for i, at := range columns {
			p := j*cols + i
			if f.hides(rect{at / 3, y, at/3 + 2, y + 2}) {
				v.hidden[p], source[p] = true, -1
				continue
			}
			source[p] = p
			queue = append(queue, p)
		}
	}
	v.seen = len(queue)
	for ; len(queue) > 0; queue = queue[1:] { // from the seen ones outward: the nearest comes first
		p := queue[0]
		for _, q := range [4]int{p - 1, p + 1, p - cols, p + cols} {
			beside := q/cols == p/cols || q%cols == p%cols // else it is in the next row
			if q >= 0 && q < len(source) && beside && source[q] < 0 {
				source[q] = source[p]
				queue = append(queue, q)
			}
		}
	}
	for p, from := range source {
		if v.hidden[p] && from >= 0 {
			v.from = append(v.from, pointPair{uint16(p), uint16(from)})
		}
	}
	v.cells(cols, rows)
}

func (v *veil) cells(cols, rows int) {
	for c := range v.blind {
		v.blind[c] = true
	}
	for j := range rows {
		for i := range cols {
			if !v.hidden[j*cols+i] {
				v.blind[j*cellRows/rows*cellCols+i*cellCols/cols] = false
			}
		}
	}
}

// fill gives the hidden points their values.
func (g *grid) fill() {
	for _, p := range g.veil.from {
		g.luma[p.to], g.green[p.to] = g.luma[p.from], g.green[p.from]
	}
}

// measured is what the points that are seen add up to.
func (g *grid) measured() (t totals) {
	for j := range g.rows {
		for i := range g.cols {
			p := j*g.cols + i
			if g.veil.hidden[p] {
				continue
			}
			l := int(g.luma[p])
			t.n++
			t.sum, t.squares = t.sum+l, t.squares+l*l
			t.bright += (l + 6) >> 8
			t.lit += (l + 208) >> 8
			if i > 0 && !g.veil.hidden[p-1] {
				t.gradient += abs(l - int(g.luma[p-1]))
				t.pairs++
			}
			if j > 0 && !g.veil.hidden[p-g.cols] {
				t.gradient += abs(l - int(g.luma[p-g.cols]))
				t.pairs++
			}
		}
	}
	return t
}

// sees says whether cell c shows something of the picture.
func (v *veil) sees(c int) bool { return v == nil || !v.blind[c] }

// hides says whether a mask covers a pixel of r.
func (f *Frame) hides(r rect) bool {
	for _, m := range f.masked {
		if r.x0 < m.x1 && m.x0 < r.x1 && r.y0 < m.y1 && m.y0 < r.y1 {
			return true
		}
	}
	return false
}

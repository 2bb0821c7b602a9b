package inference

import (
	"encoding/binary"
	"math"
)

// linear is OpenCV's INTER_LINEAR for 8-bit pictures, bit for bit: half-pixel centres, repeated edges, 11-bit weights; a horizontal pass
// whose sums of 19 bits lose their last 4, and a vertical pass that drops 16 and then 2 more (imgproc/src/resize.cpp: HResizeLinear, VResizeLinear).
type linear struct {
	cols []column
	fast int // columns whose 8 bytes at ofs lie within the row
	rows []rowPair
	sum  [2][]uint16 // horizontal sums of two source rows, without their last 4 bits …
	have [2]int      // … and which rows they are; −1 is none
	sw   int
}

// column is a destination column: where its left pixel begins in a row, and both weights in one factor, right | left << 24.
//
// One multiplication weighs both pixels of a channel. Eight bytes at ofs are B0 G0 R0 B1 G1 R1 …, so with mask 0xff0000ff the word is
// B0 | B1<<24, and its product with the factor is B0·right | (B0·left + B1·right)<<24 | B1·left<<48: nothing overlaps, since a sum has 19 bits.
type column struct {
	factor uint64
	ofs    int
}

type rowPair struct {
	s0, s1 int
	b0, b1 uint32
}

const (
	one       = 2048 // both weights together
	twoPixels = 0xff | 0xff<<24
	sumShift  = 24 + 4
)

// newLinear prepares tables. area asks for the coefficients that OpenCV's INTER_AREA uses where it enlarges.
func newLinear(sw, sh, dw, dh int, area bool) *linear {
	l := &linear{sw: sw, cols: make([]column, dw), rows: make([]rowPair, dh)}
	for x := range l.cols {
		s, f := sourceOf(x, sw, dw, area)
		if s < 0 {
			s, f = 0, 0
		}
		if s >= sw-1 {
			s, f = sw-1, 0
		}
		w0, w1 := weights(f)
		l.cols[x] = column{uint64(w1) | uint64(w0)<<24, 3 * s}
		if 3*s+8 <= 3*sw {
			l.fast = x + 1
		}
	}
	for y := range l.rows {
		s, f := sourceOf(y, sh, dh, area)
		w0, w1 := weights(f)
		r := rowPair{min(max(s, 0), sh-1), min(max(s+1, 0), sh-1), w0, w1}
		if w1 == 0 {
			r.s1 = r.s0 // saves a horizontal pass
		}
		l.rows[y] = r
	}
	l.sum[0], l.sum[1] = make([]uint16, 3*dw), make([]uint16, 3*dw)
	l.begin()
	return l
}

// sourceOf is the source pixel left of destination pixel d, and how far d lies to the right of it, as OpenCV rounds it
// (every product is rounded by a conversion, so that arm64 does not fuse it with the sum).
func sourceOf(d, sn, dn int, area bool) (int, float32) {
	inv := float64(dn) / float64(sn)
	scale := 1 / inv
	if area {
		s := int(math.Floor(float64(d) * scale))
		f := float32(float64(d+1) - float64(float64(s+1)*inv))
		if f <= 0 {
			return s, 0
		}
		return s, f - float32(math.Floor(float64(f)))
	}
	f := float32(float64((float64(d)+0.5)*scale) - 0.5)
	s := math.Floor(float64(f))
	return int(s), f - float32(s)
}

func weights(f float32) (left, right uint32) {
	return uint32(math.RoundToEven(float64((1 - f) * one))), uint32(math.RoundToEven(float64(f * one)))
}

func (l *linear) begin() { l.have = [2]int{-1, -1} }

func (l *linear) line(dst, src []byte, stride, y int) {
	r := &l.rows[y]
	if l.have[1] == r.s0 { // the lower row of the last line is often the upper row of this one
		l.sum[0], l.sum[1] = l.sum[1], l.sum[0]
		l.have[0], l.have[1] = l.have[1], l.have[0]
	}
	if l.have[0] != r.s0 {
		l.horizontal(l.sum[0], src[r.s0*stride:][:3*l.sw])
		l.have[0] = r.s0
	}
	if r.s1 == r.s0 {
		vertical(dst, l.sum[0], l.sum[0], r.b0, r.b1)
		return
	}
	if l.have[1] != r.s1 {
		l.horizontal(l.sum[1], src[r.s1*stride:][:3*l.sw])
		l.have[1] = r.s1
	}
	vertical(dst, l.sum[0], l.sum[1], r.b0, r.b1)
}

func (l *linear) horizontal(dst []uint16, row []byte) {
	for x := range l.cols[:l.fast] {
		c := &l.cols[x]
		weigh(dst[3*x:3*x+3:3*x+3], row[c.ofs:c.ofs+8:c.ofs+8], c.factor)
	}
	for x := l.fast; x < len(l.cols); x++ { // the last pixels of the row
		c := &l.cols[x]
		var p [8]byte
		copy(p[:], row[c.ofs:])
		weigh(dst[3*x:3*x+3:3*x+3], p[:], c.factor)
	}
}

// weigh makes the three sums of one column.
func weigh(dst []uint16, row []byte, factor uint64) {
	p := binary.LittleEndian.Uint64(row)
	dst[0] = uint16(p & twoPixels * factor >> sumShift)
	dst[1] = uint16(p >> 8 & twoPixels * factor >> sumShift)
	dst[2] = uint16(p >> 16 & twoPixels * factor >> sumShift)
}

// vertical mixes two rows of sums.
func vertical(dst []byte, s0, s1 []uint16, b0, b1 uint32) {
	s0, s1 = s0[:len(dst)], s1[:len(dst)]
	for x := range dst {
		dst[x] = byte((uint32(s0[x])*b0>>16 + uint32(s1[x])*b1>>16 + 2) >> 2)
	}
}

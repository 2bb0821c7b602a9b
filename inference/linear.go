package inference

import (
	"encoding/binary"
	"math"
)

// linear is OpenCV's INTER_LINEAR for 8-bit pictures, bit for bit: 11-bit coefficients, half-pixel centres, edges repeated,
// a horizontal pass into 19 bits and a vertical pass that drops 4, 16 and 2 bits (imgproc/src/resize.cpp, HResizeLinear and VResizeLinear).
//
// The three channels of a pixel are computed at once in one 64-bit word: 19 bits hold a channel's horizontal sum (255 · 2048),
// so blue lies at bit 0, green at 19, red at 38, and the vertical product of 26 bits fits for blue and red together.
type linear struct {
	cols []column
	fast int // columns whose 8 bytes at ofs lie within the row
	rows []rowPair
	sum  [2][]uint64 // horizontal sums of two source rows …
	have [2]int      // … and which rows they are; −1 is none
	sw   int
}

type column struct {
	ofs    uint32 // byte offset of the left pixel
	a0, a1 uint16 // weights of the left and the right pixel, 2048 together
}

type rowPair struct {
	s0, s1 int
	b0, b1 uint64
}

const (
	lane1, lane2 = 19, 38
	one          = 2048
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
		l.cols[x] = column{uint32(3 * s), uint16(w0), uint16(w1)}
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
	l.sum[0], l.sum[1] = make([]uint64, dw), make([]uint64, dw)
	l.begin()
	return l
}

// sourceOf is the source pixel left of destination pixel d, and how far d lies to the right of it, as OpenCV rounds it.
func sourceOf(d, sn, dn int, area bool) (int, float32) {
	inv := float64(dn) / float64(sn)
	scale := 1 / inv
	if area {
		s := int(math.Floor(float64(d) * scale))
		f := float32(float64(d+1) - float64(s+1)*inv)
		if f <= 0 {
			return s, 0
		}
		return s, f - float32(math.Floor(float64(f)))
	}
	f := float32((float64(d)+0.5)*scale - 0.5)
	s := math.Floor(float64(f))
	return int(s), f - float32(s)
}

func weights(f float32) (uint64, uint64) {
	return uint64(math.RoundToEven(float64((1 - f) * one))), uint64(math.RoundToEven(float64(f * one)))
}

func (l *linear) begin() { l.have = [2]int{-1, -1} }

func (l *linear) line(dst []uint32, src []byte, stride, y int) {
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

// spread puts three bytes into the lanes.
func spread(p uint64) uint64 {
	return p&0xff | p&0xff00<<(lane1-8) | p&0xff0000<<(lane2-16)
}

func (l *linear) horizontal(dst []uint64, row []byte) {
	cols := l.cols[:len(dst)]
	for x := range cols[:l.fast] {
		c := &cols[x]
		p := binary.LittleEndian.Uint64(row[c.ofs:])
		dst[x] = spread(p)*uint64(c.a0) + spread(p>>24)*uint64(c.a1)
	}
	for x := l.fast; x < len(cols); x++ { // the last pixels of the row
		c := &cols[x]
		p := row[c.ofs:]
		left := uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16
		right := uint64(0) // its weight is 0 where there is none
		if len(p) >= 6 {
			right = uint64(p[3]) | uint64(p[4])<<8 | uint64(p[5])<<16
		}
		dst[x] = spread(left)*uint64(c.a0) + spread(right)*uint64(c.a1)
	}
}

// vertical mixes two rows of sums: ((b0·(s0>>4))>>16 + (b1·(s1>>4))>>16 + 2) >> 2 in each lane.
func vertical(dst []uint32, s0, s1 []uint64, b0, b1 uint64) {
	const (
		sums     = 0x7fff | 0x7fff<<lane2 // blue and red, after the first shift
		products = 0x3ff | 0x3ff<<lane2   // … and after the second
		half     = 2 | 2<<lane2
	)
	s0, s1 = s0[:len(dst)], s1[:len(dst)]
	for x := range dst {
		u, v := s0[x], s1[x]
		br := (u>>4&sums*b0)>>16&products + (v>>4&sums*b1)>>16&products + half
		g := (u>>(lane1+4)&0x7fff*b0)>>16 + (v>>(lane1+4)&0x7fff*b1)>>16 + 2
		dst[x] = uint32(br>>2&0xff | g>>2<<8 | br>>(lane2+2-16)&0xff0000)
	}
}

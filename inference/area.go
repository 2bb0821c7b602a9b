package inference

import "math"

// area is OpenCV's INTER_AREA where it shrinks: every source pixel counts as much as it covers of the destination pixel.
type area struct {
	cols, rows [][]cover // of each destination column and row
	sum, buf   []float32 // three channels a pixel
	block      float32   // for whole-numbered ratios: 1 / pixels a block; else 0
	fx, fy     int       // … and the block's sides
}

// cover is the share of source pixel s in a destination pixel.
type cover struct {
	s     int
	share float32
}

func newArea(sw, sh, dw, dh int) *area {
	a := &area{cols: covers(sw, dw), rows: covers(sh, dh), sum: make([]float32, 3*dw), buf: make([]float32, 3*dw)}
	if sw%dw == 0 && sh%dh == 0 {
		a.fx, a.fy = sw/dw, sh/dh
		a.block = 1 / float32(a.fx*a.fy)
	}
	return a
}

// covers is OpenCV's computeResizeAreaTab.
func covers(sn, dn int) [][]cover {
	scale := 1 / (float64(dn) / float64(sn))
	out := make([][]cover, dn)
	for d := range out {
		from := float64(float64(d) * scale)
		to := from + scale
		cell := math.Min(scale, float64(sn)-from)
		s1, s2 := int(math.Ceil(from)), int(math.Floor(to))
		s2 = min(s2, sn-1)
		s1 = min(s1, s2)
		if float64(s1)-from > 1e-3 {
			out[d] = append(out[d], cover{s1 - 1, float32((float64(s1) - from) / cell)})
		}
		for s := s1; s < s2; s++ {
			out[d] = append(out[d], cover{s, float32(1 / cell)})
		}
		if to-float64(s2) > 1e-3 {
			out[d] = append(out[d], cover{s2, float32(math.Min(math.Min(to-float64(s2), 1), cell) / cell)})
		}
	}
	return out
}

func (a *area) begin() {}

func (a *area) line(dst, src []byte, stride, y int) {
	if a.block != 0 {
		a.blocks(dst, src, stride, y)
		return
	}
	clear(a.sum)
	for _, r := range a.rows[y] {
		a.horizontal(src[r.s*stride:])
		for i, v := range a.buf {
			a.sum[i] += float32(r.share * v)
		}
	}
	for i, v := range a.sum {
		dst[i] = toByte(v)
	}
}

// horizontal sums in the order and with the roundings of OpenCV; the outer conversions keep the compiler from fusing a product
// with its sum, as it would on arm64.
func (a *area) horizontal(row []byte) {
	for d, covers := range a.cols {
		var b, g, r float32
		for _, c := range covers {
			p := row[3*c.s : 3*c.s+3 : 3*c.s+3]
			b += float32(float32(p[0]) * c.share)
			g += float32(float32(p[1]) * c.share)
			r += float32(float32(p[2]) * c.share)
		}
		q := a.buf[3*d : 3*d+3 : 3*d+3]
		q[0], q[1], q[2] = b, g, r
	}
}

func (a *area) blocks(dst, src []byte, stride, y int) {
	for x := range len(dst) / 3 {
		var b, g, r uint32
		for j := range a.fy {
			p := src[(y*a.fy+j)*stride+3*x*a.fx:][:3*a.fx]
			for i := 0; i+2 < len(p); i += 3 {
				b, g, r = b+uint32(p[i]), g+uint32(p[i+1]), r+uint32(p[i+2])
			}
		}
		q := dst[3*x : 3*x+3 : 3*x+3]
		q[0], q[1], q[2] = a.mean(b), a.mean(g), a.mean(r)
	}
}

// mean rounds as OpenCV does: half up for blocks of 2 × 2, else half to even.
func (a *area) mean(sum uint32) byte {
	if a.fx == 2 && a.fy == 2 {
		return byte((sum + 2) >> 2)
	}
	return toByte(float32(sum) * a.block)
}

// toByte rounds half to even, as OpenCV's saturate_cast does.
func toByte(v float32) byte {
	return byte(min(max(math.RoundToEven(float64(v)), 0), 255))
}

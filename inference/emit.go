package inference

import "math"

// emitter writes a row of resized pixels (BGR) into the tensor, from column x on.
type emitter interface {
	row(y, x int, pixels []byte)
}

type element interface{ uint8 | int8 | float32 }

func newEmitter(in *Input, t *Tensor) emitter {
	switch t.DType {
	case Uint8:
		return emitterFor(in, t.U8, func(real float64) uint8 { return uint8(quantise(in.Quant, real, 0, 255)) })
	case Int8:
		return emitterFor(in, t.I8, func(real float64) int8 { return int8(quantise(in.Quant, real, -128, 127)) })
	}
	return emitterFor(in, t.F32, func(real float64) float32 { return float32(real) })
}

// quantise is q = clamp(round(real / scale) + zero point); without a quantisation the value itself.
func quantise(q *Quant, real float64, least, most float64) float64 {
	if q != nil {
		real = math.RoundToEven(real/q.Scale) + float64(q.ZeroPoint)
	}
	return min(max(real, least), most)
}

func emitterFor[T element](in *Input, dst []T, convert func(float64) T) emitter {
	e := target[T]{dst: dst, w: in.Width, plane: in.Width * in.Height, rgb: in.Color != "BGR"}
	for c := range in.Channels() {
		e.table[c] = new([256]T)
		for v := range e.table[c] {
			e.table[c][v] = convert(in.normal(c, v))
		}
	}
	if in.Color == "GRAY" {
		return &gray[T]{e}
	}
	if in.Layout == "NCHW" {
		return &planar[T]{e}
	}
	return &packed[T]{e}
}

// normal is (pixel − mean) / std of channel c.
func (in *Input) normal(c, pixel int) float64 {
	real := float64(pixel)
	if in.Mean != nil {
		real -= in.Mean[c]
	}
	if in.Std != nil {
		real /= in.Std[c]
	}
	return real
}

// target is a tensor with the table of each of its channels.
type target[T element] struct {
	dst      []T
	w, plane int
	table    [3]*[256]T
	rgb      bool // channel 0 is red
}

type planar[T element] struct{ target[T] }

func (e *planar[T]) row(y, x int, pixels []byte) {
	n, at := len(pixels)/3, y*e.w+x
	d0, d1, d2 := e.dst[at:][:n], e.dst[e.plane+at:][:n], e.dst[2*e.plane+at:][:n]
	t0, t1, t2 := e.table[0], e.table[1], e.table[2]
	if e.rgb {
		d0, d2, t0, t2 = d2, d0, t2, t0
	}
	for i := range d0 {
		p := pixels[3*i : 3*i+3 : 3*i+3]
		d0[i], d1[i], d2[i] = t0[p[0]], t1[p[1]], t2[p[2]]
	}
}

type packed[T element] struct{ target[T] }

func (e *packed[T]) row(y, x int, pixels []byte) {
	d := e.dst[3*(y*e.w+x):][:len(pixels)]
	t0, t1, t2 := e.table[0], e.table[1], e.table[2]
	for i := 0; i+2 < len(d); i += 3 {
		p, q := pixels[i:i+3:i+3], d[i:i+3:i+3]
		first, last := p[0], p[2]
		if e.rgb {
			first, last = last, first
		}
		q[0], q[1], q[2] = t0[first], t1[p[1]], t2[last]
	}
}

type gray[T element] struct{ target[T] }

// row weighs the colours as OpenCV's COLOR_BGR2GRAY does.
func (e *gray[T]) row(y, x int, pixels []byte) {
	d := e.dst[y*e.w+x:][:len(pixels)/3]
	t := e.table[0]
	for i := range d {
		p := pixels[3*i : 3*i+3 : 3*i+3]
		d[i] = t[uint8((uint32(p[0])*3735+uint32(p[1])*19235+uint32(p[2])*9798+1<<14)>>15)]
	}
}

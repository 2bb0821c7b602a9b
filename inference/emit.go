package inference

import "math"

// emitter writes a row of resized pixels (0x00RRGGBB) into the tensor.
type emitter interface {
	row(y, x int, pixels []uint32)
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
	e := target[T]{dst: dst, w: in.Width, plane: in.Width * in.Height, shift: [3]uint{16, 8, 0}}
	for c := range in.Channels() {
		e.table[c] = new([256]T)
		for v := range e.table[c] {
			e.table[c][v] = convert(in.normal(c, v))
		}
	}
	switch {
	case in.Color == "GRAY":
		return &gray[T]{e}
	case in.Color == "BGR":
		e.shift = [3]uint{0, 8, 16}
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

// target is a tensor with the table of each of its channels and the place of the channel in a pixel.
type target[T element] struct {
	dst      []T
	w, plane int
	table    [3]*[256]T
	shift    [3]uint
}

type planar[T element] struct{ target[T] }

func (e *planar[T]) row(y, x int, pixels []uint32) {
	for c := range 3 {
		d := e.dst[c*e.plane+y*e.w+x:][:len(pixels)]
		t, s := e.table[c], e.shift[c]&31
		for i, p := range pixels {
			d[i] = t[uint8(p>>s)]
		}
	}
}

type packed[T element] struct{ target[T] }

func (e *packed[T]) row(y, x int, pixels []uint32) {
	d := e.dst[3*(y*e.w+x):][:3*len(pixels)]
	t0, t1, t2 := e.table[0], e.table[1], e.table[2]
	s0, s2 := e.shift[0]&31, e.shift[2]&31
	for i, p := range pixels {
		q := d[3*i : 3*i+3 : 3*i+3]
		q[0], q[1], q[2] = t0[uint8(p>>s0)], t1[uint8(p>>8)], t2[uint8(p>>s2)]
	}
}

type gray[T element] struct{ target[T] }

// row weighs the colours as OpenCV's COLOR_BGR2GRAY does.
func (e *gray[T]) row(y, x int, pixels []uint32) {
	d := e.dst[y*e.w+x:][:len(pixels)]
	t := e.table[0]
	for i, p := range pixels {
		d[i] = t[uint8((p&0xff*3735+p>>8&0xff*19235+p>>16&0xff*9798+1<<14)>>15)]
	}
}

package tflite

import (
	"encoding/binary"
	"math"
	"slices"

	"heron/inference"
)

// The smallest writer of TFLite files that the tests need. Every table stands before what it refers to, so that offsets lead forward.

type writer struct{ b []byte }

// child writes something and returns its position.
type child func(w *writer) int

// fields are a table's, by number: byte, int32, float32 or child.
type fields map[int]any

// pad makes the position plus ahead a multiple of n.
func (w *writer) pad(n, ahead int) {
	for (len(w.b)+ahead)%n != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *writer) u32(v uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, v) }

// link writes a child and the offset to it at a position.
func (w *writer) link(at int, c child) {
	to := c(w) // first: it moves w.b
	binary.LittleEndian.PutUint32(w.b[at:], uint32(to-at))
}

func table(f fields) child {
	return func(w *writer) int {
		most := -1
		for n := range f {
			most = max(most, n)
		}
		w.pad(4, 0)
		vtable := len(w.b)
		w.b = binary.LittleEndian.AppendUint16(w.b, uint16(4+2*(most+1)))
		w.b = binary.LittleEndian.AppendUint16(w.b, uint16(4+4*len(f)))
		next := uint16(4)
		for n := range most + 1 {
			at := uint16(0)
			if _, ok := f[n]; ok {
				at, next = next, next+4
			}
			w.b = binary.LittleEndian.AppendUint16(w.b, at)
		}
		w.pad(4, 0)
		start := len(w.b)
		w.u32(uint32(start - vtable))
		links := map[int]child{}
		for n := range most + 1 {
			switch v := f[n].(type) {
			case byte:
				w.u32(uint32(v))
			case int32:
				w.u32(uint32(v))
			case float32:
				w.u32(math.Float32bits(v))
			case child:
				links[len(w.b)] = v
				w.u32(0)
			}
		}
		for at := start; at < start+4+4*len(f); at += 4 {
			if c := links[at]; c != nil {
				w.link(at, c)
			}
		}
		return start
	}
}

func list(cs ...child) child {
	return func(w *writer) int {
		w.pad(4, 0)
		start := len(w.b)
		w.u32(uint32(len(cs)))
		w.b = append(w.b, make([]byte, 4*len(cs))...)
		for i, c := range cs {
			w.link(start+4+4*i, c)
		}
		return start
	}
}

// array is a vector of numbers, aligned as TFLite wants the data of buffers.
func array[T byte | int32 | int64 | float32](v ...T) child {
	return func(w *writer) int {
		w.pad(16, 4)
		start := len(w.b)
		w.u32(uint32(len(v)))
		w.b = append(w.b, bytesOfAll(v)...)
		return start
	}
}

// data is the same numbers as a buffer has them: a vector of bytes.
func data[T byte | int32 | float32](v ...T) child { return array(bytesOfAll(v)...) }

func bytesOfAll(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err)
	}
	return b
}

func str(s string) child {
	return func(w *writer) int {
		start := array([]byte(s)...)(w)
		w.b = append(w.b, 0)
		return start
	}
}

func file(model child) []byte {
	w := &writer{b: []byte("\x00\x00\x00\x00TFL3")}
	w.link(0, model)
	return w.b
}

var kinds = map[inference.DType]byte{inference.Float32: 0, inference.Uint8: 3, inference.Int8: 9} // read only

// graph collects what a model consists of.
type graph struct {
	tensors, buffers, ops, codes []child
	in, out                      []int32
}

// tensor adds one and returns its number; values nil: the runtime fills it.
func (g *graph) tensor(name string, kind byte, shape []int32, values child, q *inference.Quant) int32 {
	f := fields{0: array(shape...), 1: kind, 3: str(name)}
	if values != nil {
		g.buffers = append(g.buffers, table(fields{0: values}))
		f[2] = int32(len(g.buffers))
	}
	if q != nil {
		f[4] = table(fields{2: array(float32(q.Scale)), 3: array(int64(q.ZeroPoint))})
	}
	g.tensors = append(g.tensors, table(f))
	return int32(len(g.tensors) - 1)
}

// op adds an operator; options is the number of its options' type in the union, 0 for none.
func (g *graph) op(code fields, in, out []int32, options byte, values fields) {
	g.codes = append(g.codes, table(code))
	f := fields{0: int32(len(g.codes) - 1), 1: array(in...), 2: array(out...)}
	if options != 0 {
		f[3], f[4] = options, table(values)
	}
	g.ops = append(g.ops, table(f))
}

func builtin(code byte, version int32) fields { return fields{0: code, 2: version, 3: int32(code)} }

func (g *graph) file() []byte {
	sub := table(fields{0: list(g.tensors...), 1: array(g.in...), 2: array(g.out...), 3: list(g.ops...), 4: str("main")})
	return file(table(fields{0: int32(3), 1: list(g.codes...), 2: list(sub), 3: str("test"), 4: list(append([]child{table(nil)}, g.buffers...)...)}))
}

func spec(in, out inference.DType) *inference.Spec {
	s := &inference.Spec{Labels: []string{"ok", "scratched", "empty"}, Input: inference.Input{Width: 6, Height: 4, Layout: "NHWC", DType: in, Std: []float64{255, 255, 255}},
		Output: inference.Output{Kind: "probabilities", DType: out}}
	s.Input.Quant, s.Output.Quant = quantOf(in, 1.0/255), quantOf(out, 1.0/256)
	return s
}

func quantOf(t inference.DType, scale float64) *inference.Quant {
	switch t {
	case inference.Uint8:
		return &inference.Quant{Scale: scale}
	case inference.Int8:
		return &inference.Quant{Scale: scale, ZeroPoint: -128}
	}
	return nil
}

func shapeOf(s *inference.Spec) []int32 {
	var shape []int32
	for _, d := range s.Input.Shape() {
		shape = append(shape, int32(d))
	}
	return shape
}

// classifier fits a spec of one element type: mean of each channel → 3×3 matrix → softmax.
func classifier(s *inference.Spec) []byte {
	g := &graph{}
	t := s.Input.DType
	kind, weights := kinds[t], []float32{3, -1, -2, -1, 4, -2, -3, -1, 5}
	in := g.tensor("input", kind, shapeOf(s), nil, s.Input.Quant)
	axes := g.tensor("axes", 2, []int32{2}, data[int32](1, 2), nil)
	mean := g.tensor("mean", kind, []int32{1, 3}, nil, s.Input.Quant)
	filled, wq, lq, version := data(weights...), (*inference.Quant)(nil), (*inference.Quant)(nil), []int32{1, 1, 1}
	if t != inference.Float32 {
		zero := map[inference.DType]int{inference.Uint8: 128}[t]
		wq, lq = &inference.Quant{Scale: .05, ZeroPoint: zero}, &inference.Quant{Scale: .1, ZeroPoint: zero}
		var b []byte
		for _, x := range weights {
			b = append(b, byte(int(x*20)+zero))
		}
		filled = data(b...)
		if t == inference.Int8 {
			version = []int32{2, 4, 2}
		}
	}
	w := g.tensor("w", kind, []int32{3, 3}, filled, wq)
	logits := g.tensor("logits", kind, []int32{1, 3}, nil, lq)
	scores := g.tensor("scores", kind, []int32{1, 3}, nil, s.Output.Quant)
	g.op(builtin(40, version[0]), []int32{in, axes}, []int32{mean}, 27, fields{0: byte(0)})
	g.op(builtin(9, version[1]), []int32{mean, w, -1}, []int32{logits}, 8, fields{})
	g.op(builtin(25, version[2]), []int32{logits}, []int32{scores}, 9, fields{0: float32(1)})
	g.in, g.out = []int32{in}, []int32{scores}
	return g.file()
}

// compiled is a model of one custom operator, as edgetpu_compiler writes them.
func compiled(s *inference.Spec) []byte {
	g := &graph{}
	in := g.tensor("input", kinds[s.Input.DType], shapeOf(s), nil, s.Input.Quant)
	out := g.tensor("scores", kinds[s.Output.Type()], []int32{1, int32(len(s.Labels))}, nil, s.Output.Quant)
	g.op(fields{0: byte(32), 1: str("edgetpu-custom-op"), 2: int32(1), 3: int32(32)}, []int32{in}, []int32{out}, 0, nil)
	g.in, g.out = []int32{in}, []int32{out}
	return g.file()
}

func modelOf(name string, s *inference.Spec, b []byte) inference.Model {
	return inference.Model{File: name, Bytes: slices.Clone(b), Spec: s}
}

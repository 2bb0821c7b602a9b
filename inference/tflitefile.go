package inference

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// edgeTPUOp is the one operator of a model that was compiled for the Edge TPU.
const edgeTPUOp = "edgetpu-custom-op"

const (
	customOp       = 32      // BuiltinOperator.CUSTOM
	maxTFLiteDims  = 8       // more than any classifier has
	maxActivations = 1 << 30 // bytes that a model's intermediate tensors may declare in all
)

// TFLite is what Heron reads of a TFLite file itself, before a runtime sees it.
type TFLite struct {
	Inputs, Outputs []TFLiteTensor // of the first subgraph
	Custom          []string       // names of the custom operators
}

// Compiled says that the model is one for the Edge TPU.
func (m *TFLite) Compiled() bool { return slices.Contains(m.Custom, edgeTPUOp) }

// TFLiteTensor is an input or output.
type TFLiteTensor struct {
	Name  string
	Kind  byte   // TensorType
	Shape []int  // −1 is open
	Quant *Quant // nil: none, or one a channel
}

// ElementSize is in bytes, 0 where Heron does not care.
func (t *TFLiteTensor) ElementSize() uint64 { return tfliteSize(t.Kind) }

// Type is the manifest's word for the TensorType, or another where Heron does not feed or read it.
func (t *TFLiteTensor) Type() string { return tfliteType(t.Kind) }

func tfliteSize(kind byte) uint64 {
	sizes := []byte{4, 2, 4, 1, 8, 0, 1, 2, 8, 1, 8, 16, 8, 0, 0, 4, 2, 1, 2}
	if int(kind) < len(sizes) {
		return uint64(sizes[kind])
	}
	return 0
}

func tfliteType(kind byte) string {
	switch kind {
	case 0:
		return string(Float32)
	case 3:
		return string(Uint8)
	case 9:
		return string(Int8)
	}
	names := []string{"", "float16", "int32", "", "int64", "string", "bool", "int16", "complex64", "", "float64"}
	if int(kind) < len(names) {
		return names[kind]
	}
	return fmt.Sprintf("TFLite type %d", kind)
}

// ReadTFLite reads a TFLite file. Its errors are refusals: "format", or "budget" for one that declares tensors far larger than a picture's.
func ReadTFLite(b []byte) (*TFLite, error) {
	if len(b) < 8 || string(b[4:8]) != "TFL3" {
		return nil, Refuse(CodeFormat, "fetch or export the model again", "not a TensorFlow Lite file")
	}
	w := flatWalker{r: flatReader{b: b}}
	w.walk()
	switch {
	case w.r.bad:
		return nil, Refuse(CodeFormat, "fetch or export the model again", "not a whole TensorFlow Lite file: an offset leads out of it")
	case w.activations > maxActivations:
		return nil, Refuse(CodeBudget, "fetch or export the model again", "the model's tensors would take more than %d MiB", maxActivations>>20)
	}
	return &w.TFLite, nil
}

// flatWalker goes through the tables of a model.
type flatWalker struct {
	TFLite
	r           flatReader
	filled      []bool // by buffer: it carries data
	activations uint64
}

func (w *flatWalker) walk() {
	r := &w.r
	root := r.follow(0)
	if codes, n := r.vector(root, 1, 4); n > 0 {
		for i := int64(0); i < n && !r.bad; i++ {
			w.operator(r.table(codes, i))
		}
	}
	buffers, n := r.vector(root, 4, 4)
	for i := int64(0); i < n && !r.bad; i++ {
		t := r.table(buffers, i)
		_, size := r.vector(t, 0, 1)
		w.filled = append(w.filled, size > 0 || r.number(t, 1, r.i64) > 1)
	}
	graphs, n := r.vector(root, 2, 4)
	for i := int64(0); i < n && !r.bad; i++ {
		w.subgraph(r.table(graphs, i), i == 0)
	}
	r.bad = r.bad || n == 0
}

func (w *flatWalker) operator(t int64) {
	if w.code(t) == customOp {
		w.Custom = append(w.Custom, w.r.text(t, 1))
	}
}

// code of an OperatorCode.
func (w *flatWalker) code(t int64) int64 {
	r := &w.r
	code := r.number(t, 3, r.i32) // the newer field; small codes stand in both
	return max(code, r.number(t, 0, func(at int64) int64 { return int64(int8(r.u8(at))) }))
}

func (w *flatWalker) subgraph(t int64, first bool) {
	r := &w.r
	tensors, n := r.vector(t, 0, 4)
	for i := int64(0); i < n && !r.bad; i++ {
		w.weigh(r.table(tensors, i))
	}
	if !first {
		return
	}
	list := func(field int64, read func(int64) TFLiteTensor) (out []TFLiteTensor) {
		at, count := r.vector(t, field, 4)
		for i := int64(0); i < count && !r.bad; i++ {
			index := r.i32(at + 4*i)
			if index < 0 || index >= n {
				r.bad = true
				return nil
			}
			out = append(out, read(r.table(tensors, index)))
		}
		return out
	}
	w.Inputs, w.Outputs = list(1, w.input), list(2, w.tensor)
}

// weigh adds up what a tensor that carries no data declares.
func (w *flatWalker) weigh(t int64) {
	r := &w.r
	if buffer := r.number(t, 2, r.u32); buffer >= int64(len(w.filled)) || w.filled[buffer] {
		r.bad = r.bad || buffer >= int64(len(w.filled))
		return
	}
	size := tfliteSize(byte(r.number(t, 1, func(at int64) int64 { return int64(r.u8(at)) })))
	for _, d := range w.shape(t) {
		hi, lo := bits.Mul64(size, uint64(max(d, 0)))
		if size = lo; hi != 0 {
			size = math.MaxInt64
		}
	}
	w.activations = min(w.activations+min(size, math.MaxInt64), math.MaxInt64)
}

func (w *flatWalker) shape(t int64) []int {
	return w.dims(t, 0)
}

// dims are those of a tensor's field 0, the shape, or 7, its signature.
func (w *flatWalker) dims(t, field int64) []int {
	r := &w.r
	first, n := r.vector(t, field, 4)
	if n > maxTFLiteDims {
		r.bad = true
		return nil
	}
	shape := make([]int, n)
	for i := range shape {
		shape[i] = int(r.i32(first + 4*int64(i)))
	}
	return shape
}

// input is a tensor with its open dimensions as −1. The shape has 1 for them and would pass as a picture of one pixel; the batch, which is 1, it may.
func (w *flatWalker) input(t int64) TFLiteTensor {
	in := w.tensor(t)
	if signature := w.dims(t, 7); len(signature) == len(in.Shape) {
		for i := 1; i < len(signature); i++ {
			if signature[i] < 0 {
				in.Shape[i] = -1
			}
		}
	}
	return in
}

func (w *flatWalker) tensor(t int64) TFLiteTensor {
	r := &w.r
	out := TFLiteTensor{Name: r.text(t, 3), Shape: w.shape(t), Kind: byte(r.number(t, 1, func(at int64) int64 { return int64(r.u8(at)) }))}
	if at := r.field(t, 4); at != 0 {
		q := r.follow(at)
		scales, n := r.vector(q, 2, 4)
		zeros, m := r.vector(q, 3, 8)
		if n == 1 && m == 1 {
			out.Quant = &Quant{Scale: r.f32(scales), ZeroPoint: int(r.i64(zeros))}
		}
	}
	return out
}

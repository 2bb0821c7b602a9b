package tflite

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"heron/inference"
)

// edgeTPUOp is the one operator of a model that was compiled for the Edge TPU.
const edgeTPUOp = "edgetpu-custom-op"

const (
	customOp       = 32      // BuiltinOperator.CUSTOM
	maxDims        = 8       // more than any classifier has
	maxActivations = 1 << 30 // bytes that a model's intermediate tensors may declare in all
)

// model is what Heron reads of a TFLite file itself, before a runtime sees it.
type model struct {
	inputs, outputs []tensor
	custom          []string // names of the custom operators
}

// compiled says that the model is one for the Edge TPU.
func (m *model) compiled() bool { return slices.Contains(m.custom, edgeTPUOp) }

// tensor is an input or output of the first subgraph.
type tensor struct {
	name  string
	kind  byte // TensorType
	shape []int
	quant *inference.Quant // nil: none, or one a channel
}

// bytesOf is the size of a TensorType's element, 0 where Heron does not care.
func bytesOf(kind byte) uint64 {
	sizes := []byte{4, 2, 4, 1, 8, 0, 1, 2, 8, 1, 8, 16, 8, 0, 0, 4, 2, 1, 2}
	if int(kind) < len(sizes) {
		return uint64(sizes[kind])
	}
	return 0
}

// typeName is the manifest's word for a TensorType, or a number where Heron does not feed or read the type.
func typeName(kind byte) string {
	switch kind {
	case 0:
		return string(inference.Float32)
	case 3:
		return string(inference.Uint8)
	case 9:
		return string(inference.Int8)
	}
	names := []string{"", "float16", "int32", "", "int64", "string", "bool", "int16", "complex64", "", "float64"}
	if int(kind) < len(names) {
		return names[kind]
	}
	return fmt.Sprintf("TFLite type %d", kind)
}

// readModel reads a TFLite file. Its errors are refusals: "format", or "budget" for one that declares tensors far larger than a picture's.
func readModel(b []byte) (*model, error) {
	if len(b) < 8 || string(b[4:8]) != "TFL3" {
		return nil, inference.Refuse(inference.CodeFormat, "fetch or export the model again", "not a TensorFlow Lite file")
	}
	w := walker{r: reader{b: b}}
	w.walk()
	switch {
	case w.r.bad:
		return nil, inference.Refuse(inference.CodeFormat, "fetch or export the model again", "not a whole TensorFlow Lite file: an offset leads out of it")
	case w.activations > maxActivations:
		return nil, inference.Refuse(inference.CodeBudget, "fetch or export the model again", "the model's tensors would take more than %d MiB", maxActivations>>20)
	}
	return &w.model, nil
}

// walker goes through the tables of a model.
type walker struct {
	model
	r           reader
	filled      []bool // by buffer: it carries data
	activations uint64
}

func (w *walker) walk() {
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

func (w *walker) operator(t int64) {
	r := &w.r
	code := r.number(t, 3, r.i32) // the newer field; small codes stand in both
	if old := r.number(t, 0, func(at int64) int64 { return int64(int8(r.u8(at))) }); old > code {
		code = old
	}
	if code == customOp {
		w.custom = append(w.custom, r.text(t, 1))
	}
}

func (w *walker) subgraph(t int64, first bool) {
	r := &w.r
	tensors, n := r.vector(t, 0, 4)
	for i := int64(0); i < n && !r.bad; i++ {
		w.weigh(r.table(tensors, i))
	}
	if !first {
		return
	}
	list := func(field int64) (out []tensor) {
		at, count := r.vector(t, field, 4)
		for i := int64(0); i < count && !r.bad; i++ {
			index := r.i32(at + 4*i)
			if index < 0 || index >= n {
				r.bad = true
				return nil
			}
			out = append(out, w.tensor(r.table(tensors, index)))
		}
		return out
	}
	w.inputs, w.outputs = list(1), list(2)
}

// weigh adds up what a tensor that carries no data declares.
func (w *walker) weigh(t int64) {
	r := &w.r
	if buffer := r.number(t, 2, r.u32); buffer >= int64(len(w.filled)) || w.filled[buffer] {
		r.bad = r.bad || buffer >= int64(len(w.filled))
		return
	}
	size := bytesOf(byte(r.number(t, 1, func(at int64) int64 { return int64(r.u8(at)) })))
	for _, d := range w.shape(t) {
		hi, lo := bits.Mul64(size, uint64(max(d, 0)))
		if size = lo; hi != 0 {
			size = math.MaxInt64
		}
	}
	w.activations = min(w.activations+min(size, math.MaxInt64), math.MaxInt64)
}

func (w *walker) shape(t int64) []int {
	r := &w.r
	first, n := r.vector(t, 0, 4)
	if n > maxDims {
		r.bad = true
		return nil
	}
	shape := make([]int, n)
	for i := range shape {
		shape[i] = int(r.i32(first + 4*int64(i)))
	}
	return shape
}

func (w *walker) tensor(t int64) tensor {
	r := &w.r
	out := tensor{name: r.text(t, 3), shape: w.shape(t), kind: byte(r.number(t, 1, func(at int64) int64 { return int64(r.u8(at)) }))}
	if at := r.field(t, 4); at != 0 {
		q := r.follow(at)
		scales, n := r.vector(q, 2, 4)
		zeros, m := r.vector(q, 3, 8)
		if n == 1 && m == 1 {
			out.quant = &inference.Quant{Scale: r.f32(scales), ZeroPoint: int(r.i64(zeros))}
		}
	}
	return out
}

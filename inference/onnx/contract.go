package onnx

import (
	"fmt"
	"slices"
	"strings"

	"heron/inference"
)

// binding is what a session is bound to: names and full shapes.
type binding struct {
	input, output     string
	inShape, outShape []int
	inDType, outDType inference.DType
}

// bind checks the file against the manifest: one input that is the manifest's to the letter, the output it names, one value per label.
// A dynamic batch is taken as 1; any other dynamic side of the input is refused, since the manifest's word would be the only one for it.
func bind(g *graph, s *inference.Spec) (*binding, error) {
	in, err := pickInput(g, s)
	if err != nil {
		return nil, err
	}
	out, err := pickOutput(g, s)
	if err != nil {
		return nil, err
	}
	b := &binding{input: in.name, output: out.name, inShape: s.Input.Shape(), inDType: s.Input.DType, outDType: s.Output.Type()}
	b.outShape, err = outputShape(out, len(s.Labels))
	return b, err
}

func pickInput(g *graph, s *inference.Spec) (*value, error) {
	if len(g.inputs) != 1 {
		return nil, refuse(inference.CodeContract, "use a model whose only input is the picture", "the model has %d inputs (%s)", len(g.inputs), inference.QuoteNames(g.inputs, func(p value) string { return p.name }))
	}
	in := &g.inputs[0]
	next := "correct input in manifest.json"
	if s.Input.Name != "" && s.Input.Name != in.name {
		return nil, refuse(inference.CodeContract, next, "the model's input is called %s; the manifest says %q", inference.Quote(in.name), s.Input.Name)
	}
	if typeName(in.dtype) != string(s.Input.DType) {
		return nil, refuse(inference.CodeContract, next, "input %s is %s; the manifest says %s", inference.Quote(in.name), typeName(in.dtype), s.Input.DType)
	}
	want := s.Input.Shape()
	if !sameShape(in.dims, want) {
		if slices.Contains(in.dims[min(1, len(in.dims)):], -1) || !in.shape {
			next = "export the model with a fixed width and height"
		}
		return nil, refuse(inference.CodeContract, next, "input %s has the shape %s; the manifest says %v (%s)", inference.Quote(in.name), shapeName(in), want, s.Input.Layout)
	}
	return in, nil
}

func pickOutput(g *graph, s *inference.Spec) (*value, error) {
	next := "correct output in manifest.json"
	i := 0
	switch {
	case len(g.outputs) == 0:
		return nil, refuse(inference.CodeContract, "export the model again", "the model has no output")
	case s.Output.Name != "":
		i = slices.IndexFunc(g.outputs, func(v value) bool { return v.name == s.Output.Name })
		if i < 0 {
			return nil, refuse(inference.CodeContract, next, "the model has no output %q; it has %s", s.Output.Name, inference.QuoteNames(g.outputs, func(p value) string { return p.name }))
		}
	case len(g.outputs) > 1:
		return nil, refuse(inference.CodeContract, "name one as output.name in manifest.json", "the model has %d outputs (%s)", len(g.outputs), inference.QuoteNames(g.outputs, func(p value) string { return p.name }))
	}
	out := &g.outputs[i]
	if typeName(out.dtype) != string(s.Output.Type()) {
		return nil, refuse(inference.CodeContract, next, "output %s is %s; the manifest says %s", inference.Quote(out.name), typeName(out.dtype), s.Output.Type())
	}
	return out, nil
}

// outputShape fills in what the file leaves open: the batch is 1, and one more open side holds the labels;
// the run on a grey picture, when the slot opens, proves it.
func outputShape(out *value, labels int) ([]int, error) {
	if !out.shape {
		return []int{1, labels}, nil
	}
	shape, open, n := make([]int, len(out.dims)), -1, 1
	for i, d := range out.dims {
		switch {
		case d >= 1<<31 || n > 1<<31:
			return nil, refuse(inference.CodeContract, "use another model", "output %s has the shape %s", inference.Quote(out.name), shapeName(out))
		case d > 0:
			shape[i] = int(d)
		case i == 0:
			shape[i] = 1
		case open < 0:
			shape[i], open = 1, i
		default:
			return nil, refuse(inference.CodeContract, "export the model with a fixed output", "output %s has the shape %s", inference.Quote(out.name), shapeName(out))
		}
		n *= shape[i]
	}
	if open >= 0 && labels%n == 0 {
		shape[open] = labels / n
		n = labels
	}
	if n != labels || len(shape) > 1 && shape[0] != 1 {
		return nil, refuse(inference.CodeLabels, "give the label file that belongs to this model", "output %s has the shape %s, %d values; the label file has %d labels", inference.Quote(out.name), shapeName(out), n, labels)
	}
	return shape, nil
}

// sameShape compares with a dynamic batch taken as 1.
func sameShape(dims []int64, want []int) bool {
	return slices.EqualFunc(dims, want, func(d int64, w int) bool { return d == int64(w) }) ||
		len(dims) == len(want) && dims[0] == -1 && slices.EqualFunc(dims[1:], want[1:], func(d int64, w int) bool { return d == int64(w) })
}

func shapeName(v *value) string {
	if !v.shape {
		return "unknown"
	}
	s := strings.Trim(strings.ReplaceAll(fmt.Sprint(v.dims[:min(len(v.dims), 8)]), "-1", "?"), "[]")
	return "[" + s + "]"
}

// typeName is the manifest's word for a TensorProto.DataType, or the ONNX word where Heron does not read the type.
func typeName(t int) string {
	known := []string{"no tensor", string(inference.Float32), string(inference.Uint8), string(inference.Int8), "uint16", "int16", "int32", "int64", "string", "bool", "float16", "double", "uint32", "uint64"}
	if t < len(known) && t >= 0 {
		return known[t]
	}
	return fmt.Sprintf("ONNX type %d", t)
}

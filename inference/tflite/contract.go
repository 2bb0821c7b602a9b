package tflite

import (
	"fmt"
	"math"
	"slices"

	"heron/inference"
)

// slack is how far two scales may lie apart, as a share: over 255 steps it is about one step.
const slack = 0.005

// bind checks the file against the manifest and says which of its outputs is to be read.
func bind(m *model, s *inference.Spec) (output int, err error) {
	if err := checkInput(m, s); err != nil {
		return 0, err
	}
	output, err = pickOutput(m, s)
	if err != nil {
		return 0, err
	}
	return output, checkOutput(&m.outputs[output], s)
}

func contract(next, format string, args ...any) *inference.Refusal {
	return inference.Refuse(inference.CodeContract, next, format, args...)
}

func checkInput(m *model, s *inference.Spec) error {
	if len(m.inputs) != 1 {
		return contract("use a model whose only input is the picture", "the model has %d inputs (%s)", len(m.inputs), inference.QuoteNames(m.inputs, func(p tensor) string { return p.name }))
	}
	in, next := &m.inputs[0], "correct input in manifest.json"
	if s.Input.Name != "" && s.Input.Name != in.name {
		return contract(next, "the model's input is called %s; the manifest says %q", inference.Quote(in.name), s.Input.Name)
	}
	if typeName(in.kind) != string(s.Input.DType) {
		return contract(next, "input %s is %s; the manifest says %s", inference.Quote(in.name), typeName(in.kind), s.Input.DType)
	}
	if want := s.Input.Shape(); !slices.Equal(in.shape, want) {
		return contract(next+", or export the model with a fixed width and height", "input %s has the shape %v; the manifest says %v (%s)", inference.Quote(in.name), in.shape, want, s.Input.Layout)
	}
	if s.Input.Quant == nil && s.Input.DType == inference.Uint8 {
		return nil // raw pixels
	}
	return checkQuant("input", in, s.Input.DType, s.Input.Quant)
}

func pickOutput(m *model, s *inference.Spec) (int, error) {
	switch {
	case len(m.outputs) == 0:
		return 0, contract("export the model again", "the model has no output")
	case s.Output.Name != "":
		i := slices.IndexFunc(m.outputs, func(t tensor) bool { return t.name == s.Output.Name })
		if i < 0 {
			return 0, contract("correct output in manifest.json", "the model has no output %q; it has %s", s.Output.Name, inference.QuoteNames(m.outputs, func(p tensor) string { return p.name }))
		}
		return i, nil
	case len(m.outputs) > 1:
		return 0, contract("name one as output.name in manifest.json", "the model has %d outputs (%s)", len(m.outputs), inference.QuoteNames(m.outputs, func(p tensor) string { return p.name }))
	}
	return 0, nil
}

func checkOutput(out *tensor, s *inference.Spec) error {
	if typeName(out.kind) != string(s.Output.Type()) {
		return contract("correct output in manifest.json", "output %s is %s; the manifest says %s", inference.Quote(out.name), typeName(out.kind), s.Output.Type())
	}
	n := 1
	for _, d := range out.shape {
		if d < 1 || d > 1<<24 || n > 1<<24 {
			return contract("export the model with a fixed output", "output %s has the shape %v", inference.Quote(out.name), out.shape)
		}
		n *= d
	}
	if n != len(s.Labels) || len(out.shape) > 1 && out.shape[0] != 1 {
		return inference.Refuse(inference.CodeLabels, "give the label file that belongs to this model",
			"output %s has the shape %v, %d values; the label file has %d labels", inference.Quote(out.name), out.shape, n, len(s.Labels))
	}
	return checkQuant("output", out, s.Output.Type(), s.Output.Quant)
}

// checkQuant compares the manifest's quantisation with the file's, where the file has one.
func checkQuant(which string, t *tensor, kind inference.DType, q *inference.Quant) error {
	if kind == inference.Float32 {
		return nil
	}
	if t.quant == nil || t.quant.Scale == 0 {
		if q == nil {
			return contract(fmt.Sprintf(`write %s.quant {"scale":…,"zero_point":…} in manifest.json`, which), "neither the manifest nor the file says how %s %s is quantised", which, inference.Quote(t.name))
		}
		return nil
	}
	next := fmt.Sprintf(`write %s.quant {"scale":%v,"zero_point":%d} in manifest.json`, which, float32(t.quant.Scale), t.quant.ZeroPoint)
	if q == nil {
		return contract(next, "%s %s is quantised, and the manifest does not say how", which, inference.Quote(t.name))
	}
	if math.Abs(q.Scale-t.quant.Scale) <= slack*t.quant.Scale && q.ZeroPoint == t.quant.ZeroPoint {
		return nil
	}
	return contract(next, "%s %s has the scale %v and the zero point %d; the manifest says %v and %d",
		which, inference.Quote(t.name), float32(t.quant.Scale), t.quant.ZeroPoint, q.Scale, q.ZeroPoint)
}

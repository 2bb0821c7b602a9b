package tflite

import (
	"fmt"
	"math"

	"heron/inference"
)

// slack is how far two scales may lie apart, as a share: over 255 steps it is about one step.
const slack = 0.005

// bind checks the file against the manifest and says which of its outputs is to be read.
func bind(m *inference.TFLite, s *inference.Spec) (output int, err error) {
	open, err := inference.FitInput(s, ports(m.Inputs))
	if err != nil {
		return 0, err
	}
	if open {
		return 0, contract("export the model with a fixed batch of 1", "input %s has no fixed batch", inference.Quote(m.Inputs[0].Name))
	}
	if s.Input.Quant != nil || s.Input.DType != inference.Uint8 { // else: raw pixels
		if err := checkQuant("input", &m.Inputs[0], s.Input.DType, s.Input.Quant); err != nil {
			return 0, err
		}
	}
	outs := ports(m.Outputs)
	output, err = inference.PickOutput(s, outs)
	if err != nil {
		return 0, err
	}
	if err := outs[output].Fixed(); err != nil {
		return 0, err
	}
	if _, err := inference.FitOutput(s, &outs[output]); err != nil {
		return 0, err
	}
	return output, checkQuant("output", &m.Outputs[output], s.Output.Type(), s.Output.Quant)
}

func ports(tensors []inference.TFLiteTensor) []inference.Port {
	var out []inference.Port
	for _, t := range tensors {
		p := inference.Port{Name: t.Name, DType: t.Type()}
		for _, d := range t.Shape {
			p.Dims = append(p.Dims, int64(d))
		}
		out = append(out, p)
	}
	return out
}

func contract(next, format string, args ...any) *inference.Refusal {
	return inference.Refuse(inference.CodeContract, next, format, args...)
}

// checkQuant compares the manifest's quantisation with the file's, where the file has one.
func checkQuant(which string, t *inference.TFLiteTensor, kind inference.DType, q *inference.Quant) error {
	if kind == inference.Float32 {
		return nil
	}
	if t.Quant == nil || t.Quant.Scale == 0 {
		if q == nil {
			return contract(fmt.Sprintf(`write %s.quant {"scale":…,"zero_point":…} in manifest.json`, which), "neither the manifest nor the file says how %s %s is quantised", which, inference.Quote(t.Name))
		}
		return nil
	}
	next := fmt.Sprintf(`write %s.quant {"scale":%v,"zero_point":%d} in manifest.json`, which, float32(t.Quant.Scale), t.Quant.ZeroPoint)
	if q == nil {
		return contract(next, "%s %s is quantised, and the manifest does not say how", which, inference.Quote(t.Name))
	}
	if math.Abs(q.Scale-t.Quant.Scale) <= slack*t.Quant.Scale && q.ZeroPoint == t.Quant.ZeroPoint {
		return nil
	}
	return contract(next, "%s %s has the scale %v and the zero point %d; the manifest says %v and %d",
		which, inference.Quote(t.Name), float32(t.Quant.Scale), t.Quant.ZeroPoint, q.Scale, q.ZeroPoint)
}

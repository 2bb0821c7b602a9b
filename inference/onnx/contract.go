package onnx

import "heron/inference"

// binding is what a session is bound to: names and full shapes.
type binding struct {
	input, output     string
	inShape, outShape []int
	inDType, outDType inference.DType
}

// bind checks the file against the manifest. A dynamic batch is taken as 1.
func bind(g *inference.ONNX, s *inference.Spec) (*binding, error) {
	if _, err := inference.FitInput(s, g.Inputs); err != nil {
		return nil, err
	}
	i, err := inference.PickOutput(s, g.Outputs)
	if err != nil {
		return nil, err
	}
	shape, err := inference.FitOutput(s, &g.Outputs[i])
	return &binding{g.Inputs[0].Name, g.Outputs[i].Name, s.Input.Shape(), shape, s.Input.DType, s.Output.Type()}, err
}

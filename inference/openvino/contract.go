package openvino

import (
	"fmt"
	"slices"
	"strings"

	"heron/inference"
)

// port is an input or output of a model as OpenVINO tells it.
type port struct {
	name  string
	dtype string  // a DType where Heron reads it, else OpenVINO's word
	dims  []int64 // −1 is not fixed
	known bool    // how many dimensions there are
}

// checkInput wants one input that is the manifest's to the letter. A batch that is not fixed will be 1 (reshape says so); anything else
// that is not fixed is refused, since OpenVINO would hand out a tensor without memory.
func checkInput(inputs []port, s *inference.Spec) (reshape bool, err error) {
	if len(inputs) != 1 {
		// OpenVINO runs with an input that was never set, on whatever is in its memory.
		return false, inference.Refuse(inference.CodeContract, "use a model whose only input is the picture", "the model has %d inputs (%s)", len(inputs), inference.QuoteNames(inputs, func(p port) string { return p.name }))
	}
	in, want, next := inputs[0], s.Input.Shape(), "correct input in manifest.json"
	switch {
	case s.Input.Name != "" && s.Input.Name != in.name:
		return false, inference.Refuse(inference.CodeContract, next, "the model's input is called %s; the manifest says %q", inference.Quote(in.name), s.Input.Name)
	case in.dtype != string(s.Input.DType):
		return false, inference.Refuse(inference.CodeContract, next, "input %s is %s; the manifest says %s", inference.Quote(in.name), in.dtype, s.Input.DType)
	case sameDims(in.dims, want):
		return false, nil
	case len(in.dims) == len(want) && in.dims[0] == -1 && sameDims(in.dims[1:], want[1:]):
		return true, nil
	case !in.known || slices.Contains(in.dims[min(1, len(in.dims)):], -1):
		next = "export the model with a fixed width and height"
	}
	return false, inference.Refuse(inference.CodeContract, next, "input %s has the shape %s; the manifest says %v (%s)", inference.Quote(in.name), in.shape(), want, s.Input.Layout)
}

// checkOutput wants the manifest's output at outputs[i], with one value per label.
func checkOutput(outputs []port, i int, s *inference.Spec) error {
	next := "correct output in manifest.json"
	switch {
	case len(outputs) == 0:
		return inference.Refuse(inference.CodeContract, "export the model again", "the model has no output")
	case i < 0 || i >= len(outputs):
		return inference.Refuse(inference.CodeContract, next, "the model has no output %q; it has %s", s.Output.Name, inference.QuoteNames(outputs, func(p port) string { return p.name }))
	case s.Output.Name == "" && len(outputs) > 1:
		return inference.Refuse(inference.CodeContract, "name one as output.name in manifest.json", "the model has %d outputs (%s)", len(outputs), inference.QuoteNames(outputs, func(p port) string { return p.name }))
	}
	out := outputs[i]
	if out.dtype != string(s.Output.Type()) {
		return inference.Refuse(inference.CodeContract, next, "output %s is %s; the manifest says %s", inference.Quote(out.name), out.dtype, s.Output.Type())
	}
	if !out.known || slices.Contains(out.dims, -1) {
		return inference.Refuse(inference.CodeContract, "export the model with a fixed output", "output %s has the shape %s", inference.Quote(out.name), out.shape())
	}
	n := int64(1)
	for _, d := range out.dims {
		if n *= d; n > 1<<31 {
			break
		}
	}
	if n != int64(len(s.Labels)) || len(out.dims) > 1 && out.dims[0] != 1 {
		return inference.Refuse(inference.CodeLabels, "give the label file that belongs to this model", "output %s has the shape %s, %d values; the label file has %d labels", inference.Quote(out.name), out.shape(), n, len(s.Labels))
	}
	return nil
}

func sameDims(dims []int64, want []int) bool {
	return slices.EqualFunc(dims, want, func(d int64, w int) bool { return d == int64(w) })
}

// ints is the shape for a Tensor; every dimension is fixed.
func (p *port) ints() []int {
	out := make([]int, len(p.dims))
	for i, d := range p.dims {
		out[i] = int(d)
	}
	return out
}

func (p *port) shape() string {
	if !p.known {
		return "unknown"
	}
	return strings.ReplaceAll(fmt.Sprint(p.dims), "-1", "?")
}

package inference

import (
	"fmt"
	"slices"
	"strings"
)

// Port is an input or output as a model's file or its runtime tells it, in words that all formats share.
type Port struct {
	Name  string
	DType string  // a DType where Heron reads it, else the format's own word
	Dims  []int64 // −1 is not fixed
	Free  bool    // not even the number of dimensions is fixed
}

// FitInput wants one input that is the manifest's to the letter. A batch that is not fixed is to be taken as 1 (open); anything else that is
// not fixed is refused, since the manifest's word would be the only one for it.
func FitInput(s *Spec, inputs []Port) (open bool, err error) {
	if len(inputs) != 1 {
		return false, Refuse(CodeContract, "use a model whose only input is the picture", "the model has %d inputs (%s)", len(inputs), portNames(inputs))
	}
	in, want, next := &inputs[0], s.Input.Shape(), "correct input in manifest.json"
	switch {
	case s.Input.Name != "" && s.Input.Name != in.Name:
		return false, Refuse(CodeContract, next, "the model's input is called %s; the manifest says %q", Quote(in.Name), s.Input.Name)
	case in.DType != string(s.Input.DType):
		return false, Refuse(CodeContract, next, "input %s is %s; the manifest says %s", Quote(in.Name), in.DType, s.Input.DType)
	case !in.Free && sameDims(in.Dims, want):
		return false, nil
	case len(in.Dims) == len(want) && in.Dims[0] == -1 && sameDims(in.Dims[1:], want[1:]):
		return true, nil
	case in.Free || slices.Contains(in.Dims[min(1, len(in.Dims)):], -1):
		next = "export the model with a fixed width and height"
	}
	return false, Refuse(CodeContract, next, "input %s has the shape %s; the manifest says %v (%s)", Quote(in.Name), in.Shape(), want, s.Input.Layout)
}

// PickOutput is the index of the output that the manifest names, or of the only one.
func PickOutput(s *Spec, outputs []Port) (int, error) {
	switch {
	case len(outputs) == 0:
		return 0, Refuse(CodeContract, "export the model again", "the model has no output")
	case s.Output.Name != "":
		i := slices.IndexFunc(outputs, func(p Port) bool { return p.Name == s.Output.Name })
		if i < 0 {
			return 0, NoOutput(s, outputs)
		}
		return i, nil
	case len(outputs) > 1:
		return 0, Refuse(CodeContract, "name one as output.name in manifest.json", "the model has %d outputs (%s)", len(outputs), portNames(outputs))
	}
	return 0, nil
}

// NoOutput is the refusal of a model without the output that the manifest names.
func NoOutput(s *Spec, outputs []Port) *Refusal {
	return Refuse(CodeContract, "correct output in manifest.json", "the model has no output %q; it has %s", s.Output.Name, portNames(outputs))
}

// FitOutput checks the picked output and gives its shape. What the file leaves open is filled in: the batch is 1, and one more open side
// holds the labels; the run on a grey picture, when the slot opens, proves it. A runtime that cannot do with open sides asks Fixed before.
func FitOutput(s *Spec, out *Port) ([]int, error) {
	if out.DType != string(s.Output.Type()) {
		return nil, Refuse(CodeContract, "correct output in manifest.json", "output %s is %s; the manifest says %s", Quote(out.Name), out.DType, s.Output.Type())
	}
	labels := len(s.Labels)
	if out.Free {
		return []int{1, labels}, nil
	}
	shape, open, n := make([]int, len(out.Dims)), -1, 1
	for i, d := range out.Dims {
		switch {
		case d >= 1<<31 || d == 0 || d < -1 || n > 1<<31:
			return nil, out.unfixed()
		case d > 0:
			shape[i] = int(d)
		case i == 0:
			shape[i] = 1
		case open < 0:
			shape[i], open = 1, i
		default:
			return nil, out.unfixed()
		}
		n *= shape[i]
	}
	if open >= 0 && n > 0 && labels%n == 0 {
		shape[open], n = labels/n, labels
	}
	if n != labels || len(shape) > 1 && shape[0] != 1 {
		return nil, Refuse(CodeLabels, "give the label file that belongs to this model", "output %s has the shape %s, %d values; the label file has %d labels", Quote(out.Name), out.Shape(), n, labels)
	}
	return shape, nil
}

// Fixed refuses an output whose shape is not known.
func (p *Port) Fixed() error {
	if p.Free || slices.ContainsFunc(p.Dims, func(d int64) bool { return d < 1 }) {
		return p.unfixed()
	}
	return nil
}

func (p *Port) unfixed() error {
	return Refuse(CodeContract, "export the model with a fixed output", "output %s has the shape %s", Quote(p.Name), p.Shape())
}

// Shape is the shape in a message.
func (p *Port) Shape() string {
	if p.Free {
		return "unknown"
	}
	return strings.ReplaceAll(fmt.Sprint(p.Dims[:min(len(p.Dims), 8)]), "-1", "?")
}

func portNames(ports []Port) string {
	return QuoteNames(ports, func(p Port) string { return p.Name })
}

func sameDims(dims []int64, want []int) bool {
	return slices.EqualFunc(dims, want, func(d int64, w int) bool { return d == int64(w) })
}

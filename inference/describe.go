package inference

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Description is what a model's file says of itself: the beginning of a manifest. What the file cannot say is a Question, and Input and
// Output hold the guess until it is answered.
type Description struct {
	Engine    string     `json:"engine"` // onnx, tflite or edgetpu
	Precision string     `json:"precision"`
	Input     Input      `json:"input"`
	Output    Output     `json:"output"`
	Classes   int        `json:"classes"` // values of the output; 0: the file leaves it open
	Questions []Question `json:"questions"`
	dims      []int64    // of the input
}

// Question is something that only the people who trained the model know. Field is the name that Answer takes.
type Question struct {
	Field string `json:"field"`
	Ask   string `json:"ask"`
	Guess string `json:"guess"` // as Answer takes it; empty: there is none
	Why   string `json:"why"`   // what the guess is worth
}

// Describe reads an ONNX or TFLite file without a runtime. output names the output with the scores where the model has several; empty picks
// it. Every error is a *Refusal, also for models that no engine of Heron would take, such as one with two inputs or an open width.
func Describe(b []byte, output string) (*Description, error) {
	var d *Description
	var err error
	if len(b) >= 8 && string(b[4:8]) == "TFL3" {
		d, err = describeTFLite(b, output)
	} else {
		d, err = describeONNX(b, output)
	}
	if err != nil {
		return nil, err
	}
	d.ask("color", "In which order does the model take the channels: RGB or BGR?", d.Input.Color, "most trainers use RGB; OpenCV's own order is BGR", d.Input.Channels() == 3)
	d.ask("resize", "How were the training pictures brought to the model's size: stretch, crop or letterbox?", d.Input.Resize, "the file does not say; another resize than in training costs accuracy", true)
	return d, nil
}

// CheckFile compares an ONNX or TFLite file with what the manifest says of it, without a runtime; also for an engine that is not on this
// machine. Files of other formats pass: their engine's runtime reads them. The error is a *Refusal.
func CheckFile(file string, b []byte, s *Spec) error {
	var in, out []Port
	switch {
	case strings.HasSuffix(file, ".tflite"):
		m, err := ReadTFLite(b)
		if err != nil {
			return err
		}
		in, out = tflitePorts(m.Inputs), tflitePorts(m.Outputs)
	case strings.HasSuffix(file, ".onnx"):
		m, err := ReadONNX(b)
		if err != nil {
			return err
		}
		in, out = m.Inputs, m.Outputs
	default:
		return nil
	}
	if _, err := FitInput(s, in); err != nil {
		return err
	}
	i, err := PickOutput(s, out)
	if err == nil {
		_, err = FitOutput(s, &out[i])
	}
	return err
}

func (d *Description) ask(field, text, guess, why string, open bool) {
	if open {
		d.Questions = append(d.Questions, Question{field, text, guess, why})
	}
}

// takeInput reads the shape; quantised is how the file encodes real numbers, nil where it does not say.
func (d *Description) takeInput(inputs []Port, usual string) error {
	if len(inputs) != 1 {
		return Refuse(CodeContract, "use a model whose only input is the picture", "the model has %d inputs (%s)", len(inputs), portNames(inputs))
	}
	in := &inputs[0]
	d.dims = in.Dims
	if in.Free || len(in.Dims) != 4 || in.Dims[0] != 1 && in.Dims[0] != -1 {
		return Refuse(CodeContract, "use a model that takes one picture: [1, height, width, channels] or [1, channels, height, width]", "input %s has the shape %s", Quote(in.Name), in.Shape())
	}
	if slices.Contains(in.Dims[1:], -1) {
		return Refuse(CodeContract, "export the model with a fixed width and height", "input %s has the shape %s", Quote(in.Name), in.Shape())
	}
	switch DType(in.DType) {
	case Float32, Uint8, Int8:
	default:
		return Refuse(CodeContract, "export the model with a float32, uint8 or int8 input", "input %s is %s", Quote(in.Name), in.DType)
	}
	d.Input = Input{Name: in.Name, DType: DType(in.DType), Color: "RGB", Resize: "stretch"}
	last, first := channels(in.Dims[3]), channels(in.Dims[1])
	switch {
	case !last && !first:
		return Refuse(CodeContract, "use a model for pictures with 1 or 3 channels", "input %s has the shape %s", Quote(in.Name), in.Shape())
	case last && first:
		d.ask("layout", "Where are the channels: last (NHWC) or first (NCHW)?", usual, "the shape "+in.Shape()+" fits both", true)
		d.layout(usual)
	case last:
		d.layout("NHWC")
	default:
		d.layout("NCHW")
	}
	if d.Input.Width > maxSide || d.Input.Height > maxSide {
		return Refuse(CodeBudget, "use a smaller model", "input %s has the shape %s; %d is the largest side", Quote(in.Name), in.Shape(), maxSide)
	}
	return nil
}

// maxClasses bounds the labels: ten times those of the largest public classifiers.
const maxClasses = 1 << 18

func channels(n int64) bool { return n == 1 || n == 3 }

func (d *Description) layout(l string) {
	at := [3]int{2, 1, 3} // width, height, channels of NHWC
	if l == "NCHW" {
		at = [3]int{3, 2, 1}
	}
	d.Input.Layout = l
	d.Input.Width, d.Input.Height = int(min(d.dims[at[0]], math.MaxInt32)), int(min(d.dims[at[1]], math.MaxInt32))
	if d.dims[at[2]] == 1 {
		d.Input.Color = "GRAY"
	}
}

// takeOutput picks the output and counts the classes.
func (d *Description) takeOutput(outputs []Port, name string) (*Port, error) {
	if len(outputs) == 0 {
		return nil, Refuse(CodeContract, "export the model again", "the model has no output")
	}
	i := slices.IndexFunc(outputs, func(p Port) bool { return p.Name == name })
	if name != "" && i < 0 {
		return nil, Refuse(CodeContract, "name one of these", "the model has no output %s; it has %s", Quote(name), portNames(outputs))
	}
	if i < 0 {
		for k := range outputs {
			if !isMap(&outputs[k]) && (i < 0 || valuesOf(&outputs[k]) > valuesOf(&outputs[i])) {
				i = k
			}
		}
		i = max(i, 0)
		d.ask("output", "Which output holds the scores: "+portNames(outputs)+"?", outputs[i].Name, "the one with the most values", len(outputs) > 1)
	}
	out := &outputs[i]
	if isMap(out) {
		return nil, Refuse(CodeContract, "use a classifier: one score a label for the whole picture", "output %s has the shape %s, as of a model that finds objects or areas", Quote(out.Name), out.Shape())
	}
	switch DType(out.DType) {
	case Float32, Uint8, Int8:
	default:
		return nil, Refuse(CodeContract, "export the model with its scores as float32, uint8 or int8", "output %s is %s", Quote(out.Name), out.DType)
	}
	if n := valuesOf(out); n > maxClasses {
		return nil, Refuse(CodeContract, "use a classifier: one score a label", "output %s has the shape %s", Quote(out.Name), out.Shape())
	}
	d.Output = Output{Name: out.Name, Kind: "logits", DType: DType(out.DType)}
	d.Classes = int(valuesOf(out))
	return out, nil
}

// isMap says that an output has more than one axis of values: boxes, areas, features; not one score a label.
func isMap(p *Port) bool {
	axes := 0
	for _, v := range p.Dims {
		if v > 1 {
			axes++
		}
	}
	return axes > 1
}

// valuesOf a port, 0 where they are not known. The batch counts as 1.
func valuesOf(p *Port) int64 {
	n := int64(1)
	for i, v := range p.Dims {
		if i == 0 && v == -1 {
			continue
		}
		if v < 1 || n > math.MaxInt32 {
			return 0
		}
		n *= min(v, math.MaxInt32)
	}
	if p.Free || len(p.Dims) == 0 {
		return 0
	}
	return n
}

// takeNormalisation guesses mean and std. quant is how the input's real numbers are encoded, where the file says it.
func (d *Description) takeNormalisation(quant *Quant, inside bool) {
	in := &d.Input
	quant = plausible(quant, in.DType)
	why := "read from the quantisation: the encoded number is then the pixel itself"
	switch {
	case quant != nil:
		in.Mean, in.Std = undo(quant, in.DType == Int8 || quant.ZeroPoint < 0, in.Channels())
		if in.DType != Float32 {
			in.Quant = quant
		}
	case in.DType == Uint8: // raw pixels
		return
	case in.DType == Int8:
		in.Quant = &Quant{Scale: 1, ZeroPoint: -128}
		why = "the file does not say how its input is quantised; the guess takes the pixel less 128"
	case inside:
		why = "the model begins with an arithmetic of its own, which looks like this very step"
	case in.Layout == "NCHW" && in.Channels() == 3:
		in.Mean, in.Std = []float64{123.675, 116.28, 103.53}, []float64{58.395, 57.12, 57.375}
		why = "the file does not say; these are torchvision's (ImageNet)"
	default:
		in.Mean, in.Std = slices.Repeat([]float64{127.5}, in.Channels()), slices.Repeat([]float64{127.5}, in.Channels())
		why = "the file does not say; these make −1…1 of 0…255, as Keras's MobileNets want it"
	}
	d.ask("mean", "Which mean, of pixels 0…255, was subtracted in training (one number, or one a channel)?", numbers(in.Mean, 0), why, true)
	d.ask("std", "By what, in pixels 0…255, was the difference divided (one number, or one a channel)?", numbers(in.Std, 1), why, true)
}

// plausible drops a quantisation that the manifest would not take. A float32 tensor that the model quantises itself has either zero point.
func plausible(q *Quant, t DType) *Quant {
	least, most := -128, 255
	switch t {
	case Uint8:
		least = 0
	case Int8:
		most = 127
	}
	if q == nil || !(q.Scale >= 1e-5 && q.Scale <= 1e6) || q.ZeroPoint < least || q.ZeroPoint > most {
		return nil
	}
	return q
}

// undo gives the mean and std with which the quantised number is the pixel itself, or the pixel less 128.
func undo(q *Quant, signed bool, n int) (mean, std []float64) {
	zero, s := float64(q.ZeroPoint), 1/q.Scale
	if signed {
		zero += 128
	}
	switch {
	case n == 3 && math.Abs(q.Scale-0.01866) < 4e-4 && zero >= 112 && zero <= 116: // −2.12…2.64 in 255 steps
		return []float64{123.675, 116.28, 103.53}, []float64{58.395, 57.12, 57.375}
	case math.Abs(s-127.5) < 0.05 && zero >= 127 && zero <= 128:
		zero, s = 127.5, 127.5
	case math.Abs(s-math.Round(s)) < 0.01:
		s = math.Round(s)
	}
	return slices.Repeat([]float64{zero}, n), slices.Repeat([]float64{s}, n)
}

// takeScores says what the scores are from the last operator that computes, and from their quantisation.
func (d *Description) takeScores(op string, quant *Quant) {
	o := &d.Output
	if o.DType != Float32 {
		o.Quant = plausible(quant, o.DType)
		if o.Quant == nil {
			o.Quant = &Quant{Scale: 1.0 / 256}
			if o.DType == Int8 {
				o.Quant.ZeroPoint = -128
			}
			d.ask("output-quant", "How is the output quantised (SCALE,ZERO_POINT)?", fmt.Sprintf("%v,%d", o.Quant.Scale, o.Quant.ZeroPoint), "the file does not say; this is 256 steps of a probability", true)
		}
	}
	steps := o.Quant != nil && math.Abs(o.Quant.Scale*256-1) < 0.01 && (o.Quant.ZeroPoint == 0 || o.Quant.ZeroPoint == -128)
	switch {
	case strings.EqualFold(op, "softmax"), strings.EqualFold(op, "sigmoid"):
		o.Kind = "probabilities"
	case steps:
		o.Kind = "probabilities"
		d.ask("kind", "Are the scores probabilities or logits?", o.Kind, "their quantisation is that of a probability, 256 steps from 0 to 1", true)
	default:
		d.ask("kind", "Are the scores probabilities or logits?", o.Kind, "the model does not end in a softmax ("+Quote(op)+" comes last)", true)
	}
}

// Answer sets what a question asked for. The error says what is allowed.
func (d *Description) Answer(field, value string) (err error) {
	in := &d.Input
	switch field {
	case "color":
		err = choose(&in.Color, field, value, map[bool][]string{true: {"RGB", "BGR"}, false: {"GRAY"}}[in.Channels() == 3]...)
	case "resize":
		err = choose(&in.Resize, field, value, "stretch", "crop", "letterbox")
	case "kind":
		err = choose(&d.Output.Kind, field, value, "probabilities", "logits")
	case "mean":
		in.Mean, err = eachChannel(field, value, in.Channels(), -1e6)
	case "std":
		in.Std, err = eachChannel(field, value, in.Channels(), 1e-9)
	case "layout":
		l := in.Layout
		if err = choose(&l, field, value, "NHWC", "NCHW"); err == nil && !channels(d.dims[map[string]int{"NHWC": 3, "NCHW": 1}[l]]) {
			err = fmt.Errorf("layout: the shape %v does not fit %s", d.dims, l)
		} else if err == nil {
			d.layout(l)
		}
	case "output-quant":
		d.Output.Quant, err = parseQuant(value)
	case "output": // was for Describe
	default:
		err = fmt.Errorf("there is no question %q", field)
	}
	d.Questions = slices.DeleteFunc(d.Questions, func(q Question) bool { return err == nil && q.Field == field })
	return err
}

func choose(to *string, field, value string, allowed ...string) error {
	for _, a := range allowed {
		if strings.EqualFold(a, value) {
			*to = a
			return nil
		}
	}
	return fmt.Errorf("%s: %q; expected %s", field, value, strings.Join(allowed, ", "))
}

func eachChannel(field, value string, n int, least float64) ([]float64, error) {
	var out []float64
	for _, s := range strings.Split(value, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil || !(v >= least && v <= 1e6) {
			return nil, fmt.Errorf("%s: %q; expected a number, %g to 1e6, or one a channel: 123.7,116.3,103.5", field, value, least)
		}
		out = append(out, v)
	}
	if len(out) == 1 {
		out = slices.Repeat(out, n)
	}
	if len(out) != n {
		return nil, fmt.Errorf("%s: %q; expected 1 or %d numbers", field, value, n)
	}
	return out, nil
}

func parseQuant(value string) (*Quant, error) {
	scale, zero, _ := strings.Cut(value, ",")
	s, err := strconv.ParseFloat(strings.TrimSpace(scale), 64)
	z, err2 := strconv.Atoi(strings.TrimSpace(zero))
	if err != nil || err2 != nil || !(s > 0) {
		return nil, fmt.Errorf("output-quant: %q; expected SCALE,ZERO_POINT, such as 0.00390625,0", value)
	}
	return &Quant{s, z}, nil
}

func numbers(v []float64, absent float64) string {
	if len(v) == 0 {
		v = []float64{absent}
	}
	if !slices.ContainsFunc(v, func(x float64) bool { return x != v[0] }) {
		v = v[:1]
	}
	var out []string
	for _, x := range v {
		out = append(out, strconv.FormatFloat(x, 'g', -1, 64))
	}
	return strings.Join(out, ",")
}

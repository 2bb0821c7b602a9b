package inference

import (
	"fmt"
	"slices"
)

// detectionOp is the end of the object detectors that are made for mobile devices: boxes, classes, scores, a count.
const detectionOp = "TFLite_Detection_PostProcess"

func describeTFLite(b []byte, output string) (*Description, error) {
	m, err := ReadTFLite(b)
	if err != nil {
		return nil, err
	}
	if slices.Contains(m.Custom, detectionOp) {
		return nil, Refuse(CodeContract, "use a classifier: one score a label for the whole picture", "the model finds objects (%s)", detectionOp)
	}
	d := &Description{Engine: "tflite", Precision: "fp32"}
	if m.Compiled() {
		d.Engine = "edgetpu"
	}
	if err := d.takeInput(tflitePorts(m.Inputs), "NHWC"); err != nil {
		return nil, err
	}
	out, err := d.takeOutput(tflitePorts(m.Outputs), output)
	if err != nil {
		return nil, err
	}
	quantOf := func(list []TFLiteTensor, name string) *Quant {
		for i := range list {
			if list[i].Name == name && list[i].Type() != string(Float32) {
				d.Precision = "int8"
				return list[i].Quant
			}
		}
		return nil
	}
	d.takeNormalisation(quantOf(m.Inputs, d.Input.Name), false)
	d.takeScores(lastOperator(b, out.Name), quantOf(m.Outputs, out.Name))
	return d, nil
}

func tflitePorts(tensors []TFLiteTensor) []Port {
	var out []Port
	for i := range tensors {
		p := Port{Name: tensors[i].Name, DType: tensors[i].Type()}
		for _, v := range tensors[i].Shape {
			p.Dims = append(p.Dims, int64(v))
		}
		out = append(out, p)
	}
	return out
}

// lastOperator names what computes an output of the first subgraph, behind operators that only move values. The file has been read once.
func lastOperator(b []byte, output string) string {
	w := flatWalker{r: flatReader{b: b}}
	r := &w.r
	root := r.follow(0)
	codes, codeCount := r.vector(root, 1, 4)
	graphs, _ := r.vector(root, 2, 4)
	graph := r.table(graphs, 0)
	want := w.outputIndex(graph, output)
	name := ""
	for range maxFollow {
		op, from := w.operatorOf(graph, want)
		if op < 0 || op >= codeCount || r.bad {
			return name
		}
		code := w.code(r.table(codes, op))
		if name = tfliteOp(code); !movesTFLite(code) || from < 0 {
			return name
		}
		want = from
	}
	return name
}

func (w *flatWalker) outputIndex(graph int64, name string) int64 {
	r := &w.r
	tensors, n := r.vector(graph, 0, 4)
	first, count := r.vector(graph, 2, 4)
	for i := int64(0); i < count && !r.bad; i++ {
		if at := r.i32(first + 4*i); at >= 0 && at < n && r.text(r.table(tensors, at), 3) == name {
			return at
		}
	}
	return -1
}

// operatorOf is the code's number of the operator that writes a tensor, and the first tensor that it reads; −1 is none.
func (w *flatWalker) operatorOf(graph, tensor int64) (code, from int64) {
	r := &w.r
	ops, n := r.vector(graph, 3, 4)
	for i := n - 1; i >= 0 && !r.bad; i-- {
		op := r.table(ops, i)
		outs, count := r.vector(op, 2, 4)
		for k := int64(0); k < min(count, maxNames) && !r.bad; k++ {
			if r.i32(outs+4*k) != tensor {
				continue
			}
			from = -1
			if ins, many := r.vector(op, 1, 4); many > 0 {
				from = r.i32(ins)
			}
			return r.number(op, 0, r.u32), from
		}
	}
	return -1, -1
}

// Numbers of BuiltinOperator.
const (
	opDequantize = 6
	opLogistic   = 14
	opReshape    = 22
	opSoftmax    = 25
	opSqueeze    = 43
	opCast       = 53
	opQuantize   = 114
)

func movesTFLite(code int64) bool {
	switch code {
	case opDequantize, opReshape, opSqueeze, opCast, opQuantize:
		return true
	}
	return false
}

func tfliteOp(code int64) string {
	switch code {
	case opSoftmax:
		return "softmax"
	case opLogistic:
		return "sigmoid"
	case customOp:
		return "a custom operator"
	}
	return fmt.Sprintf("TFLite operator %d", code)
}

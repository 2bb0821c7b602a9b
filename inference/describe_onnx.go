package inference

import (
	"encoding/binary"
	"math"
	"slices"
)

// Bounds on what is remembered of a graph: a classifier has a few thousand nodes of a few inputs.
const (
	maxNodes  = 1 << 17
	maxNames  = 16 // of a node
	maxSmall  = 8  // values of a constant
	maxFollow = 64 // nodes from one end
)

func describeONNX(b []byte, output string) (*Description, error) {
	m, err := ReadONNX(b)
	if err != nil {
		return nil, err
	}
	d := &Description{Engine: "onnx"}
	if err := d.takeInput(m.Inputs, "NCHW"); err != nil {
		return nil, err
	}
	out, err := d.takeOutput(m.Outputs, output)
	if err != nil {
		return nil, err
	}
	g := &onnxGraph{small: map[string]constant{}, maker: map[string]int{}, user: map[string]int{}}
	if err := g.read(b); err != nil {
		return nil, Refuse(CodeFormat, "fetch or export the model again", "%v", err)
	}
	d.Precision = g.precision()
	quant, inside := g.front(d.Input.Name)
	d.takeNormalisation(quant, inside)
	d.takeScores(g.back(out.Name))
	return d, nil
}

// onnxGraph is the model's own graph, as far as its two ends need it.
type onnxGraph struct {
	nodes     []onnxNode
	small     map[string]constant
	maker     map[string]int // by name of a value: the node that makes it
	user      map[string]int // … and the first that uses it
	quantised bool
	weights   [2]int // bytes of float32 and of float16
}

type onnxNode struct {
	op      string
	in, out []string
}

// constant is an initializer with few values.
type constant []float64

func (g *onnxGraph) read(b []byte) error {
	return fields(b, func(f field) error {
		if f.num != 7 {
			return nil
		}
		return fields(f.bytes, func(f field) error {
			switch f.num {
			case 1:
				return g.node(f.bytes)
			case 5:
				name, v, err := g.tensor(f.bytes)
				g.keep(name, v)
				return err
			}
			return nil
		})
	})
}

func (g *onnxGraph) keep(name string, v constant) {
	if len(v) > 0 && len(g.small) < maxNodes {
		g.small[name] = v
	}
}

func (g *onnxGraph) node(b []byte) error {
	if len(g.nodes) >= maxNodes {
		return nil
	}
	n, i := onnxNode{}, len(g.nodes)
	var value constant
	err := fields(b, func(f field) error {
		switch {
		case f.num == 1 && len(n.in) < maxNames:
			n.in = append(n.in, string(f.bytes))
		case f.num == 2 && len(n.out) < maxNames:
			n.out = append(n.out, string(f.bytes))
		case f.num == 4 && len(f.bytes) < 64:
			n.op = string(f.bytes)
		case f.num == 5:
			return fields(f.bytes, func(a field) (err error) {
				if a.num == 5 {
					_, value, err = g.tensor(a.bytes)
				}
				return err
			})
		}
		return nil
	})
	g.nodes = append(g.nodes, n)
	g.quantised = g.quantised || n.op == "DequantizeLinear" || n.op == "QLinearConv" || n.op == "ConvInteger"
	for _, name := range n.out {
		g.maker[name] = i
		if n.op == "Constant" {
			g.keep(name, value)
		}
	}
	for _, name := range n.in {
		if _, seen := g.user[name]; !seen {
			g.user[name] = i
		}
	}
	return err
}

// tensor reads a TensorProto's name, and its values where they are few.
func (g *onnxGraph) tensor(b []byte) (name string, v constant, err error) {
	kind, elements, raw := 0, uint64(1), []byte(nil)
	err = fields(b, func(f field) error {
		switch f.num {
		case 1:
			return f.numbers(func(n uint64) { elements = mul(elements, n) })
		case 2:
			kind = int(f.value)
		case 4: // float_data
			for at := 0; f.wire == wireBytes && at+4 <= len(f.bytes) && len(v) < maxSmall; at += 4 {
				v = append(v, float64(math.Float32frombits(binary.LittleEndian.Uint32(f.bytes[at:]))))
			}
			if f.wire == wireFixed32 && len(v) < maxSmall {
				v = append(v, float64(math.Float32frombits(uint32(f.value))))
			}
		case 5: // int32_data
			return f.numbers(func(n uint64) {
				if len(v) < maxSmall {
					v = append(v, float64(int32(n)))
				}
			})
		case 8:
			name = string(f.bytes)
		case 9:
			raw = f.bytes
		}
		return nil
	})
	switch kind {
	case 1:
		g.weights[0] += len(raw)
	case 10:
		g.weights[1] += len(raw)
	}
	if elements > maxSmall {
		return name, nil, err
	}
	return name, append(v, plainValues(kind, raw)...), err
}

// plainValues reads raw_data of the types that scales, zero points, means and deviations have.
func plainValues(kind int, raw []byte) (v constant) {
	for len(raw) > 0 && len(v) < maxSmall {
		switch {
		case kind == 1 && len(raw) >= 4:
			v, raw = append(v, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw)))), raw[4:]
		case kind == 2:
			v, raw = append(v, float64(raw[0])), raw[1:]
		case kind == 3:
			v, raw = append(v, float64(int8(raw[0]))), raw[1:]
		default:
			return v
		}
	}
	return v
}

func (g *onnxGraph) precision() string {
	switch {
	case g.quantised:
		return "int8"
	case g.weights[1] > g.weights[0]:
		return "fp16"
	}
	return "fp32"
}

// movesONNX are operators that change no value.
func movesONNX(op string) bool {
	return slices.Contains([]string{"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast", "Transpose", "DequantizeLinear", "QuantizeLinear"}, op)
}

// front goes on from the input: to its quantisation, or to an arithmetic with a constant, which normalises inside the model.
func (g *onnxGraph) front(name string) (quant *Quant, inside bool) {
	for range maxFollow {
		i, ok := g.user[name]
		if !ok || len(g.nodes[i].out) == 0 {
			return nil, false
		}
		n := &g.nodes[i]
		if q := g.quant(n); q != nil {
			return q, false
		}
		if slices.Contains([]string{"Sub", "Div", "Mul", "Add"}, n.op) && slices.ContainsFunc(n.in, func(s string) bool { return len(g.small[s]) > 0 }) {
			return nil, true
		}
		if !movesONNX(n.op) {
			return nil, false
		}
		name = n.out[0]
	}
	return nil, false
}

// back goes from the output to what computes it.
func (g *onnxGraph) back(name string) (op string, quant *Quant) {
	for range maxFollow {
		i, ok := g.maker[name]
		if !ok || len(g.nodes[i].in) == 0 {
			return op, quant
		}
		n := &g.nodes[i]
		if q := g.quant(n); q != nil && quant == nil {
			quant = q
		}
		op, name = n.op, n.in[0]
		if !movesONNX(op) {
			return op, quant
		}
	}
	return op, quant
}

// quant is that of a QuantizeLinear or DequantizeLinear with one scale.
func (g *onnxGraph) quant(n *onnxNode) *Quant {
	if n.op != "QuantizeLinear" && n.op != "DequantizeLinear" || len(n.in) < 2 {
		return nil
	}
	scale, zero := g.small[n.in[1]], 0
	if len(n.in) > 2 && len(g.small[n.in[2]]) == 1 {
		zero = int(g.small[n.in[2]][0])
	}
	if len(scale) != 1 {
		return nil
	}
	return &Quant{scale[0], zero}
}

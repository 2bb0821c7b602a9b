package inference

import (
	"fmt"
	"math"
	"math/bits"
)

// ONNX is what Heron reads of an ONNX file itself, before a runtime sees it.
type ONNX struct {
	Inputs  []Port // without those that have an initializer
	Outputs []Port
}

// maxDepth bounds subgraphs within subgraphs; protobuf's own readers stop at 100 messages.
const maxDepth = 32

// walker goes through every tensor of a model: graph, subgraphs, functions, training graphs.
type walker struct {
	ONNX
	top   bool // the next graph is the model's own
	seen  bool // … and there was one
	given map[string]bool
}

// ReadONNX walks an ONNX file to every tensor of it, those in subgraphs, functions and training graphs included. Its errors are refusals:
// "format", "external-data" for a tensor that wants to read another file, "budget" for one that declares far more than it carries.
func ReadONNX(b []byte) (*ONNX, error) {
	if len(b) == 0 {
		return nil, Refuse(CodeFormat, "fetch the model again", "the file is empty")
	}
	w := &walker{given: map[string]bool{}}
	if err := w.model(b); err != nil {
		if err == errWire {
			return nil, Refuse(CodeFormat, "fetch or export the model again", "%v", err)
		}
		return nil, err
	}
	if !w.seen {
		return nil, Refuse(CodeFormat, "export the model again", "the file holds no graph")
	}
	free := w.Inputs[:0]
	for _, in := range w.Inputs {
		if !w.given[in.Name] {
			free = append(free, in)
		}
	}
	w.Inputs = free
	return &w.ONNX, nil
}

func (w *walker) model(b []byte) error {
	return fields(b, func(f field) error {
		switch f.num {
		case 7: // graph
			if f.wire != wireBytes {
				return errWire
			}
			w.top, w.seen = true, true
			return w.body(f.bytes, 0)
		case 20: // training_info: initialization, algorithm
			return fields(f.bytes, func(g field) error { return w.ifNum(g, 0, w.body, 1, 2) })
		case 25: // functions: node
			return fields(f.bytes, func(g field) error { return w.ifNum(g, 0, w.node, 7) })
		}
		return nil
	})
}

// ifNum calls f for a field with one of the numbers.
func (w *walker) ifNum(x field, depth int, f func([]byte, int) error, nums ...int) error {
	for _, n := range nums {
		if x.num == n {
			return f(x.bytes, depth)
		}
	}
	return nil
}

// body is a GraphProto.
func (w *walker) body(b []byte, depth int) error {
	if depth > maxDepth {
		return Refuse(CodeFormat, "export the model again", "subgraphs are nested deeper than %d", maxDepth)
	}
	top := w.top
	w.top = false
	return fields(b, func(f field) error {
		switch f.num {
		case 1:
			return w.node(f.bytes, depth)
		case 5:
			name, err := w.tensor(f.bytes)
			if top {
				w.given[name] = true
			}
			return err
		case 15:
			return w.sparse(f.bytes, top)
		case 11:
			return w.value(&w.Inputs, f.bytes, top)
		case 12:
			return w.value(&w.Outputs, f.bytes, top)
		}
		return nil
	})
}

func (w *walker) value(to *[]Port, b []byte, top bool) error {
	if !top {
		return nil
	}
	v, err := readValue(b)
	*to = append(*to, v)
	return err
}

// node is a NodeProto: its attributes hold tensors and graphs.
func (w *walker) node(b []byte, depth int) error {
	return fields(b, func(f field) error {
		if f.num != 5 {
			return nil
		}
		return fields(f.bytes, func(a field) error {
			switch a.num {
			case 5, 10:
				_, err := w.tensor(a.bytes)
				return err
			case 6, 11:
				return w.body(a.bytes, depth+1)
			case 22, 23:
				return w.sparse(a.bytes, false)
			}
			return nil
		})
	})
}

func (w *walker) sparse(b []byte, top bool) error {
	return fields(b, func(f field) error {
		if f.num != 1 && f.num != 2 {
			return nil
		}
		name, err := w.tensor(f.bytes)
		if top {
			w.given[name] = true
		}
		return err
	})
}

// tensor is a TensorProto: it must carry its own data, and about as much of it as its dimensions say.
func (w *walker) tensor(b []byte) (name string, err error) {
	elements, carried, external := uint64(1), uint64(0), false
	err = fields(b, func(f field) error {
		switch f.num {
		case 1:
			return f.numbers(func(d uint64) { elements = mul(elements, d) })
		case 8:
			name = string(f.bytes)
		case 4, 5, 6, 7, 9, 10, 11:
			carried += uint64(len(f.bytes)) + 1 // one byte at least for a value that is not packed
		case 13:
			external = true
		case 14:
			external = external || f.value == 1
		}
		return nil
	})
	switch {
	case err != nil:
		return name, err
	case external:
		return name, Refuse(CodeExternalData, "export the model with its weights inside, in one file", "tensor %s wants to read its data from another file", Quote(name))
	case elements > 8*carried+8: // the smallest elements are half a byte
		return name, Refuse(CodeBudget, "fetch or export the model again", "tensor %s declares %s values and carries %d bytes", Quote(name), count(elements), carried)
	}
	return name, nil
}

// mul saturates; a dimension that is negative counts as endless.
func mul(a, b uint64) uint64 {
	if hi, lo := bits.Mul64(a, b); hi == 0 {
		return lo
	}
	return math.MaxUint64
}

func count(n uint64) string {
	if n == math.MaxUint64 {
		return "endless"
	}
	return fmt.Sprint(n)
}

// readValue reads a ValueInfoProto.
func readValue(b []byte) (v Port, err error) {
	v = Port{DType: onnxType(0), Free: true}
	err = fields(b, func(f field) error {
		switch f.num {
		case 1:
			v.Name = string(f.bytes)
		case 2:
			return fields(f.bytes, func(t field) error {
				if t.num != 1 { // tensor_type
					return nil
				}
				return tensorType(&v, t.bytes)
			})
		}
		return nil
	})
	return v, err
}

func tensorType(v *Port, b []byte) error {
	return fields(b, func(f field) error {
		switch f.num {
		case 1:
			v.DType = onnxType(int(f.value))
		case 2:
			v.Free = false
			return fields(f.bytes, func(d field) error {
				if d.num != 1 {
					return nil
				}
				dim := int64(-1)
				err := fields(d.bytes, func(x field) error {
					if x.num == 1 && x.wire == wireVarint && int64(x.value) > 0 {
						dim = int64(x.value)
					}
					return nil
				})
				v.Dims = append(v.Dims, dim)
				return err
			})
		}
		return nil
	})
}

// onnxType is the manifest's word for a TensorProto.DataType, or the ONNX word where Heron does not read the type.
func onnxType(t int) string {
	known := []string{"no tensor", string(Float32), string(Uint8), string(Int8), "uint16", "int16", "int32", "int64", "string", "bool", "float16", "double", "uint32", "uint64"}
	if t < len(known) && t >= 0 {
		return known[t]
	}
	return fmt.Sprintf("ONNX type %d", t)
}

package openvino

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"heron/inference"
)

// What the tests need of a writer of ONNX files: the mean colour of a picture, times a matrix, through a softmax.

func varint(num int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(num<<3)), v)
}

func nested(num int, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(num<<3|2)), uint64(len(body))), body...)
}

func text(num int, s string) []byte { return nested(num, []byte(s)) }

func onnxType(t inference.DType) uint64 {
	return map[inference.DType]uint64{inference.Float32: 1, inference.Uint8: 2, inference.Int8: 3}[t]
}

// valueInfo is an input (11) or output (12); a dimension below 0 is open.
func valueInfo(num int, name string, dtype uint64, dims ...int) []byte {
	var shape [][]byte
	for _, d := range dims {
		if d < 0 {
			shape = append(shape, nested(1, text(2, "N")))
			continue
		}
		shape = append(shape, nested(1, varint(1, uint64(d))))
	}
	return nested(num, text(1, name), nested(2, nested(1, varint(1, dtype), nested(2, shape...))))
}

func constant(name string, dims []uint64, v ...float32) []byte {
	var raw []byte
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	parts := [][]byte{varint(2, 1), text(8, name), nested(9, raw)}
	for _, d := range dims {
		parts = append(parts, varint(1, d))
	}
	return nested(5, parts...)
}

func op(kind string, in []string, out string, attributes ...[]byte) []byte {
	var parts [][]byte
	for _, i := range in {
		parts = append(parts, text(1, i))
	}
	return nested(1, append(append(parts, text(2, out), text(4, kind)), attributes...)...)
}

func integer(name string, v uint64) []byte {
	return nested(5, text(1, name), varint(20, 2), varint(3, v))
}

func integers(name string, v ...uint64) []byte {
	parts := [][]byte{text(1, name), varint(20, 7)}
	for _, x := range v {
		parts = append(parts, varint(8, x))
	}
	return nested(5, parts...)
}

func onnxFile(graph ...[]byte) []byte {
	return slices.Concat(varint(1, 7), nested(8, text(1, ""), varint(2, 13)), nested(7, append(graph, text(2, "test"))...))
}

// classifier fits a spec with three labels.
func classifier(s *inference.Spec, batch int) []byte {
	dims, axes := s.Input.Shape(), []uint64{1, 2}
	dims[0] = batch
	if s.Input.Layout == "NCHW" {
		axes = []uint64{2, 3}
	}
	g := [][]byte{
		op("Cast", []string{"input"}, "real", integer("to", 1)), op("ReduceMean", []string{"real"}, "mean", integers("axes", axes...), integer("keepdims", 0)),
		constant("w", []uint64{3, 3}, 3, -1, -2, -1, 4, -2, -3, -1, 5), op("MatMul", []string{"mean", "w"}, "logits"), op("Softmax", []string{"logits"}, "p", integer("axis", 1)),
	}
	if s.Output.Type() == inference.Float32 {
		g = append(g, op("Identity", []string{"p"}, "scores"))
	} else {
		g = append(g, constant("k", nil, 100), op("Mul", []string{"p", "k"}, "scaled"), op("Cast", []string{"scaled"}, "scores", integer("to", onnxType(s.Output.Type()))))
	}
	return onnxFile(append(g, valueInfo(11, "input", onnxType(s.Input.DType), dims...), valueInfo(12, "scores", onnxType(s.Output.Type()), batch, 3))...)
}

// ir is the pair of files that OpenVINO's own format is: a picture's flat pixels times a matrix, through a softmax.
func ir(s *inference.Spec) (xml, bin []byte) {
	n := 1
	var dims string
	for _, d := range s.Input.Shape() {
		n *= d
		dims += fmt.Sprintf("<dim>%d</dim>", d)
	}
	for i := range n * 3 {
		bin = binary.LittleEndian.AppendUint32(bin, math.Float32bits(float32(i%7)/float32(n)))
	}
	flat := fmt.Sprintf("<dim>1</dim><dim>%d</dim>", n)
	shape := make([]byte, 0, 16)
	shape = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(shape, 1), uint64(n))
	at := len(bin)
	bin = append(bin, shape...)
	port := func(id int, precision, dims string) string {
		return fmt.Sprintf(`<port id="%d" precision="%s">%s</port>`, id, precision, dims)
	}
	x := `<?xml version="1.0"?><net name="flat" version="11"><layers>` +
		`<layer id="0" name="input" type="Parameter" version="opset1"><data shape="` + strings.Trim(strings.ReplaceAll(fmt.Sprint(s.Input.Shape()), " ", ","), "[]") + `" element_type="f32"/><output><port id="0" precision="FP32" names="input">` + dims + `</port></output></layer>` +
		fmt.Sprintf(`<layer id="1" name="flat" type="Const" version="opset1"><data element_type="i64" shape="2" offset="%d" size="16"/><output>%s</output></layer>`, at, port(0, "I64", "<dim>2</dim>")) +
		`<layer id="2" name="reshape" type="Reshape" version="opset1"><data special_zero="false"/><input>` + port(0, "FP32", dims) + port(1, "I64", "<dim>2</dim>") + `</input><output>` + port(2, "FP32", flat) + `</output></layer>` +
		fmt.Sprintf(`<layer id="3" name="w" type="Const" version="opset1"><data element_type="f32" shape="%d,3" offset="0" size="%d"/><output>%s</output></layer>`, n, at, port(0, "FP32", fmt.Sprintf("<dim>%d</dim><dim>3</dim>", n))) +
		`<layer id="4" name="matmul" type="MatMul" version="opset1"><data transpose_a="false" transpose_b="false"/><input>` + port(0, "FP32", flat) + port(1, "FP32", fmt.Sprintf("<dim>%d</dim><dim>3</dim>", n)) + `</input><output>` + port(2, "FP32", "<dim>1</dim><dim>3</dim>") + `</output></layer>` +
		`<layer id="5" name="softmax" type="SoftMax" version="opset1"><data axis="1"/><input>` + port(0, "FP32", "<dim>1</dim><dim>3</dim>") + `</input><output><port id="1" precision="FP32" names="scores"><dim>1</dim><dim>3</dim></port></output></layer>` +
		`<layer id="6" name="scores_out" type="Result" version="opset1"><input>` + port(0, "FP32", "<dim>1</dim><dim>3</dim>") + `</input></layer></layers><edges>`
	for _, e := range [][4]int{{0, 0, 2, 0}, {1, 0, 2, 1}, {2, 2, 4, 0}, {3, 0, 4, 1}, {4, 2, 5, 0}, {5, 1, 6, 0}} {
		x += fmt.Sprintf(`<edge from-layer="%d" from-port="%d" to-layer="%d" to-port="%d"/>`, e[0], e[1], e[2], e[3])
	}
	return []byte(x + `</edges></net>`), bin
}

// spec is a small classifier's.
func spec(layout string, in, out inference.DType) *inference.Spec {
	s := &inference.Spec{Labels: []string{"ok", "scratched", "empty"}, Input: inference.Input{Width: 6, Height: 4, Layout: layout, DType: in},
		Output: inference.Output{Kind: "probabilities", DType: out}}
	if out != inference.Float32 {
		s.Output.Quant = &inference.Quant{Scale: .01}
	}
	if in == inference.Int8 {
		s.Input.Quant = &inference.Quant{Scale: 1, ZeroPoint: -128}
	}
	return s
}

func onnxModel(layout string, in, out inference.DType) inference.Model {
	s := spec(layout, in, out)
	return inference.Model{File: "m.onnx", Bytes: classifier(s, 1), Spec: s}
}

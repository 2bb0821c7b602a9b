package onnx

import (
	"encoding/binary"
	"math"

	"heron/inference"
)

// Wire types of protobuf, and TensorProto.DataType.
const (
	wireVarint = 0
	wireBytes  = 2

	typeFloat = 1
	typeUint8 = 2
	typeInt8  = 3
)

// The smallest writer of ONNX files that the tests need: the mean colour of a picture, times a matrix, through a softmax.

func tag(num, wire int) []byte { return binary.AppendUvarint(nil, uint64(num<<3|wire)) }

func number(num int, v uint64) []byte { return binary.AppendUvarint(tag(num, wireVarint), v) }

func message(num int, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(binary.AppendUvarint(tag(num, wireBytes), uint64(len(body))), body...)
}

func text(num int, s string) []byte { return message(num, []byte(s)) }

func valueInfo(num int, name string, dtype int, dims ...int64) []byte {
	var shape [][]byte
	for _, d := range dims {
		if d < 0 {
			shape = append(shape, message(1, text(2, "N")))
			continue
		}
		shape = append(shape, message(1, number(1, uint64(d))))
	}
	return message(num, text(1, name), message(2, message(1, number(1, uint64(dtype)), message(2, shape...))))
}

func floats(num int, name string, dims []uint64, v ...float32) []byte {
	var raw []byte
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	parts := [][]byte{number(2, typeFloat), text(8, name), message(9, raw)}
	for _, d := range dims {
		parts = append(parts, number(1, d))
	}
	return message(num, parts...)
}

func node(op, in1, in2, out string, attributes ...[]byte) []byte {
	parts := [][]byte{text(1, in1)}
	if in2 != "" {
		parts = append(parts, text(1, in2))
	}
	return message(1, append(append(parts, text(2, out), text(4, op)), attributes...)...)
}

func ints(name string, v ...uint64) []byte {
	parts := [][]byte{text(1, name), number(20, 7)}
	for _, x := range v {
		parts = append(parts, number(8, x))
	}
	return message(5, parts...)
}

func integer(name string, v uint64) []byte {
	return message(5, text(1, name), number(20, 2), number(3, v))
}

func file(graph ...[]byte) []byte {
	out := append(number(1, 7), message(8, text(1, ""), number(2, 13))...)
	return append(out, message(7, append(graph, text(2, "test"))...)...)
}

var typeNumbers = map[inference.DType]int{inference.Float32: typeFloat, inference.Uint8: typeUint8, inference.Int8: typeInt8} // read only

// classifier fits a spec with three labels: mean of each channel → 3×3 matrix → softmax → for 8 bits: times 255.
func classifier(s *inference.Spec, batch int64) []byte {
	var dims []int64
	for _, d := range s.Input.Shape() {
		dims = append(dims, int64(d))
	}
	dims[0] = batch
	axes := []uint64{1, 2}
	if s.Input.Layout == "NCHW" {
		axes = []uint64{2, 3}
	}
	g := [][]byte{
		node("Cast", "input", "", "real", integer("to", typeFloat)), node("ReduceMean", "real", "", "mean", ints("axes", axes...), integer("keepdims", 0)),
		floats(5, "w", []uint64{3, 3}, 3, -1, -2, -1, 4, -2, -3, -1, 5), node("MatMul", "mean", "w", "logits"), node("Softmax", "logits", "", "p", integer("axis", 1)),
	}
	if s.Output.Type() == inference.Float32 {
		g = append(g, node("Identity", "p", "", "scores"))
	} else {
		g = append(g, floats(5, "k", nil, 100), node("Mul", "p", "k", "scaled"), node("Cast", "scaled", "", "scores", integer("to", uint64(typeNumbers[s.Output.Type()]))))
	}
	return file(append(g, valueInfo(11, "input", typeNumbers[s.Input.DType], dims...), valueInfo(12, "scores", typeNumbers[s.Output.Type()], batch, 3))...)
}

package openvino

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"

	"heron/inference"
)

// checkFiles is what Heron checks itself before OpenVINO sees a byte: what the file is, and that an ONNX file neither reads
// other files nor declares more than it carries.
func checkFiles(m inference.Model, weights []byte, d device) error {
	if err := d.fits(m.Spec); err != nil {
		return err
	}
	again := "fetch or export the model again"
	if len(m.Bytes) == 0 {
		return inference.Refuse(inference.CodeFormat, again, "the file is empty")
	}
	if isIR(m.Bytes) {
		if len(weights) == 0 && bytes.Contains(m.Bytes, []byte(`type="Const"`)) {
			return inference.Refuse(inference.CodeFormat, "use the ONNX file, or give the .bin along with the .xml", "the model's weights are in a second file, which was not given")
		}
		return nil
	}
	if len(weights) > 0 {
		return inference.Refuse(inference.CodeFormat, again, "a second file of weights belongs to OpenVINO's .xml, which this is not")
	}
	seen := false
	err := walk(m.Bytes, model, 0, &seen)
	if err == nil && !seen {
		err = errWire()
	}
	return err
}

// isIR: OpenVINO's own format is XML with one element, net.
func isIR(b []byte) bool {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\ufeff")), " \t\r\n")
	return bytes.HasPrefix(b, []byte("<?xml")) || bytes.HasPrefix(b, []byte("<net"))
}

// message is a kind of ONNX message that holds tensors, or leads to them.
type message int

const (
	other message = iota
	model
	graph
	training
	function
	node
	attribute
	sparse
	tensor
)

// step is a field of a message.
type step struct {
	in    message
	field uint64
}

// leads says what lies in a field; it is only read.
var leads = map[step]message{
	{model, 7}: graph, {model, 20}: training, {model, 25}: function,
	{training, 1}: graph, {training, 2}: graph,
	{function, 7}: node,
	{graph, 1}:    node, {graph, 5}: tensor, {graph, 15}: sparse,
	{node, 5}:      attribute,
	{attribute, 5}: tensor, {attribute, 10}: tensor, {attribute, 6}: graph, {attribute, 11}: graph, {attribute, 22}: sparse, {attribute, 23}: sparse,
	{sparse, 1}: tensor, {sparse, 2}: tensor,
}

// maxDepth bounds messages within messages, as protobuf's own readers do.
const maxDepth = 100

func errWire() error {
	return inference.Refuse(inference.CodeFormat, "fetch or export the model again", "neither an ONNX file nor OpenVINO's .xml, or cut short")
}

// walk goes to every tensor of an ONNX file, subgraphs and functions included. seen is set where there is a graph.
func walk(b []byte, m message, depth int, seen *bool) error {
	if depth > maxDepth {
		return inference.Refuse(inference.CodeFormat, "export the model again", "messages are nested deeper than %d", maxDepth)
	}
	if m == tensor {
		return checkTensor(b)
	}
	for len(b) > 0 {
		f, rest := field(b)
		if rest == nil {
			return errWire()
		}
		b = rest
		to := leads[step{m, f.number}]
		if to == other {
			continue
		}
		if f.wire != wireBytes {
			return errWire()
		}
		*seen = *seen || to == graph
		if err := walk(f.bytes, to, depth+1, seen); err != nil {
			return err
		}
	}
	return nil
}

// checkTensor: a TensorProto must carry its own data, and about as much of it as its dimensions say.
func checkTensor(b []byte) error {
	elements, carried, external := uint64(1), uint64(0), false
	for len(b) > 0 {
		f, rest := field(b)
		if rest == nil {
			return errWire()
		}
		b = rest
		switch f.number {
		case 1: // dims
			if !f.multiply(&elements) {
				return errWire()
			}
		case 4, 5, 6, 7, 9, 10, 11: // the kinds of data
			carried += uint64(len(f.bytes)) + 1 // one byte at least for a value that is not packed
		case 13, 14: // external_data, data_location
			external = external || f.number == 13 || f.value == 1
		}
	}
	switch {
	case external:
		return inference.Refuse(inference.CodeExternalData, "export the model with its weights inside, in one file", "a tensor wants to read its data from another file")
	case elements > 8*carried+8: // the smallest elements are half a byte
		return inference.Refuse(inference.CodeBudget, "fetch or export the model again", "a tensor declares more values than the file carries")
	}
	return nil
}

// wireField is one field of a protobuf message.
type wireField struct {
	number, wire uint64
	value        uint64
	bytes        []byte
}

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// field splits the first field off b; the rest is nil where b does not begin with one.
func field(b []byte) (f wireField, rest []byte) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return f, nil
	}
	f.number, f.wire, b = tag>>3, tag&7, b[n:]
	size := uint64(0)
	switch f.wire {
	case wireVarint:
		if f.value, n = binary.Uvarint(b); n <= 0 {
			return f, nil
		}
		return f, b[n:]
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireBytes:
		if size, n = binary.Uvarint(b); n <= 0 {
			return f, nil
		}
		b = b[n:]
	default: // groups, which ONNX never had
		return f, nil
	}
	if size > uint64(len(b)) {
		return f, nil
	}
	f.bytes = b[:size]
	return f, b[size:]
}

// multiply takes the field's numbers, packed or not, into n; it stops at the greatest number there is.
func (f *wireField) multiply(n *uint64) bool {
	times := func(d uint64) {
		hi, lo := bits.Mul64(*n, d)
		if *n = lo; hi != 0 {
			*n = math.MaxUint64
		}
	}
	if f.wire == wireVarint {
		times(f.value)
		return true
	}
	for b := f.bytes; len(b) > 0; {
		d, used := binary.Uvarint(b)
		if used <= 0 {
			return false
		}
		times(d)
		b = b[used:]
	}
	return true
}

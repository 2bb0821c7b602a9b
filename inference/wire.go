package inference

import (
	"encoding/binary"
	"errors"
)

// errWire is all that can be said of bytes that are no protobuf.
var errWire = errors.New("not an ONNX file, or cut short")

// field is one field of a protobuf message: its number and either a number or bytes.
type field struct {
	num   int
	wire  int
	value uint64 // varint, fixed32, fixed64
	bytes []byte // length-delimited
}

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// fields calls f for every field of a message. Groups, which ONNX never had, are refused.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errWire
		}
		x := field{num: int(tag >> 3), wire: int(tag & 7)}
		if n = x.read(b[n:], n); n < 0 {
			return errWire
		}
		b = b[n:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// read takes the field's value from b and returns used plus the bytes it took, or −1.
func (x *field) read(b []byte, used int) int {
	switch x.wire {
	case wireVarint:
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return -1
		}
		x.value = v
		return used + n
	case wireFixed64:
		if len(b) < 8 {
			return -1
		}
		x.value = binary.LittleEndian.Uint64(b)
		return used + 8
	case wireFixed32:
		if len(b) < 4 {
			return -1
		}
		x.value = uint64(binary.LittleEndian.Uint32(b))
		return used + 4
	case wireBytes:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return -1
		}
		x.bytes = b[n : n+int(size)]
		return used + n + int(size)
	}
	return -1
}

// numbers calls f for the values of a repeated varint field, packed or not.
func (x *field) numbers(f func(uint64)) error {
	if x.wire == wireVarint {
		f(x.value)
		return nil
	}
	for b := x.bytes; len(b) > 0; {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return errWire
		}
		f(v)
		b = b[n:]
	}
	return nil
}

package inference

import (
	"encoding/binary"
	"math"
)

// flatReader reads a FlatBuffer whose every offset may lie. The first step outside the bytes sets bad, and what is read from then on is 0.
type flatReader struct {
	b   []byte
	bad bool
}

// bytes is n bytes at a position, or as many zeros where there are none. n is at most 8.
func (r *flatReader) bytes(at int64, n int64) []byte {
	if at < 0 || at > int64(len(r.b))-n {
		r.bad = true
		return make([]byte, n)
	}
	return r.b[at : at+n]
}

func (r *flatReader) u8(at int64) byte     { return r.bytes(at, 1)[0] }
func (r *flatReader) u16(at int64) int64   { return int64(binary.LittleEndian.Uint16(r.bytes(at, 2))) }
func (r *flatReader) u32(at int64) int64   { return int64(binary.LittleEndian.Uint32(r.bytes(at, 4))) }
func (r *flatReader) i32(at int64) int64   { return int64(int32(r.u32(at))) }
func (r *flatReader) i64(at int64) int64   { return int64(binary.LittleEndian.Uint64(r.bytes(at, 8))) }
func (r *flatReader) f32(at int64) float64 { return float64(math.Float32frombits(uint32(r.u32(at)))) }

// follow is where the offset at a position leads.
func (r *flatReader) follow(at int64) int64 { return at + r.u32(at) }

// field is the position of a table's field, or 0 where the table does not have it.
func (r *flatReader) field(table int64, number int64) int64 {
	vtable := table - r.i32(table)
	if 4+2*number+2 > r.u16(vtable) {
		return 0
	}
	if offset := r.u16(vtable + 4 + 2*number); offset != 0 {
		return table + offset
	}
	return 0
}

// vector is the first element and the number of elements of a field's vector; all of them lie within the bytes.
func (r *flatReader) vector(table, number, size int64) (first, n int64) {
	at := r.field(table, number)
	if at == 0 {
		return 0, 0
	}
	at = r.follow(at)
	if n = r.u32(at); n > (int64(len(r.b))-at)/size {
		r.bad = true
		return 0, 0
	}
	return at + 4, n
}

// text is a string field, empty where there is none.
func (r *flatReader) text(table, number int64) string {
	first, n := r.vector(table, number, 1)
	if r.bad || first > int64(len(r.b))-n {
		r.bad = true
		return ""
	}
	return string(r.b[first : first+n])
}

// number is a field read by get, or 0 where there is none.
func (r *flatReader) number(table, field int64, get func(int64) int64) int64 {
	if at := r.field(table, field); at != 0 {
		return get(at)
	}
	return 0
}

// table is element i of a vector of tables.
func (r *flatReader) table(first, i int64) int64 { return r.follow(first + 4*i) }

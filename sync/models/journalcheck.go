package models

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
)

var errDamaged = errors.New("the journal is damaged")

func damage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// pages is a bbolt file in memory, walked with every check that bbolt itself leaves out: a page that leads back to itself would make bbolt
// recurse until the process ends, and a free list that names a page in use would let a later commit overwrite it. The journal is small
// enough to be read whole each time it is opened.
type pages struct {
	b    []byte
	size uint64 // of a page
	high uint64 // pages ever used
	seen map[uint64]bool
}

const (
	flagBranch, flagLeaf, flagFree = 0x01, 0x02, 0x10
	flagBucket                     = 0x01
	pageHead, pageElem             = 16, 16
	boltMagic                      = 0xED0CDAED
	noFreelist                     = ^uint64(0)
	maxTreeDepth                   = 16
)

// checkPages says whether bbolt may be shown the file.
func checkPages(b []byte) error {
	best := pages{}
	var root, free, tx uint64
	for _, at := range metaPlaces() {
		m, size, ok := meta(b, at)
		if !ok || best.b != nil && binary.LittleEndian.Uint64(m[48:]) <= tx {
			continue
		}
		best = pages{b: b, size: size, high: binary.LittleEndian.Uint64(m[40:]), seen: map[uint64]bool{0: true, 1: true}}
		root, free, tx = binary.LittleEndian.Uint64(m[16:]), binary.LittleEndian.Uint64(m[32:]), binary.LittleEndian.Uint64(m[48:])
	}
	if best.b == nil {
		return damage("no valid head")
	}
	if best.high < 4 || best.high > uint64(len(b))/best.size {
		return damage("it is cut off")
	}
	if err := best.walk(root, 0); err != nil {
		return err
	}
	return best.free(free)
}

// metaPlaces are where the two heads can lie: bbolt uses the page size of the machine that made the file.
func metaPlaces() []uint64 {
	places := []uint64{0, uint64(os.Getpagesize())}
	for s := uint64(1 << 10); s <= 64<<10; s <<= 1 {
		places = append(places, s)
	}
	return places
}

func meta(b []byte, at uint64) (m []byte, size uint64, ok bool) {
	if at+pageHead+64 > uint64(len(b)) {
		return nil, 0, false
	}
	m = b[at+pageHead : at+pageHead+64]
	if binary.LittleEndian.Uint32(m) != boltMagic || binary.LittleEndian.Uint32(m[4:]) != 2 {
		return nil, 0, false
	}
	h := fnv.New64a()
	h.Write(m[:56])
	size = uint64(binary.LittleEndian.Uint32(m[8:]))
	ok = h.Sum64() == binary.LittleEndian.Uint64(m[56:]) && size >= 1<<10 && size <= 64<<10 && size&(size-1) == 0 && (at == 0 || at == size)
	return m, size, ok
}

// take gives a page with what overflows from it, once.
func (p *pages) take(id uint64) ([]byte, error) {
	if id < 2 || id >= p.high {
		return nil, damage("page %d is outside", id)
	}
	b := p.b[id*p.size:]
	span := uint64(binary.LittleEndian.Uint32(b[12:])) + 1
	if binary.LittleEndian.Uint64(b) != id || span > p.high-id {
		return nil, damage("page %d is another", id)
	}
	for i := range span {
		if p.seen[id+i] {
			return nil, damage("page %d is used twice", id+i)
		}
		p.seen[id+i] = true
	}
	return b[:span*p.size], nil
}

func (p *pages) walk(id uint64, depth int) error {
	b, err := p.take(id)
	if err != nil {
		return err
	}
	if depth > maxTreeDepth {
		return damage("it is too deep")
	}
	return p.node(b, depth)
}

// node checks a page, or a small bucket inside one.
func (p *pages) node(b []byte, depth int) error {
	if len(b) < pageHead {
		return damage("a bucket is cut off")
	}
	flags, n := binary.LittleEndian.Uint16(b[8:]), uint64(binary.LittleEndian.Uint16(b[10:]))
	if flags != flagBranch && flags != flagLeaf || pageHead+n*pageElem > uint64(len(b)) || flags == flagBranch && n == 0 {
		return damage("a page is no page of a tree")
	}
	var last []byte
	for i := range n {
		at := pageHead + i*pageElem
		key, err := p.element(b, at, flags == flagLeaf, depth)
		if err != nil {
			return err
		}
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return damage("the keys of a page are out of order")
		}
		last = key
	}
	return nil
}

func (p *pages) element(b []byte, at uint64, leaf bool, depth int) (key []byte, err error) {
	e := b[at:]
	if !leaf {
		pos, k := uint64(binary.LittleEndian.Uint32(e)), uint64(binary.LittleEndian.Uint32(e[4:]))
		if at+pos+k > uint64(len(b)) {
			return nil, damage("a key lies outside its page")
		}
		return b[at+pos : at+pos+k], p.walk(binary.LittleEndian.Uint64(e[8:]), depth+1)
	}
	flags, pos := binary.LittleEndian.Uint32(e), uint64(binary.LittleEndian.Uint32(e[4:]))
	k, v := uint64(binary.LittleEndian.Uint32(e[8:])), uint64(binary.LittleEndian.Uint32(e[12:]))
	if at+pos+k+v > uint64(len(b)) {
		return nil, damage("a value lies outside its page")
	}
	key, value := b[at+pos:at+pos+k], b[at+pos+k:at+pos+k+v]
	if flags&flagBucket == 0 {
		return key, nil
	}
	if len(value) < 16 {
		return nil, damage("a bucket is cut off")
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return key, p.walk(root, depth+1)
	}
	if depth > maxTreeDepth {
		return nil, damage("it is too deep")
	}
	return key, p.node(value[16:], depth+1)
}

// free checks that no free page is in use.
func (p *pages) free(id uint64) error {
	if id == noFreelist {
		return nil
	}
	b, err := p.take(id)
	if err != nil {
		return err
	}
	n, at := uint64(binary.LittleEndian.Uint16(b[10:])), uint64(pageHead)
	if n == 0xFFFF {
		n, at = binary.LittleEndian.Uint64(b[pageHead:]), pageHead+8
	}
	if binary.LittleEndian.Uint16(b[8:]) != flagFree || n > (uint64(len(b))-at)/8 {
		return damage("the free list is none")
	}
	for i := range n {
		f := binary.LittleEndian.Uint64(b[at+8*i:])
		if f < 2 || f >= p.high || p.seen[f] {
			return damage("the free list names page %d", f)
		}
		p.seen[f] = true
	}
	return nil
}

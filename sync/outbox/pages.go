package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// pageReader reads bbolt's file format with ordinary reads and trusts nothing in it. bbolt itself must not be shown a damaged file: opening
// one without a synced freelist it walks the whole tree in a goroutine of its own, where a panic or a fault ends the process, whatever guards the caller set.
// So the tree is walked here first, with every check that bbolt's walk relies on; a read error is an error here and not a SIGBUS.
type pageReader struct {
	r    io.ReaderAt
	size int64 // page size
	meta pageMeta
	seen []uint64 // bitmap of the pages reached
}

type pageMeta struct{ root, high, tx uint64 }

const (
	pageHead   = 16
	pageElem   = 16
	pageBranch = 0x01
	pageLeaf   = 0x02
	bucketFlag = 0x01
	boltMagic  = 0xED0CDAED
	maxDepth   = 24
	maxSpan    = 1 << 12 // pages that one page of ours could ever span
)

var errDamaged = errors.New("the file's pages are damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// newPageReader finds the newest valid meta page of a file of length bytes.
func newPageReader(r io.ReaderAt, length int64) (*pageReader, error) {
	p := &pageReader{r: r}
	sizes := []int64{int64(os.Getpagesize())}
	for s := int64(1 << 10); s <= 64<<10; s <<= 1 {
		sizes = append(sizes, s)
	}
	for _, s := range sizes {
		for i := range int64(2) {
			m, err := p.readMeta(i*s, s, length)
			if err != nil && !errors.Is(err, errDamaged) {
				return nil, err
			}
			if err == nil && (p.size == 0 || m.tx > p.meta.tx) {
				p.size, p.meta = s, m
			}
		}
		if p.size != 0 {
			break
		}
	}
	if p.size == 0 {
		return nil, damaged("neither meta page is valid")
	}
	if pages := uint64(length / p.size); p.meta.high > pages || p.meta.root < 2 || p.meta.root >= p.meta.high {
		return nil, damaged("the tree needs %d pages, the file has %d", p.meta.high, pages)
	}
	p.seen = make([]uint64, p.meta.high/64+1)
	return p, nil
}

func (p *pageReader) readMeta(at, size, length int64) (pageMeta, error) {
	if at+size > length {
		return pageMeta{}, damaged("the file ends before its meta pages")
	}
	b := make([]byte, pageHead+64)
	if _, err := p.r.ReadAt(b, at); err != nil {
		return pageMeta{}, fmt.Errorf("read meta page: %w", err)
	}
	m, e := b[pageHead:], binary.NativeEndian
	sum := fnv.New64a()
	sum.Write(m[:56])
	if e.Uint32(m) != boltMagic || e.Uint32(m[4:]) != 2 || int64(e.Uint32(m[8:])) != size || e.Uint64(m[56:]) != sum.Sum64() {
		return pageMeta{}, damaged("meta page at %d", at)
	}
	return pageMeta{root: e.Uint64(m[16:]), high: e.Uint64(m[40:]), tx: e.Uint64(m[48:])}, nil
}

// page reads page id with all it spans and checks its header.
func (p *pageReader) page(id uint64) ([]byte, error) {
	if id < 2 || id >= p.meta.high {
		return nil, damaged("page %d is outside the file", id)
	}
	b := make([]byte, p.size)
	if _, err := p.r.ReadAt(b, int64(id)*p.size); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	e := binary.NativeEndian
	flags, span := e.Uint16(b[8:]), uint64(e.Uint32(b[12:]))
	if e.Uint64(b) != id || flags != pageBranch && flags != pageLeaf || span > maxSpan || id+span >= p.meta.high {
		return nil, damaged("page %d says it is page %d, kind %#x, spanning %d", id, e.Uint64(b), flags, span)
	}
	for i := id; i <= id+span; i++ {
		if p.seen[i/64]>>(i%64)&1 == 1 {
			return nil, damaged("page %d is used twice", i)
		}
		p.seen[i/64] |= 1 << (i % 64)
	}
	if span == 0 {
		return b, nil
	}
	rest := make([]byte, int64(span)*p.size)
	if _, err := p.r.ReadAt(rest, int64(id+1)*p.size); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id+1, err)
	}
	return append(b, rest...), nil
}

// element is one entry of a page: a child (branch) or a key with its value (leaf).
type element struct {
	flags uint32
	child uint64
	key   []byte
	value []byte
	off   int64 // of the value in its page
}

// elements reads the entries of a page and checks that they lie inside it, in order.
func elements(b []byte) ([]element, error) {
	e := binary.NativeEndian
	leaf, n := e.Uint16(b[8:]) == pageLeaf, int(e.Uint16(b[10:]))
	if pageHead+n*pageElem > len(b) || !leaf && n == 0 {
		return nil, damaged("a page claims %d entries", n)
	}
	out := make([]element, n)
	for i := range out {
		at := pageHead + i*pageElem
		x := b[at:]
		var pos, klen, vlen uint64
		if leaf {
			out[i].flags = e.Uint32(x)
			pos, klen, vlen = uint64(e.Uint32(x[4:])), uint64(e.Uint32(x[8:])), uint64(e.Uint32(x[12:]))
		} else {
			pos, klen = uint64(e.Uint32(x)), uint64(e.Uint32(x[4:]))
			out[i].child = e.Uint64(x[8:])
		}
		from := uint64(at) + pos
		if klen == 0 || from < uint64(pageHead+n*pageElem) || from+klen+vlen > uint64(len(b)) {
			return nil, damaged("an entry lies outside its page")
		}
		out[i].key, out[i].value = b[from:from+klen:from+klen], b[from+klen:from+klen+vlen:from+klen+vlen]
		out[i].off = int64(from + klen)
		if i > 0 && bytes.Compare(out[i-1].key, out[i].key) >= 0 {
			return nil, damaged("keys out of order")
		}
	}
	return out, nil
}

// visit is called with every key and value of a bucket, in key order; bucket is the name of the top-level bucket.
type visit func(bucket string, key, value []byte) error

// walk visits every bucket of the file: ours are all at the top level. onBroken is told of each subtree that cannot be read;
// if it returns nil the walk goes on beside it.
func (p *pageReader) walk(fn visit, onBroken func(bucket string, err error) error) error {
	return p.tree(p.meta.root, "", bounds{}, 0, func(_ string, x element) error {
		if x.flags&^bucketFlag != 0 || x.flags&bucketFlag == 0 || len(x.value) < 16 {
			return onBroken("", damaged("entry %q of the root is no bucket", x.key))
		}
		name := string(x.key)
		each := func(_ string, y element) error {
			if y.flags != 0 {
				return onBroken(name, damaged("entry of %s has flags %#x", name, y.flags))
			}
			return fn(name, y.key, y.value)
		}
		broken := func(_ string, err error) error { return onBroken(name, err) }
		if root := binary.NativeEndian.Uint64(x.value); root != 0 {
			return p.tree(root, name, bounds{}, 0, each, broken)
		}
		return p.inline(x.value[16:], name, each, broken)
	}, onBroken)
}

// inline visits a bucket small enough to live inside its parent's value.
func (p *pageReader) inline(b []byte, name string, each func(string, element) error, broken func(string, error) error) error {
	if len(b) < pageHead || binary.NativeEndian.Uint16(b[8:]) != pageLeaf || binary.NativeEndian.Uint64(b) != 0 {
		return broken(name, damaged("bucket %s has a wrong inline page", name))
	}
	xs, err := elements(b)
	if err != nil {
		return broken(name, err)
	}
	for _, x := range xs {
		if err := each(name, x); err != nil {
			return err
		}
	}
	return nil
}

// bounds are the keys that a subtree's keys must lie between; nil is open.
type bounds struct{ low, high []byte }

func (b bounds) hold(key []byte) bool {
	return (b.low == nil || bytes.Compare(key, b.low) >= 0) && (b.high == nil || bytes.Compare(key, b.high) < 0)
}

func (p *pageReader) tree(id uint64, name string, in bounds, depth int, each func(string, element) error, broken func(string, error) error) error {
	b, err := p.page(id)
	var xs []element
	if err == nil {
		xs, err = elements(b)
	}
	if err == nil && depth > maxDepth {
		err = damaged("the tree is deeper than %d", maxDepth)
	}
	if err == nil && len(xs) > 0 && !(in.hold(xs[0].key) && in.hold(xs[len(xs)-1].key)) {
		err = damaged("page %d holds keys of another place", id)
	}
	if err != nil {
		return broken(name, err)
	}
	leaf := binary.NativeEndian.Uint16(b[8:]) == pageLeaf
	for i, x := range xs {
		if leaf {
			err = each(name, x)
		} else {
			next := bounds{x.key, in.high}
			if i+1 < len(xs) {
				next.high = xs[i+1].key
			}
			err = p.tree(x.child, name, next, depth+1, each, broken)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leaves visits the entries of every leaf page of the file, free ones included: what a broken tree has left behind. at is where the value
// lies in the file.
func (p *pageReader) leaves(fn func(at int64, x element) error) error {
	b := make([]byte, p.size)
	for id := uint64(2); id < p.meta.high; id++ {
		from := int64(id) * p.size
		if _, err := p.r.ReadAt(b, from); err != nil {
			continue
		}
		if binary.NativeEndian.Uint64(b) != id || binary.NativeEndian.Uint16(b[8:]) != pageLeaf {
			continue
		}
		xs, err := elements(b)
		if err != nil {
			continue
		}
		for _, x := range xs {
			if err := fn(from+x.off, x); err != nil {
				return err
			}
		}
	}
	return nil
}

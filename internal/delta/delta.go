// Package delta makes and applies patches between two versions of a file, or of a bundle's files laid end to end.
//
// A patch is four bytes "HDP1" and one zstd frame of steps: copy a run of the old, insert bytes, or add bytes to a run of the old
// (bsdiff's idea: neighbouring weights differ by little). Making one holds both versions in memory and is a workstation's work; applying
// one streams and needs the same 3 MB or so whatever the size, because the old is read where it lies. docs/decisions/0008 has the
// figures and says why it is not zstd's own --patch-from.
package delta

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	magic   = "HDP1"
	window  = 1 << 20 // bytes of history that the decoder keeps
	minRun  = 16      // bytes of the old that a step takes at least: a hostile patch cannot make a read of each byte
	pieceOf = 32 << 10
)

// The steps, one byte each. Offsets are written as the distance from where the last run of the old ended.
const (
	opEnd    = iota // nothing follows
	opCopy          // distance, length
	opInsert        // length, bytes
	opAdd           // distance, length, bytes to be added modulo 256
)

// ErrPatch is a patch that is damaged, hostile, or made for other files. The whole file is the way out.
var ErrPatch = errors.New("the patch does not fit")

// Apply writes the new version to out: exactly size bytes whose SHA-256 is the given one (64 hex digits), both from a signed source, or an
// error; what was written to out until then is to be thrown away. Old is read at any offset, and only below oldSize. Nothing in the patch
// can make Apply write more than size bytes, or read or compute more than in proportion to it. Errors of old, patch and out keep their identity.
func Apply(old io.ReaderAt, oldSize int64, patch io.Reader, out io.Writer, size int64, sha256hex string) error {
	want, err := hex.DecodeString(sha256hex)
	if err != nil || len(want) != sha256.Size {
		return fmt.Errorf("apply a patch: %q is not a SHA-256 digest of 64 hex digits", sha256hex)
	}
	sum := sha256.New()
	if err := apply(old, oldSize, patch, io.MultiWriter(out, sum), size); err != nil {
		return err
	}
	return sameDigest(sum, want)
}

func sameDigest(sum hash.Hash, want []byte) error {
	if got := sum.Sum(nil); string(got) != string(want) {
		return fmt.Errorf("%w: the result has digest %x… and not %x…", ErrPatch, got[:6], want[:6])
	}
	return nil
}

// apply is Apply for a caller whose out checks the digests.
func apply(old io.ReaderAt, oldSize int64, patch io.Reader, out io.Writer, size int64) error {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(patch, head); err != nil {
		return misfit("read the patch", err)
	}
	if string(head) != magic {
		return fmt.Errorf("%w: it does not begin with %s", ErrPatch, magic)
	}
	dec, err := zstd.NewReader(patch, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(window))
	if err != nil {
		return misfit("read the patch", err)
	}
	defer dec.Close()
	w := bufio.NewWriterSize(out, 64<<10)
	p := patcher{old: old, oldSize: oldSize, in: bufio.NewReader(dec), out: w, left: size, piece: make([]byte, pieceOf), base: make([]byte, pieceOf)}
	if err := p.run(); err != nil {
		return err
	}
	return w.Flush()
}

type patcher struct {
	old         io.ReaderAt
	oldSize     int64
	in          *bufio.Reader
	out         io.Writer
	next        int64 // where the last run of the old ended
	left        int64 // bytes that are still to be written
	piece, base []byte
}

func (p *patcher) run() error {
	for {
		op, err := p.in.ReadByte()
		if err != nil {
			return misfit("read the patch", err)
		}
		switch op {
		case opEnd:
			return p.end()
		case opCopy, opAdd:
			err = p.take(op == opAdd)
		case opInsert:
			err = p.insert()
		default:
			err = fmt.Errorf("%w: it has a step %d, which this version does not know", ErrPatch, op)
		}
		if err != nil {
			return err
		}
	}
}

func (p *patcher) end() error {
	if p.left != 0 {
		return fmt.Errorf("%w: it ends %d bytes early", ErrPatch, p.left)
	}
	if _, err := p.in.ReadByte(); err != io.EOF { // also: the frame's own checksum is read
		if err == nil {
			return fmt.Errorf("%w: something follows its end", ErrPatch)
		}
		return misfit("read the patch", err)
	}
	return nil
}

// length reads how much a step writes and holds it to what is left.
func (p *patcher) length(least uint64) (int64, error) {
	n, err := binary.ReadUvarint(p.in)
	if err != nil {
		return 0, misfit("read the patch", err)
	}
	if n < least || n > uint64(p.left) {
		return 0, fmt.Errorf("%w: a step of %d bytes where at least %d and at most %d are allowed", ErrPatch, n, least, p.left)
	}
	p.left -= int64(n)
	return int64(n), nil
}

func (p *patcher) insert() error {
	n, err := p.length(1)
	if err != nil {
		return err
	}
	for n > 0 {
		b := p.piece[:min(n, pieceOf)]
		if _, err := io.ReadFull(p.in, b); err != nil {
			return misfit("read the patch", err)
		}
		if _, err := p.out.Write(b); err != nil {
			return fmt.Errorf("write the patched file: %w", err)
		}
		n -= int64(len(b))
	}
	return nil
}

// take copies a run of the old, with the patch's bytes added if add is set.
func (p *patcher) take(add bool) error {
	d, err := binary.ReadVarint(p.in)
	if err != nil {
		return misfit("read the patch", err)
	}
	n, err := p.length(minRun)
	if err != nil {
		return err
	}
	if d < -p.next || d > p.oldSize-p.next || n > p.oldSize-(p.next+d) {
		return fmt.Errorf("%w: it reads beyond the %d bytes of the old version; it was made for another one", ErrPatch, p.oldSize)
	}
	p.next += d
	for n > 0 {
		b := p.base[:min(n, pieceOf)]
		if m, err := p.old.ReadAt(b, p.next); m < len(b) {
			return fmt.Errorf("read the old version: %w", err)
		}
		if add {
			if err := p.sum(b); err != nil {
				return err
			}
		}
		if _, err := p.out.Write(b); err != nil {
			return fmt.Errorf("write the patched file: %w", err)
		}
		p.next += int64(len(b))
		n -= int64(len(b))
	}
	return nil
}

func (p *patcher) sum(b []byte) error {
	diff := p.piece[:len(b)]
	if _, err := io.ReadFull(p.in, diff); err != nil {
		return misfit("read the patch", err)
	}
	for i := range b {
		b[i] += diff[i]
	}
	return nil
}

// misfit says that reading the patch failed: it is cut short or damaged, or the medium it lies on is.
func misfit(what string, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %s: %w", ErrPatch, what, err)
}

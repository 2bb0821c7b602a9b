package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

const (
	block   = 64      // bytes of the old that are looked up at a time; shorter equalities count only in place
	maxMake = 1 << 30 // bytes of either version
)

// Make writes the patch that turns old into new. It holds both, and a table of a fifth of old's size; the same input gives the same bytes
// with the same build of this program. Whether the patch pays is for the caller to see: compare its size with the whole file as it would
// be sent. A version over 1 GiB is refused.
func Make(old, new []byte, w io.Writer) error {
	if len(old) > maxMake || len(new) > maxMake {
		return fmt.Errorf("make a patch: a version is larger than %d MiB; send the whole file", maxMake>>20)
	}
	if _, err := io.WriteString(w, magic); err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	enc, err := zstd.NewWriter(w, zstd.WithWindowSize(window), zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("make a patch: %w", err)
	}
	trial, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("make a patch: %w", errors.Join(err, enc.Close()))
	}
	m := maker{old: old, new: new, out: enc, trial: trial}
	m.run()
	if err := errors.Join(m.err, enc.Close(), trial.Close()); err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	return nil
}

type maker struct {
	old, new []byte
	out      io.Writer
	trial    *zstd.Encoder
	pos      int // what of new is written
	next     int // where in old the last run ended
	err      error
}

func (m *maker) run() {
	t := index(m.old)
	var h uint64
	hashed := -1 // where h belongs to
	for i := 0; i+block <= len(m.new) && m.err == nil; {
		at := m.next + i - m.pos // in place: as far from the last run as in new
		if at+block > len(m.old) || !bytes.Equal(m.old[at:at+block], m.new[i:i+block]) {
			if hashed != i {
				h, hashed = hashOf(m.new[i:i+block]), i
			}
			at = t.find(h, m.old, m.new[i:i+block])
		}
		if at < 0 {
			if i+block < len(m.new) {
				h, hashed = roll(h, m.new[i], m.new[i+block]), i+1
			}
			i++
			continue
		}
		i = m.run1(i, at)
	}
	m.gap(len(m.new))
	m.write([]byte{opEnd})
}

// run1 extends the equality of new at i and old at at to both sides, writes it and returns where in new it ends.
func (m *maker) run1(i, at int) int {
	for i > m.pos && at > 0 && m.new[i-1] == m.old[at-1] {
		i, at = i-1, at-1
	}
	n := common(m.new[i:], m.old[at:])
	m.gap(i)
	m.step(opCopy, at, n)
	m.pos, m.next = i+n, at+n
	return m.pos
}

// gap writes what lies before the next run: as it is, or as its difference from what follows the last run in old, whichever is smaller when compressed.
func (m *maker) gap(end int) {
	raw := m.new[m.pos:end]
	if n := min(len(raw), len(m.old)-m.next); n >= minRun {
		diff := make([]byte, n)
		for i := range diff {
			diff[i] = raw[i] - m.old[m.next+i]
		}
		if len(m.trial.EncodeAll(diff, nil)) < len(m.trial.EncodeAll(raw[:n], nil)) {
			m.step(opAdd, m.next, n)
			m.write(diff)
			m.next += n
			raw = raw[n:]
		}
	}
	m.pos = end
	if len(raw) > 0 {
		m.write(binary.AppendUvarint([]byte{opInsert}, uint64(len(raw))))
		m.write(raw)
	}
}

func (m *maker) step(op byte, at, n int) {
	b := binary.AppendVarint([]byte{op}, int64(at-m.next))
	m.write(binary.AppendUvarint(b, uint64(n)))
}

func (m *maker) write(b []byte) {
	if m.err == nil {
		_, m.err = m.out.Write(b)
	}
}

func common(a, b []byte) int {
	n, i := min(len(a), len(b)), 0
	for i+8 <= n {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
		i += 8
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// table finds the blocks of the old, aligned to their size, by their hash. A slot holds one block: the first.
type table struct {
	slots []int32 // offset/block + 1
	shift int
}

func index(old []byte) table {
	n := max(16, bits.Len(uint(len(old)/block))+1)
	t := table{slots: make([]int32, 1<<n), shift: 64 - n}
	for i := 0; i+block <= len(old); i += block {
		if s := t.slot(hashOf(old[i : i+block])); t.slots[s] == 0 {
			t.slots[s] = int32(i/block) + 1
		}
	}
	return t
}

func (t table) slot(h uint64) uint64 { return h * 0x9e3779b97f4a7c15 >> t.shift }

// find is where in old those bytes are, or -1.
func (t table) find(h uint64, old, b []byte) int {
	at := (int(t.slots[t.slot(h)]) - 1) * block
	if at < 0 || !bytes.Equal(old[at:at+block], b) {
		return -1
	}
	return at
}

const (
	prime = 0x100000001b3
	// primeN is prime to the power of block, modulo 2^64: what the oldest byte weighs when the next one comes in.
	prime2  = prime * prime & (1<<64 - 1)
	prime4  = prime2 * prime2 & (1<<64 - 1)
	prime8  = prime4 * prime4 & (1<<64 - 1)
	prime16 = prime8 * prime8 & (1<<64 - 1)
	prime32 = prime16 * prime16 & (1<<64 - 1)
	primeN  = prime32 * prime32 & (1<<64 - 1)
)

func hashOf(b []byte) (h uint64) {
	for _, c := range b {
		h = h*prime + uint64(c) + 1
	}
	return h
}

// roll moves the hash on by one byte.
func roll(h uint64, out, in byte) uint64 {
	return h*prime + uint64(in) + 1 - (uint64(out)+1)*primeN
}

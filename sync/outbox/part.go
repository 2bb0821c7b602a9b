package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"heron/internal/clock"
	"heron/sync/message"
)

// On disk a group is a run of parts in the bucket of its stream. A part's key is the group's key (8 bytes, big-endian: the first sequence
// number) and the part's number (2 bytes); four parts fit a page of 4 KiB. The first part opens with the header, which holds a
// CRC32C over key, header and body.
const (
	partBytes   = 980
	headVersion = 1
	headBytes   = 78
	keyBytes    = 10
	maxParts    = 200 // of a group: an incompressible envelope of maxSealBytes needs 126
	epochBytes  = 8
	flagLive    = 1
)

// head describes a sealed group.
type head struct {
	epoch  string // 8 characters
	first  uint64 // sequence number of the first record
	stream message.Stream
	count  int
	size   int // of the envelope
	live   bool
	sealed time.Time
	since  time.Time     // Put of the first record
	until  time.Time     // Put of the last record
	mono   time.Duration // since boot, at sealing
	boot   string        // 6 characters
	clock  clock.Quality
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once by the library

func partKey(key uint64, part int) []byte {
	k := make([]byte, keyBytes)
	binary.BigEndian.PutUint64(k, key)
	binary.BigEndian.PutUint16(k[8:], uint16(part))
	return k
}

func partsOf(body int) int { return (headBytes + body + partBytes - 1) / partBytes }

// encodeGroup calls put with each part of the group, in order.
func encodeGroup(h head, key uint64, body []byte, put func(k, v []byte) error) error {
	n := partsOf(len(body))
	if n > maxParts {
		return fmt.Errorf("group %d of %s has %d bytes: too many for the outbox", h.first, h.stream, len(body))
	}
	first := encodeHead(h, n, len(body))
	binary.BigEndian.PutUint32(first[8:], groupSum(key, first, body))
	cut := min(len(body), partBytes-headBytes)
	if err := put(partKey(key, 0), append(first, body[:cut]...)); err != nil {
		return err
	}
	for i := 1; i < n; i++ {
		end := min(cut+partBytes, len(body))
		if err := put(partKey(key, i), body[cut:end]); err != nil {
			return err
		}
		cut = end
	}
	return nil
}

func encodeHead(h head, parts, body int) []byte {
	b := make([]byte, headBytes, partBytes)
	b[0] = headVersion
	if h.live {
		b[1] |= flagLive
	}
	binary.BigEndian.PutUint16(b[4:], uint16(h.count))
	binary.BigEndian.PutUint16(b[6:], uint16(parts))
	binary.BigEndian.PutUint32(b[12:], uint32(body))
	binary.BigEndian.PutUint32(b[16:], uint32(h.size))
	binary.BigEndian.PutUint64(b[20:], h.first)
	binary.BigEndian.PutUint64(b[28:], uint64(h.sealed.UnixMilli()))
	binary.BigEndian.PutUint32(b[36:], offsetMS(h.sealed, h.since))
	binary.BigEndian.PutUint32(b[40:], offsetMS(h.sealed, h.until))
	binary.BigEndian.PutUint64(b[44:], uint64(h.mono.Milliseconds()))
	quality := uint32(min(max(h.clock.ErrMS, 0), 1<<31-1))
	if h.clock.Sync {
		quality |= 1 << 31
	}
	binary.BigEndian.PutUint32(b[52:], quality)
	copy(b[56:62], h.boot)
	copy(b[62:70], h.epoch)
	copy(b[70:78], h.stream)
	return b
}

// offsetMS is how long before the sealing something was: a wall clock that stepped meanwhile gives 0.
func offsetMS(sealed, t time.Time) uint32 {
	return uint32(min(max(sealed.Sub(t).Milliseconds(), 0), 1<<32-1))
}

// groupSum is over the key, the header without its sum, and the body.
func groupSum(key uint64, header, body []byte) uint32 {
	t := castagnoli()
	var k [8]byte
	binary.BigEndian.PutUint64(k[:], key)
	sum := crc32.Update(0, t, k[:])
	sum = crc32.Update(sum, t, header[:8])
	sum = crc32.Update(sum, t, header[12:headBytes])
	return crc32.Update(sum, t, body)
}

var errBadPart = errors.New("checksum or form of the group is wrong")

// headSizes reads what is needed to collect a group's parts.
func headSizes(first []byte) (parts, body int, err error) {
	if len(first) < headBytes || len(first) > partBytes || first[0] != headVersion {
		return 0, 0, errBadPart
	}
	parts, body = int(binary.BigEndian.Uint16(first[6:])), int(binary.BigEndian.Uint32(first[12:]))
	if parts < 1 || parts > maxParts || body > maxParts*partBytes || partsOf(body) != parts {
		return 0, 0, errBadPart
	}
	return parts, body, nil
}

// decodeGroup checks and opens a group: first is its first part, body the whole payload.
func decodeGroup(key uint64, first, body []byte) (head, error) {
	if groupSum(key, first, body) != binary.BigEndian.Uint32(first[8:]) {
		return head{}, errBadPart
	}
	sealed := time.UnixMilli(int64(binary.BigEndian.Uint64(first[28:]))).UTC()
	quality := binary.BigEndian.Uint32(first[52:])
	h := head{
		epoch: text(first[62:70]), first: binary.BigEndian.Uint64(first[20:]), stream: message.Stream(text(first[70:78])),
		count: int(binary.BigEndian.Uint16(first[4:])), size: int(binary.BigEndian.Uint32(first[16:])), live: first[1]&flagLive != 0,
		sealed: sealed, since: sealed.Add(-time.Duration(binary.BigEndian.Uint32(first[36:])) * time.Millisecond),
		until: sealed.Add(-time.Duration(binary.BigEndian.Uint32(first[40:])) * time.Millisecond),
		mono:  time.Duration(binary.BigEndian.Uint64(first[44:])) * time.Millisecond,
		boot:  text(first[56:62]), clock: clock.Quality{Sync: quality>>31 == 1, ErrMS: int64(quality &^ (1 << 31))},
	}
	if rank(h.stream) < 0 || h.count < 1 || h.count > maxSealRecords {
		return head{}, errBadPart
	}
	return h, nil
}

func text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// rank is a stream's place in falling worth, 0 the worthiest; -1 for an unknown stream.
func rank(s message.Stream) int {
	for i, t := range message.Streams() {
		if s == t {
			return i
		}
	}
	return -1
}

// assembler puts groups together from parts that come in key order.
type assembler struct {
	key   uint64
	next  int // the part expected; 0: none begun
	parts int
	want  int
	first []byte
	body  []byte
}

// found is what the assembler makes of a run of parts: a whole group, or a damaged one.
type found struct {
	key   uint64
	head  head
	body  []byte // reused by the next group
	count int    // of a damaged group: as its header says if that makes sense, else 0
	err   error
}

// add takes the next part and reports what it completed: nothing, one group, or damage and then perhaps a group.
func (a *assembler) add(k, v []byte, out func(found) error) error {
	if len(k) != keyBytes {
		return out(found{err: errBadPart})
	}
	key, part := binary.BigEndian.Uint64(k), int(binary.BigEndian.Uint16(k[8:]))
	if a.next > 0 && (key != a.key || part != a.next) {
		if err := a.flush(out); err != nil {
			return err
		}
	}
	if a.next == 0 {
		if part != 0 {
			if a.key == key && a.parts == -1 {
				return nil // more of what has been reported
			}
			a.key, a.parts = key, -1
			return out(found{key: key, err: errBadPart})
		}
		parts, want, err := headSizes(v)
		if err != nil {
			a.key, a.parts = key, -1
			return out(found{key: key, err: err})
		}
		a.key, a.parts, a.want = key, parts, want
		a.first = append(a.first[:0], v[:headBytes]...)
		a.body = append(a.body[:0], v[headBytes:]...)
	} else {
		a.body = append(a.body, v...)
	}
	a.next = part + 1
	if a.next < a.parts && len(a.body) <= a.want {
		return nil
	}
	return a.finish(out)
}

// flush reports a group whose last parts never came.
func (a *assembler) flush(out func(found) error) error {
	if a.next == 0 {
		return nil
	}
	a.next = 0
	f := found{key: a.key, count: a.claimed(), err: errBadPart}
	a.parts = -1
	return out(f)
}

func (a *assembler) finish(out func(found) error) error {
	a.next = 0
	h, err := decodeGroup(a.key, a.first, a.body)
	if err != nil || len(a.body) != a.want {
		f := found{key: a.key, count: a.claimed(), err: errBadPart}
		a.parts = -1
		return out(f)
	}
	return out(found{key: a.key, head: h, body: a.body, count: h.count})
}

func (a *assembler) claimed() int {
	if n := int(binary.BigEndian.Uint16(a.first[4:])); n <= maxSealRecords {
		return n
	}
	return 0
}

package outbox

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"heron/sync/message"
)

// state is the outbox's own record, written in every transaction together with what it counts.
type state struct {
	clean    bool // the file was closed in order: next is exact
	epoch    string
	low      uint64 // numbers below are safe: on disk, acknowledged or told of
	next     uint64 // first sequence number not given out when this was written
	reserved uint64 // numbers below may have been given out since
	session  uint64
	serial   uint64    // of the transaction that wrote it
	streams  [8]counts // in order of falling worth
}

// counts of one stream on disk.
type counts struct {
	records, groups, bytes int64
	head                   uint64 // every group with a smaller key has been delivered or dropped
	sum                    uint64 // over the groups: a disk that drops a write can lose one and bring back another of the same size
}

// mark is what a group adds to the sum of its stream.
func mark(key uint64, count int) uint64 {
	const odd = 0x9E3779B97F4A7C15
	x := (key ^ uint64(count)<<48) * odd
	return (x ^ x>>32) * odd
}

const (
	stateVersion = 2
	stateBytes   = stateFixed + 8*stateCounts + 4
	stateCounts  = 40
	stateFixed   = 50
)

var errBadState = errors.New("the outbox's own record is damaged or of another version")

func (s *state) encode() []byte {
	b := make([]byte, stateBytes)
	b[0] = stateVersion
	if s.clean {
		b[1] = 1
	}
	copy(b[2:10], s.epoch)
	binary.BigEndian.PutUint64(b[10:], s.next)
	binary.BigEndian.PutUint64(b[18:], s.reserved)
	binary.BigEndian.PutUint64(b[26:], s.session)
	binary.BigEndian.PutUint64(b[34:], s.low)
	binary.BigEndian.PutUint64(b[42:], s.serial)
	for i, c := range s.streams {
		o := b[stateFixed+stateCounts*i:]
		binary.BigEndian.PutUint64(o, uint64(c.records))
		binary.BigEndian.PutUint64(o[8:], uint64(c.groups))
		binary.BigEndian.PutUint64(o[16:], uint64(c.bytes))
		binary.BigEndian.PutUint64(o[24:], c.head)
		binary.BigEndian.PutUint64(o[32:], c.sum)
	}
	binary.BigEndian.PutUint32(b[stateBytes-4:], crc32.Checksum(b[:stateBytes-4], castagnoli()))
	return b
}

func decodeState(b []byte) (state, error) {
	if len(b) != stateBytes || b[0] != stateVersion ||
		crc32.Checksum(b[:stateBytes-4], castagnoli()) != binary.BigEndian.Uint32(b[stateBytes-4:]) {
		return state{}, errBadState
	}
	s := state{clean: b[1] == 1, epoch: text(b[2:10])}
	s.next, s.reserved, s.session = binary.BigEndian.Uint64(b[10:]), binary.BigEndian.Uint64(b[18:]), binary.BigEndian.Uint64(b[26:])
	s.low, s.serial = binary.BigEndian.Uint64(b[34:]), binary.BigEndian.Uint64(b[42:])
	for i := range s.streams {
		o := b[stateFixed+stateCounts*i:]
		s.streams[i] = counts{int64(binary.BigEndian.Uint64(o)), int64(binary.BigEndian.Uint64(o[8:])), int64(binary.BigEndian.Uint64(o[16:])),
			binary.BigEndian.Uint64(o[24:]), binary.BigEndian.Uint64(o[32:])}
	}
	return s, nil
}

// The stream named by an index of state.streams.
func streamAt(i int) message.Stream { return message.Streams()[i] }

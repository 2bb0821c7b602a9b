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
	streams  [8]counts // in order of falling worth
}

// counts of one stream on disk.
type counts struct {
	records, groups, bytes int64
	head                   uint64 // every group with a smaller key has been delivered or dropped
}

const (
	stateVersion = 1
	stateBytes   = stateFixed + 8*32 + 4
	stateFixed   = 42
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
	for i, c := range s.streams {
		o := b[stateFixed+32*i:]
		binary.BigEndian.PutUint64(o, uint64(c.records))
		binary.BigEndian.PutUint64(o[8:], uint64(c.groups))
		binary.BigEndian.PutUint64(o[16:], uint64(c.bytes))
		binary.BigEndian.PutUint64(o[24:], c.head)
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
	s.low = binary.BigEndian.Uint64(b[34:])
	for i := range s.streams {
		o := b[stateFixed+32*i:]
		s.streams[i] = counts{int64(binary.BigEndian.Uint64(o)), int64(binary.BigEndian.Uint64(o[8:])), int64(binary.BigEndian.Uint64(o[16:])), binary.BigEndian.Uint64(o[24:])}
	}
	return s, nil
}

// The stream named by an index of state.streams.
func streamAt(i int) message.Stream { return message.Streams()[i] }

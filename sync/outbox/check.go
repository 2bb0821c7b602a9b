package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"heron/sync/message"
)

// Report is what Verify finds in a file.
type Report struct {
	Epoch   string                   `json:"epoch"`
	NextSeq uint64                   `json:"next_seq"`
	Clean   bool                     `json:"clean"` // closed in order
	Groups  int64                    `json:"groups"`
	Records map[message.Stream]int64 `json:"records"`
	Bytes   map[message.Stream]int64 `json:"bytes"`
	Damaged int64                    `json:"damaged"` // groups, and parts of the tree that cannot be read
	Dead    int64                    `json:"dead"`    // records that the broker refused, or damaged groups kept for a look
	Oldest  time.Time                `json:"oldest"`
	Problem string                   `json:"problem,omitempty"` // the first one
}

// badGroup is a damaged group in a tree that is otherwise whole.
type badGroup struct {
	stream message.Stream
	key    uint64
	count  int // records in it, 0 when not known
	upto   uint64
}

// survey is a full reading of the file without bbolt.
type survey struct {
	state  state
	known  bool // state was read
	counts [8]counts
	oldest time.Time
	dead   int64
	bad    []badGroup
	broken []error
}

const (
	bucketMeta = "meta"
	bucketDead = "dead"
	keyState   = "state"
	maxBad     = 10_000 // damaged groups that are worth picking out one by one
)

// surveyFile reads the whole file. each, if not nil, gets every whole group; a broken tree ends the reading unless through is set.
func surveyFile(f *os.File, through bool, each func(found) error) (*survey, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	return surveyPages(f, info.Size(), through, each)
}

func surveyPages(r io.ReaderAt, length int64, through bool, each func(found) error) (*survey, error) {
	p, err := newPageReader(r, length)
	if err != nil {
		return nil, err
	}
	s := &survey{}
	var a assembler
	current := ""
	take := func(b string) func(found) error { return func(g found) error { return s.group(b, g, each) } }
	err = p.walk(func(bucket string, k, v []byte) error {
		if bucket != current {
			if err := a.flush(take(current)); err != nil {
				return err
			}
			a, current = assembler{first: a.first, body: a.body}, bucket
		}
		switch {
		case bucket == bucketMeta && string(k) == keyState:
			var err error
			s.state, err = decodeState(v)
			s.known = err == nil
			return nil
		case bucket == bucketMeta:
			return nil
		case bucket == bucketDead:
			s.dead++
			return nil
		}
		return a.add(k, v, take(bucket))
	}, func(bucket string, err error) error {
		if !through || !errors.Is(err, errDamaged) && !errors.Is(err, unix.EIO) {
			return err
		}
		s.broken = append(s.broken, err)
		return nil
	})
	if err == nil {
		err = a.flush(take(current))
	}
	return s, err
}

func (s *survey) group(bucket string, g found, each func(found) error) error {
	r := rank(message.Stream(bucket))
	if r < 0 || g.err == nil && g.head.stream != message.Stream(bucket) {
		g.err = errBadPart
	}
	if n := len(s.bad); n > 0 && s.bad[n-1].upto == 0 && s.bad[n-1].stream == message.Stream(bucket) {
		s.bad[n-1].upto = g.key
	}
	if g.err != nil {
		if r < 0 || len(s.bad) >= maxBad {
			return damaged("too many groups are damaged")
		}
		s.bad = append(s.bad, badGroup{stream: message.Stream(bucket), key: g.key, count: g.count})
		return nil
	}
	c := &s.counts[r]
	c.records += int64(g.count)
	c.groups++
	c.bytes += int64(len(g.body))
	c.sum += mark(g.key, g.count)
	if s.oldest.IsZero() || g.head.sealed.Before(s.oldest) {
		s.oldest = g.head.sealed
	}
	if each != nil {
		return each(g)
	}
	return nil
}

// Verify reads every page and every checksum of an outbox that nobody has open.
func Verify(path string) (Report, error) {
	f, err := openLocked(path, os.O_RDONLY, 2*time.Second)
	if err != nil {
		return Report{}, fmt.Errorf("verify outbox: %w", err)
	}
	defer f.Close()
	s, err := surveyFile(f, true, nil)
	if errors.Is(err, errDamaged) && s == nil {
		return Report{Damaged: 1, Problem: err.Error()}, nil
	}
	if err != nil && !errors.Is(err, errDamaged) {
		return Report{}, fmt.Errorf("verify outbox %s: %w", path, err)
	}
	if err != nil {
		s.broken = append(s.broken, err)
	}
	return s.report(), nil
}

func (s *survey) report() Report {
	r := Report{Epoch: s.state.epoch, NextSeq: s.state.next, Clean: s.state.clean, Dead: s.dead, Oldest: s.oldest,
		Records: map[message.Stream]int64{}, Bytes: map[message.Stream]int64{}, Damaged: int64(len(s.bad) + len(s.broken))}
	for i, c := range s.counts {
		r.Groups += c.groups
		if c.records > 0 {
			r.Records[streamAt(i)], r.Bytes[streamAt(i)] = c.records, c.bytes
		}
	}
	switch {
	case !s.known:
		r.Damaged++
		r.Problem = errBadState.Error()
	case len(s.broken) > 0:
		r.Problem = s.broken[0].Error()
	case len(s.bad) > 0:
		r.Problem = fmt.Sprintf("group %d of %s: %v", s.bad[0].key, s.bad[0].stream, errBadPart)
	}
	return r
}

// Export writes every record that waits in an outbox that nobody has open as a line of JSON:
// {"epoch":…,"stream":…,"record":{"seq":…}}. Damaged groups are passed over; Verify counts them.
func Export(path string, w io.Writer) error {
	f, err := openLocked(path, os.O_RDONLY, 2*time.Second)
	if err != nil {
		return fmt.Errorf("export outbox: %w", err)
	}
	defer f.Close()
	dec, err := newDecoder()
	if err != nil {
		return err
	}
	defer dec.Close()
	out := json.NewEncoder(w)
	_, err = surveyFile(f, true, func(g found) error {
		b, err := openGroup(dec, g.body)
		if err != nil {
			return nil // its checksum held, so it was written like this: nothing to export
		}
		for _, rec := range b.Data.Records {
			line := struct {
				Epoch  string          `json:"epoch"`
				Stream message.Stream  `json:"stream"`
				Record json.RawMessage `json:"record"`
			}{g.head.epoch, g.head.stream, rec}
			if err := out.Encode(line); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("export outbox %s: %w", path, err)
	}
	return nil
}

func newDecoder() (*zstd.Decoder, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(1<<20))
	if err != nil {
		return nil, fmt.Errorf("make zstd decoder: %w", err)
	}
	return d, nil
}

// openGroup decompresses and decodes a group's body.
func openGroup(dec *zstd.Decoder, body []byte) (message.Batch, error) {
	raw, err := dec.DecodeAll(body, nil)
	if err != nil {
		return message.Batch{}, fmt.Errorf("decompress: %w", err)
	}
	var b message.Batch
	if err := json.Unmarshal(raw, &b); err != nil {
		return message.Batch{}, fmt.Errorf("decode envelope: %w", err)
	}
	return b, nil
}

package outbox

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// read finds the first group of a stream at or after key from that skip does not refuse. ok is false at the end.
func (s *store) read(rank int, from uint64, skip func(key uint64) bool) (g *group, bad *badGroup, ok bool, err error) {
	err = guard(func() error {
		tx, err := s.db.Begin(false)
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		defer tx.Rollback()
		b, err := streamBucket(tx, rank)
		if err != nil {
			return err
		}
		cur := b.Cursor()
		k, v := cur.Seek(partKey(from, 0))
		for k != nil && len(k) == keyBytes && skip(binary.BigEndian.Uint64(k)) {
			k, v = cur.Seek(partKey(binary.BigEndian.Uint64(k)+1, 0))
		}
		if k == nil {
			return nil
		}
		ok = true
		var a assembler
		done := false
		take := func(f found) error {
			done = true
			if f.err != nil {
				bad = &badGroup{stream: streamAt(rank), key: f.key, count: f.count}
				return nil
			}
			g = &group{id: f.key, key: f.key, head: f.head, body: f.body, onDisk: true}
			return nil
		}
		for ; k != nil && !done; k, v = cur.Next() {
			s.touched += len(v)
			if err := a.add(k, v, take); err != nil {
				return err
			}
		}
		if !done {
			return a.flush(take)
		}
		return nil
	})
	if err != nil {
		s.fault = err
	}
	return g, bad, ok, err
}

// sealedAt is when the first group of a stream that skip does not refuse was sealed; zero when there is none.
func (s *store) sealedAt(rank int, skip func(key uint64) bool) (t time.Time, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			b, err := streamBucket(tx, rank)
			if err != nil {
				return err
			}
			cur := b.Cursor()
			k, v := cur.First()
			for k != nil && len(k) == keyBytes && skip(binary.BigEndian.Uint64(k)) {
				k, v = cur.Seek(partKey(binary.BigEndian.Uint64(k)+1, 0))
			}
			if len(v) >= headBytes {
				t = time.UnixMilli(int64(binary.BigEndian.Uint64(v[28:])))
			}
			return nil
		})
	})
	return t, err
}

// trim tells the kernel that the mapped pages read so far are not needed: they would count as resident for as long as memory is plenty.
func (s *store) trim() {
	const enough = 1 << 20
	if s.touched < enough {
		return
	}
	s.touched = 0
	info := s.db.Info()
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, info.Data, uintptr(s.high*info.PageSize), unix.MADV_DONTNEED)
}

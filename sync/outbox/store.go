package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"heron/internal/atomicfile"
)

// store is the open file. Only the disk worker uses it.
type store struct {
	db      *bbolt.DB
	file    *os.File // db's, locked as long as it is open
	log     *bailout
	path    string
	st      state // as on disk
	fault   error // of a reading: bbolt may hold its locks for ever, and must not be asked again
	dead    int64
	high    int // pages the file has ever used
	cap     int // pages it may use; less than configured while the disk is full
	touched int // bytes read through the map since trim
	written uint64
	commits uint64
}

// faultError is a panic or a memory fault inside bbolt: the file is damaged or its disk cannot be read.
type faultError struct{ cause any }

func (e *faultError) Error() string { return fmt.Sprintf("the file could not be read: %v", e.cause) }

// guard runs fn so that neither a panic nor a fault on a mapped page leaves it.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &faultError{r}
		}
	}()
	return fn()
}

// options make bbolt work on the file that is open and locked already.
func (s *store) options(maxBytes int64) *bbolt.Options {
	return &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, MaxSize: int(maxBytes), Logger: s.log,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return s.file, nil }}
}

// growStep is by how much the file grows beyond its first doublings. bbolt refuses to grow within one step of MaxSize.
func growStep(maxBytes int64) int { return int(min(max(maxBytes/32, 128<<10), 16<<20)) }

func newStore(f *os.File) *store {
	return &store{file: f, path: f.Name(), log: &bailout{DefaultLogger: bbolt.DefaultLogger{Logger: log.New(io.Discard, "", 0)}}}
}

// openStore brings a locked file that has been surveyed and found whole into use. It owns f.
func openStore(f *os.File, maxBytes int64) (*store, error) {
	s := newStore(f)
	err := guard(func() error {
		db, err := bbolt.Open(s.path, 0o600, s.options(maxBytes))
		if err != nil {
			return err
		}
		s.db = db
		return db.View(func(tx *bbolt.Tx) error { return s.load(tx) })
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("open %s: %w", s.path, err)
	}
	s.size(maxBytes)
	return s, nil
}

func (s *store) size(maxBytes int64) {
	s.db.AllocSize = growStep(maxBytes)
	s.cap = int(maxBytes-int64(s.db.AllocSize)) / s.db.Info().PageSize
}

func (s *store) load(tx *bbolt.Tx) error {
	s.high = int(tx.Size()) / s.db.Info().PageSize
	meta := tx.Bucket([]byte(bucketMeta))
	if meta == nil {
		return errBadState
	}
	var err error
	s.st, err = decodeState(meta.Get([]byte(keyState)))
	return err
}

// createStore makes a new file under another name, with the records of the dead bucket given: bbolt's first write is the one that a power cut can
// spoil. publish puts it in place.
func createStore(path string, maxBytes int64, st state, dead deadRecords) (*store, error) {
	f, err := openLocked(path+".tmp", os.O_RDWR|os.O_CREATE, 0)
	if err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	s := newStore(f)
	s.st, s.dead = st, int64(len(dead.keys))
	err = f.Truncate(0) // of what a power cut may have left
	if err == nil {
		err = guard(func() error {
			s.db, err = bbolt.Open(s.path, 0o600, s.options(maxBytes))
			if err != nil {
				return err
			}
			return s.update(func(tx *bbolt.Tx) error { return furnish(tx, &st, dead) })
		})
	}
	if err != nil {
		s.discard()
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	s.size(maxBytes)
	return s, nil
}

// furnish makes the buckets of a new file.
func furnish(tx *bbolt.Tx, st *state, dead deadRecords) error {
	names := []string{bucketMeta, bucketDead}
	for i := range st.streams {
		names = append(names, string(streamAt(i)))
	}
	for _, n := range names {
		if _, err := tx.CreateBucketIfNotExists([]byte(n)); err != nil {
			return fmt.Errorf("make bucket %s: %w", n, err)
		}
	}
	if err := dead.put(tx.Bucket([]byte(bucketDead))); err != nil {
		return err
	}
	return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyState), st.encode())
}

// publish gives a new file its name, over whatever has it, for good. If it fails, the store is closed, and nobody knows which file a power cut would
// leave under that name.
func (s *store) publish(path string) error {
	if err := os.Rename(s.path, path); err != nil {
		s.discard()
		return fmt.Errorf("put %s in place: %w", s.path, err)
	}
	s.path = path
	if err := atomicfile.SyncDir(filepath.Dir(path)); err != nil {
		s.close()
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	return nil
}

// discard removes a new file that has not been published.
func (s *store) discard() {
	s.close()
	os.Remove(s.path)
}

// close lets go of the file. After a fault bbolt may still hold its own locks, so this waits only so long; then the file is unlocked and closed
// all the same, so that it can be opened again: bbolt's map of it stays until the process ends.
func (s *store) close() {
	db := s.db
	s.db = nil
	if db != nil {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = guard(db.Close)
		}()
		select {
		case <-done:
		case <-time.After(2 * time.Second):
		}
	}
	_ = unix.Flock(int(s.file.Fd()), unix.LOCK_UN) // a map that is left would keep the lock; mostly bbolt has done both
	s.file.Close()
}

// update runs one write transaction. It does without DB.Update: after a panic that one rolls back by walking the whole tree again,
// in a goroutine where a second fault would end the process. See also bailout.
func (s *store) update(fn func(tx *bbolt.Tx) error) error {
	if s.fault != nil {
		return s.fault
	}
	return guard(func() error {
		tx, err := s.db.Begin(true)
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		defer tx.Rollback() // after Commit it does nothing
		if err := fn(tx); err != nil {
			return err
		}
		if err := s.log.commit(tx); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		page := s.db.Info().PageSize
		stats := tx.Stats()
		s.written += uint64(stats.GetPageAlloc()) + uint64(page)
		s.commits++
		return s.db.View(func(tx *bbolt.Tx) error {
			s.high = int(tx.Size()) / page
			return nil
		})
	})
}

// used is how many pages hold something.
func (s *store) used() int {
	st := s.db.Stats()
	return s.high - st.FreePageN - st.PendingPageN
}

// fileBytes is the file's length.
func (s *store) fileBytes() int64 {
	info, err := os.Stat(s.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// diskKey names a group on disk.
type diskKey struct {
	rank    int
	key     uint64
	damaged bool // the counts come from a survey that left it out
}

// change is the content of one transaction.
type change struct {
	puts  []*group
	dels  []diskKey
	gone  int // so many of memory's deletes are in dels
	dead  [][]byte
	state state // what is to be written; its counts are filled in from the file's
}

// apply commits a change. Doing again what an earlier, failed transaction did after all is harmless.
func (s *store) apply(c *change) error {
	st := c.state
	st.streams, st.serial = s.st.streams, s.st.serial+1
	dead := s.dead
	err := s.update(func(tx *bbolt.Tx) error {
		for _, d := range c.dels {
			if err := remove(tx, &st, d); err != nil {
				return err
			}
		}
		for _, g := range c.puts {
			if err := insert(tx, &st, g); err != nil {
				return err
			}
		}
		for i := range st.streams {
			setHead(tx, &st, i)
		}
		n, err := bury(tx, c.dead, dead)
		dead = n
		if err != nil {
			return err
		}
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyState), st.encode())
	})
	if err == nil {
		s.st, s.dead = st, dead
	}
	return err
}

func streamBucket(tx *bbolt.Tx, rank int) (*bbolt.Bucket, error) {
	name := string(streamAt(rank))
	b := tx.Bucket([]byte(name))
	if b == nil {
		return nil, damaged("bucket %s is gone", name)
	}
	b.FillPercent = 1
	return b, nil
}

func insert(tx *bbolt.Tx, st *state, g *group) error {
	r := rank(g.stream)
	b, err := streamBucket(tx, r)
	if err != nil {
		return err
	}
	if b.Get(partKey(g.key, 0)) != nil {
		return nil
	}
	c := &st.streams[r]
	c.records += int64(g.count)
	c.groups++
	c.bytes += int64(len(g.body))
	c.sum += mark(g.key, g.count)
	return encodeGroup(g.head, g.key, g.body, b.Put)
}

// remove deletes a group's parts and counts what it found, not what was expected: the same may be asked twice.
func remove(tx *bbolt.Tx, st *state, d diskKey) error {
	b, err := streamBucket(tx, d.rank)
	if err != nil {
		return err
	}
	var keys [][]byte
	c := &st.streams[d.rank]
	prefix := partKey(d.key, 0)[:8]
	cur := b.Cursor()
	for k, v := cur.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = cur.Next() {
		if len(keys) == 0 && !d.damaged {
			if _, body, err := headSizes(v); err == nil {
				n := binary.BigEndian.Uint16(v[4:])
				c.records -= int64(n)
				c.sum -= mark(d.key, int(n))
				c.bytes -= int64(body)
				c.groups--
			}
		}
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	return nil
}

// setHead notes below which key everything is done with, so that salvage does not bring it back.
func setHead(tx *bbolt.Tx, st *state, i int) {
	c := &st.streams[i]
	b := tx.Bucket([]byte(streamAt(i)))
	if b == nil {
		return
	}
	if k, _ := b.Cursor().First(); len(k) == keyBytes {
		c.head = binary.BigEndian.Uint64(k)
	} else {
		c.head = st.next
	}
}

const maxDead = 500

// bury appends to the dead bucket and keeps it within its bound.
func bury(tx *bbolt.Tx, records [][]byte, have int64) (int64, error) {
	if len(records) == 0 {
		return have, nil
	}
	b := tx.Bucket([]byte(bucketDead))
	if b == nil {
		return have, damaged("bucket %s is gone", bucketDead)
	}
	for _, r := range records {
		n, err := b.NextSequence()
		if err == nil {
			err = b.Put(binary.BigEndian.AppendUint64(nil, n), r)
		}
		if err != nil {
			return have, fmt.Errorf("keep a dead record: %w", err)
		}
		have++
	}
	for ; have > maxDead; have-- {
		k, _ := b.Cursor().First()
		if err := b.Delete(bytes.Clone(k)); err != nil {
			return have, fmt.Errorf("drop a dead record: %w", err)
		}
	}
	return have, nil
}

// full tells whether the error means that there is no room: on the disk, in the quota or in the file's own limit.
func full(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, berrors.ErrMaxSizeReached) ||
		err != nil && strings.Contains(err.Error(), unix.ENOSPC.Error()) // bbolt does not wrap what stopped its growing
}

// sick tells whether the error condemns the file itself and not only its disk.
func sick(err error) bool {
	var f *faultError
	return errors.Is(err, errDamaged) || errors.Is(err, errBadState) || errors.As(err, &f) || errors.Is(err, berrors.ErrInvalid) ||
		errors.Is(err, berrors.ErrChecksum) || errors.Is(err, berrors.ErrVersionMismatch)
}

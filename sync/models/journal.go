package models

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"heron/internal/atomicfile"
)

const (
	journalName    = "journal.db"
	journalMax     = 8 << 20
	journalRoom    = 256 << 10 // written once and freed again, so that a full disk leaves room for the steps that go back
	journalTimeout = 2 * time.Second
	bucketSlots    = "slots"
	bucketRefused  = "refused"
	bucketDevice   = "device"
	keyHold        = "hold"
)

// ErrLocked: another process works on the same folder.
var ErrLocked = errors.New("another process has the journal of the models open")

// journal keeps what is known of the slots across a power cut. Each put is one synced transaction. After a failure the file is closed, and
// opened anew by the next call: what bbolt then holds in memory is not to be trusted.
type journal struct {
	path string
	mu   sync.Mutex
	db   *bbolt.DB
}

// change is one transaction: values to write by bucket and key; nil deletes.
type change map[string]map[string]any

// memory is all that a journal says.
type memory struct {
	slots   map[string]*record
	refused map[string]Refused
	hold    hold
}

// open reads everything. A damaged file is set aside: then the content is empty, and aside says why.
func (j *journal) open() (c *memory, aside, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c, err = j.read()
	if err != nil && sick(err) {
		aside = err
		if err = os.Rename(j.path, j.path+".damaged"); err == nil {
			err = atomicfile.SyncDir(filepath.Dir(j.path))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("set the damaged journal aside: %w (damaged: %w)", err, aside)
		}
		c, err = j.read()
	}
	return c, aside, err
}

// read opens the file where it is not open, and reads it.
func (j *journal) read() (*memory, error) {
	if err := j.ready(); err != nil {
		return nil, err
	}
	c := &memory{slots: map[string]*record{}, refused: map[string]Refused{}}
	err := j.guard(func() error { return j.db.View(c.load) })
	return c, err
}

func (c *memory) load(tx *bbolt.Tx) error {
	err := each(tx, bucketSlots, func(k string, v []byte) error {
		r, err := decodeRecord(v)
		c.slots[k] = r
		return err
	})
	if err == nil {
		err = each(tx, bucketRefused, func(k string, v []byte) error {
			var r Refused
			err := decode(v, &r)
			r.Digest = k
			c.refused[k] = r
			return err
		})
	}
	if err == nil {
		err = each(tx, bucketDevice, func(_ string, v []byte) error { return decode(v, &c.hold) })
	}
	return err
}

func each(tx *bbolt.Tx, bucket string, fn func(k string, v []byte) error) error {
	b := tx.Bucket([]byte(bucket))
	if b == nil {
		return damage("%s is missing", bucket)
	}
	return b.ForEach(func(k, v []byte) error { return fn(string(k), v) })
}

// put writes a change, for good.
func (j *journal) put(ch change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.ready(); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	err := j.guard(func() error {
		tx, err := j.db.Begin(true)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after Commit it does nothing
		if err := ch.apply(tx); err != nil {
			return err
		}
		return tx.Commit()
	})
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func (ch change) apply(tx *bbolt.Tx) error {
	for bucket, values := range ch {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return damage("%s is missing", bucket)
		}
		for k, v := range values {
			var err error
			if v == nil {
				err = b.Delete([]byte(k))
			} else {
				err = b.Put([]byte(k), encode(v))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// ready opens the file, and makes it where there is none.
func (j *journal) ready() error {
	if j.db != nil {
		return nil
	}
	if _, err := os.Stat(j.path); errors.Is(err, fs.ErrNotExist) {
		if err := j.create(); err != nil {
			return fmt.Errorf("make %s: %w", j.path, err)
		}
	}
	db, err := openBolt(j.path, true)
	if err != nil {
		return fmt.Errorf("open %s: %w", j.path, err)
	}
	j.db = db
	return nil
}

// create makes the file under another name first: a power cut during bbolt's first write leaves a file that it cannot open.
func (j *journal) create() error {
	tmp := j.path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := openBolt(tmp, false)
	if err != nil {
		return err
	}
	err = guarded(func() error {
		if err := db.Update(furnish); err != nil {
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketDevice)).Delete([]byte("room")) })
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, j.path); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(j.path))
}

func furnish(tx *bbolt.Tx) error {
	for _, n := range []string{bucketSlots, bucketRefused, bucketDevice} {
		if _, err := tx.CreateBucketIfNotExists([]byte(n)); err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(bucketDevice)).Put([]byte("room"), make([]byte, journalRoom))
}

// openBolt opens a file that has been locked and, if it is to hold something, checked. The free list is kept synced: without it bbolt walks
// the tree in a goroutine of its own whenever it opens or a commit fails, where no guard of ours reaches.
func openBolt(path string, check bool) (*bbolt.DB, error) {
	var db *bbolt.DB
	o := &bbolt.Options{Timeout: journalTimeout, MaxSize: journalMax, FreelistType: bbolt.FreelistMapType,
		Logger: &bbolt.DefaultLogger{Logger: log.New(io.Discard, "", 0)}}
	o.OpenFile = func(name string, how int, mode os.FileMode) (*os.File, error) {
		return openLocked(name, how, mode, check)
	}
	err := guarded(func() (err error) {
		db, err = bbolt.Open(path, 0o600, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	db.AllocSize = 64 << 10
	return db, nil
}

func openLocked(path string, how int, mode os.FileMode, check bool) (*os.File, error) {
	f, err := os.OpenFile(path, how|unix.O_NOFOLLOW, mode)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(journalTimeout); ; time.Sleep(50 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		if time.Now().After(until) {
			err = ErrLocked
			break
		}
	}
	if err == nil && check {
		err = checkFile(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func checkFile(f *os.File) error {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, journalMax+1))
	if err != nil {
		return err
	}
	if len(b) > journalMax {
		return damage("it is larger than %d MiB", journalMax>>20)
	}
	return checkPages(b)
}

// close lets go of the file.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.drop()
}

func (j *journal) drop() {
	if j.db != nil {
		db := j.db
		j.db = nil
		_ = guarded(db.Close)
	}
}

// guard runs fn on the open file and closes it when that fails.
func (j *journal) guard(fn func() error) error {
	err := guarded(fn)
	if err != nil {
		j.drop()
	}
	return err
}

// faultError is a panic or a memory fault inside bbolt: the disk cannot be read.
type faultError struct{ cause any }

func (e *faultError) Error() string { return fmt.Sprintf("the journal could not be read: %v", e.cause) }

func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &faultError{r}
		}
	}()
	return fn()
}

// sick tells whether an error condemns the file and not only its disk.
func sick(err error) bool {
	var f *faultError
	return errors.Is(err, errDamaged) || errors.As(err, &f) || errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrChecksum) ||
		errors.Is(err, berrors.ErrVersionMismatch)
}

// encode frames a value: a CRC32C, then JSON. bbolt checks its heads only, so a flipped bit in a value is ours to find.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("models: a record that is no JSON: %v", err)) // plain structs only
	}
	return append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), b...)
}

func decode(b []byte, v any) error {
	if len(b) < 4 || crc32.Checksum(b[4:], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b) {
		return damage("a record has another checksum")
	}
	if err := json.Unmarshal(b[4:], v); err != nil {
		return damage("a record: %v", err)
	}
	return nil
}

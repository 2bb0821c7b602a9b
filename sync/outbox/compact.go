package outbox

import (
	"bytes"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

const maxCarry = 1 << 20 // of dead records

// deadRecords are the records of the dead bucket on their way into a new file.
type deadRecords struct {
	keys, values [][]byte
	sequence     uint64
	bytes        int
}

func (r *deadRecords) put(b *bbolt.Bucket) error {
	for i := range r.keys {
		if err := b.Put(r.keys[i], r.values[i]); err != nil {
			return fmt.Errorf("carry over a dead record: %w", err)
		}
	}
	if r.sequence == 0 {
		return nil
	}
	return b.SetSequence(r.sequence)
}

// carry copies the dead bucket, or as much of it as is allowed.
func (s *store) carry() (r deadRecords, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucketDead))
			if b == nil {
				return damaged("bucket %s is gone", bucketDead)
			}
			r.sequence = b.Sequence()
			cur := b.Cursor()
			for k, v := cur.First(); k != nil && r.bytes <= maxCarry; k, v = cur.Next() {
				r.keys, r.values = append(r.keys, bytes.Clone(k)), append(r.values, bytes.Clone(v))
				r.bytes += len(k) + len(v)
			}
			return nil
		})
	})
	return r, err
}

// compactable tells whether the file holds no group and is much larger than it need be (bbolt never makes a file smaller), and how long it has to
// wait for its turn.
func (d *diskWorker) compactable() (wait time.Duration, ok bool) {
	for i := range d.s.st.streams {
		if d.s.st.streams[i].groups != 0 {
			return 0, false
		}
	}
	if d.s.fileBytes() <= d.o.limits.compactAbove {
		return 0, false
	}
	if d.compacted.IsZero() {
		return 0, true
	}
	return time.Until(d.compacted.Add(d.o.limits.compactEvery)), true
}

// compact goes on with a fresh file that says of the outbox what the old one does, to the byte: the same epoch, the same numbers reserved, the same
// session. So nothing in memory has to know, and whichever of the two a power cut leaves is right. Until the new one has the name, any failure leaves
// the old one in use; both are locked all the time.
func (d *diskWorker) compact() {
	o := d.o
	d.compacted = time.Now()
	dead, err := d.s.carry()
	if err != nil {
		d.fail(fmt.Errorf("compact: %w", err))
		return
	}
	if dead.bytes > maxCarry {
		return
	}
	o.busy(true)
	fresh, err := createStore(o.cfg.Path, o.cfg.MaxBytes, d.s.st, dead)
	if err != nil {
		o.busy(false)
		o.mu.Lock()
		o.stats.LastError, o.stats.LastErrorAt = "compact: "+err.Error(), time.Now()
		o.mu.Unlock()
		return
	}
	err = fresh.publish(o.cfg.Path)
	o.busy(false)
	if err != nil {
		d.fail(fmt.Errorf("compact: %w", err))
		return
	}
	d.drop()
	d.s = fresh
	o.mu.Lock()
	d.count()
	o.stats.Compactions++
	o.mu.Unlock()
	d.look()
}

package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// drop lets go of the file.
func (d *diskWorker) drop() {
	if d.s != nil {
		d.known = d.s.st
		d.s.close()
		d.s, d.written, d.commits = nil, 0, 0
	}
}

// fail is called when a commit or a reading failed. The first time the file is closed, read through and opened at once: after a failed sync
// nobody knows what is on disk. If it fails again, memory takes over.
func (d *diskWorker) fail(err error) {
	d.drop()
	d.failures++
	if full(err) && (d.failures > 1 || !roomFor(d.o.cfg.Path, int64(growStep(d.o.cfg.MaxBytes)))) {
		d.capped = time.Now()
	}
	o := d.o
	o.mu.Lock()
	o.stats.LastError, o.stats.LastErrorAt = err.Error(), time.Now()
	o.mu.Unlock()
	if d.failures >= 5 && sick(err) { // it reads well and fails in use, again and again
		if aside := d.setAside(o.cfg.Path, nil, err); errors.Is(aside, fs.ErrNotExist) {
			d.failures = 0
		}
		return
	}
	if d.failures > 1 {
		d.down(err)
	}
}

// down leaves the file alone for a while: memory holds what comes.
func (d *diskWorker) down(err error) {
	o := d.o
	d.next = time.Now().Add(d.retry.Next())
	o.mu.Lock()
	defer o.mu.Unlock()
	o.onDisk.stalled = false
	for i := range o.onDisk.done {
		o.onDisk.done[i] = true
	}
	o.toMemory(err.Error())
	o.firstOpened()
	kick(o.sealer)
}

// toMemory goes on without the disk: what waits for its commit may be sent before it. Call with mu held.
func (o *Outbox) toMemory(reason string) {
	o.setState(memory, reason)
	for i := range o.groups.pend {
		for _, g := range o.groups.pend[i].all() {
			g.due = time.Time{}
			if !g.onDisk && g.place == idle {
				o.offer(g)
			}
		}
	}
	o.signal()
}

// busy notes that the disk is waited for, and that it has answered.
func (o *Outbox) busy(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.onDisk.busyAt = time.Time{}
	if on {
		o.onDisk.busyAt = time.Now()
	} else {
		o.answered()
	}
}

// answered goes back to the disk after it had been given up for being slow. Call with mu held.
func (o *Outbox) answered() {
	if o.onDisk.stalled {
		o.onDisk.stalled = false
		o.setState(stateOK, "")
	}
}

// stall gives the disk up for now if it is waited for too long; what it is doing goes on. If not, it tells when that would be. Call with mu held.
func (o *Outbox) stall(now time.Time) (at time.Time) {
	if o.onDisk.busyAt.IsZero() || o.stats.State != stateOK {
		return time.Time{}
	}
	if at = o.onDisk.busyAt.Add(o.limits.stall); now.Before(at) {
		return at
	}
	o.onDisk.stalled = true
	o.toMemory(fmt.Sprintf("the disk has not answered for %v", o.limits.stall))
	return time.Time{}
}

// shut commits all that is held and closes the file in order. A failure may pass: it is tried again for a moment.
func (d *diskWorker) shut() {
	const patience, pause = time.Second, 50 * time.Millisecond
	until := time.Now().Add(patience)
	for tries := 0; tries < 1000; tries++ {
		if d.s == nil {
			err := d.open()
			if errors.Is(err, ErrLocked) || err != nil && time.Now().After(until) {
				return
			}
			if err != nil {
				time.Sleep(pause)
				continue
			}
		}
		c, _ := d.plan(true)
		_ = d.commit(c)
		if d.s != nil && d.idle() {
			break
		}
		if d.s == nil && time.Now().After(until) {
			return
		}
	}
	d.drop()
}

func (d *diskWorker) idle() bool {
	o := d.o
	o.mu.Lock()
	defer o.mu.Unlock()
	left := len(o.gaps) + len(o.refused) + len(o.onDisk.dels)
	for i := range o.groups.pend {
		left += o.groups.pend[i].len()
	}
	return left == 0
}

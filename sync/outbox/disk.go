package outbox

import (
	"errors"
	"fmt"
	"time"

	"heron/internal/backoff"
)

// diskView is what memory knows about the file. Only the disk worker touches the file itself.
type diskView struct {
	counts [8]counts
	going  [8]tally  // of dels
	dels   []*group  // acknowledged or dropped, and still in the file
	since  time.Time // of the oldest of dels
	pos    [8]uint64 // where to read ahead next
	done   [8]bool   // nothing is left to be read ahead
	turned [8]uint64 // how often something was left to the disk that may lie before pos
	wanted bool      // someone waits for backlog
	oldest time.Time
	busyAt time.Time // when the transaction under way began; zero when there is none

	stalled bool // it takes so long that memory took over
}

func (d *diskView) remove(g *group, now time.Time) {
	if len(d.dels) == 0 {
		d.since = now
	}
	d.dels = append(d.dels, g)
	r := rank(g.stream)
	d.going[r].records += int64(g.count)
	d.going[r].bytes += int64(len(g.body))
}

func (d *diskView) reread(r int, key uint64) {
	d.done[r] = false
	d.pos[r] = min(d.pos[r], key)
	d.turned[r]++
}

const (
	deleteBatch = 64               // groups in one transaction
	deleteAfter = 30 * time.Second // what is acknowledged waits for the next commit, but no longer than this: a commit costs the card 20 kB
	commitBytes = 1 << 20          // of bodies in one transaction
	readAhead   = 16               // groups of a stream that are read before someone asks
	readBytes   = 256 << 10        // of bodies read ahead, about
	gapEvery    = time.Second
)

// diskLoop owns the file: it opens it, commits, reads ahead, and when the file fails it opens it again. It ends when stop is closed and all is
// done, or with ErrLocked when another process holds the file.
func (o *Outbox) diskLoop(stop <-chan struct{}) error {
	d := diskWorker{o: o, retry: backoff.Backoff{Min: time.Second, Max: time.Minute}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, err := d.step()
		if err != nil {
			return err
		}
		kicked := o.disk
		if d.s == nil {
			kicked = nil // nothing hastens the next try of opening
		}
		timer.Reset(wait)
		select {
		case <-kicked:
		case <-timer.C:
		case <-stop:
			d.shut()
			return nil
		}
	}
}

// diskWorker is the disk loop's own state.
type diskWorker struct {
	o        *Outbox
	s        *store // nil while the file is not open
	retry    backoff.Backoff
	next     time.Time // when to try to open it again
	opened   bool      // it has been open, or found not to open
	failures int       // commits and readings that failed since the last that did not
	readFail int       // consecutive openings that failed with a read error
	capped   time.Time // when the disk was found full: the file may not grow for now

	compacted time.Time // when that was last tried
	known     state     // of the file that was closed last: what has surely been committed
	written   uint64    // of s, as counted last
	commits   uint64
}

// step does one thing that is due and tells how long nothing else is. Its error is ErrLocked.
func (d *diskWorker) step() (time.Duration, error) {
	if wait := time.Until(d.next); d.s == nil && wait > 0 {
		return wait, nil
	}
	if d.s == nil {
		err := d.open()
		if errors.Is(err, ErrLocked) && !d.opened {
			return 0, err
		}
		d.opened = true
		if err != nil {
			d.down(err)
			return time.Until(d.next), nil
		}
	}
	c, wait := d.plan(false)
	if c != nil {
		return 0, d.commit(c)
	}
	more, err := d.readAhead()
	if err != nil {
		d.fail(err)
	}
	if more || err != nil {
		return 0, nil
	}
	if left, ok := d.compactable(); ok {
		if left <= 0 {
			d.compact()
			return 0, nil
		}
		wait = min(wait, left)
	}
	return wait, nil
}

// plan collects what is due for one transaction; nil when nothing is, and then for how long.
func (d *diskWorker) plan(last bool) (*change, time.Duration) {
	o := d.o
	o.mu.Lock()
	defer o.mu.Unlock()
	now, wait, size := time.Now(), idleForever, 0
	c := &change{}
	for i := range o.groups.pend {
		o.groups.sweep(i)
		for _, g := range o.groups.pend[i].all() {
			if g.gone || g.onDisk || g.refused {
				continue
			}
			if g.due.After(now) && !last {
				wait = min(wait, g.due.Sub(now))
				break
			}
			if size > 0 && size+len(g.body) > d.batchBytes() {
				break
			}
			size += len(g.body)
			c.puts = append(c.puts, g)
		}
	}
	dels := len(o.onDisk.dels)
	if dels > 0 && now.Sub(o.onDisk.since) < deleteAfter {
		wait = min(wait, deleteAfter-now.Sub(o.onDisk.since))
	}
	reserve := o.num.want && o.stats.State == stateOK
	if len(c.puts) == 0 && !reserve && len(o.refused) == 0 && len(o.gaps) == 0 && o.session.last == o.session.durable && !last &&
		(dels == 0 || dels < deleteBatch && now.Sub(o.onDisk.since) < deleteAfter) {
		return nil, wait
	}
	d.split(c)
	d.makeRoom(c)
	d.complete(c, last)
	return c, 0
}

func (d *diskWorker) batchBytes() int { return min(commitBytes, d.s.cap*d.s.db.Info().PageSize/16) }

// complete fills in the rest of a change whose puts are chosen: keys, deletes and the outbox's own record.
func (d *diskWorker) complete(c *change, last bool) {
	o := d.o
	for _, g := range c.puts {
		if g.key == 0 {
			o.giveKey(g)
		}
	}
	c.puts = append(c.puts, o.sealGaps()...)
	for _, g := range c.puts {
		g.moving = true
	}
	for _, g := range o.onDisk.dels {
		c.dels = append(c.dels, diskKey{rank: rank(g.stream), key: g.key})
	}
	c.gone = len(o.onDisk.dels)
	o.num.want = false
	ahead := max(o.num.next+reserveAhead, o.num.reserved)
	c.state = state{epoch: o.num.epoch, low: o.low(), next: o.num.next, reserved: ahead, session: o.session.last}
	if last && c.state.low == o.num.next { // if more is to follow, that may fail
		c.state.clean, c.state.reserved = true, o.num.next
	}
	o.onDisk.busyAt = time.Now()
	kick(o.sealer) // it watches how long this takes
}

// commit applies a change and tells everyone concerned. It always returns nil: a failure is dealt with here.
func (d *diskWorker) commit(c *change) error {
	o := d.o
	if o.hang != nil {
		o.hang()
	}
	err := d.s.apply(c)
	o.mu.Lock()
	o.stats.SlowestCommit = max(o.stats.SlowestCommit, time.Since(o.onDisk.busyAt))
	o.onDisk.busyAt = time.Time{}
	if err == nil {
		o.committed(c)
		d.count()
	} else {
		o.notCommitted(c)
	}
	o.signal()
	o.mu.Unlock()
	if err != nil {
		d.fail(fmt.Errorf("write: %w", err))
		return nil
	}
	d.failures = 0
	d.retry.Reset()
	kick(o.sealer)
	d.look()
	return nil
}

// committed does in memory what has been done on disk. Call with mu held.
func (o *Outbox) committed(c *change) {
	o.answered()
	o.num.reserved = max(o.num.reserved, c.state.reserved)
	o.session.durable = c.state.session
	for _, g := range o.onDisk.dels[:c.gone] {
		r := rank(g.stream)
		o.onDisk.going[r].records -= int64(g.count)
		o.onDisk.going[r].bytes -= int64(len(g.body))
		delete(o.groups.busy, g.key)
	}
	o.onDisk.dels = append([]*group(nil), o.onDisk.dels[c.gone:]...)
	o.onDisk.since = time.Now()
	now := time.Now()
	for _, g := range c.puts {
		g.moving, g.onDisk = false, true
		o.groups.busy[g.key] = g
		if g.gone { // acknowledged, or dropped, while it was being written
			o.onDisk.remove(g, now)
			continue
		}
		o.groups.unpend(g)
		g.settle(nil)
		switch {
		case g.place == leased:
		case g.live && o.link && g.stream.Urgent():
			o.offer(g)
		default:
			o.forget(g)
		}
	}
	for i := range o.groups.pend {
		o.groups.sweep(i)
	}
	o.unloadLive()
}

// unloadLive leaves to the disk what the uplink is slow to take: memory is for what has no other place.
func (o *Outbox) unloadLive() {
	const keep = 32
	for i := range o.groups.live {
		q := &o.groups.live[i]
		for q.len() > keep {
			g := q.pop()
			if g.place == onLive && g.onDisk {
				o.forget(g)
			}
		}
	}
}

func (o *Outbox) notCommitted(c *change) {
	for _, g := range c.puts {
		g.moving = false
	}
	for i := range o.groups.pend {
		o.groups.sweep(i)
	}
}

// look takes note of the file's length, its oldest group and what is free.
func (d *diskWorker) look() {
	o := d.o
	size := d.s.fileBytes()
	var oldest time.Time
	for i := range d.s.st.streams {
		if d.s.st.streams[i].groups == 0 {
			continue
		}
		t, err := d.s.sealedAt(i, func(key uint64) bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			b := o.groups.busy[key]
			return b != nil && b.gone
		})
		if err != nil { // bbolt may hold its locks for ever: it must not be asked again
			d.fail(fmt.Errorf("read: %w", err))
			return
		}
		if !t.IsZero() && (oldest.IsZero() || t.Before(oldest)) {
			oldest = t
		}
	}
	d.s.trim()
	o.mu.Lock()
	o.stats.FileBytes, o.onDisk.oldest = size, oldest
	o.mu.Unlock()
}

// readAhead reads one group that the uplink will want next and tells whether there was one to read.
func (d *diskWorker) readAhead() (bool, error) {
	o := d.o
	r, from, turned := d.wantsReading()
	if r < 0 {
		d.s.trim()
		return false, nil
	}
	o.busy(true)
	g, bad, ok, err := d.s.read(r, from, func(key uint64) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.groups.busy[key] != nil
	})
	o.busy(false)
	if err == nil && bad != nil {
		err = damaged("group %d of %s", bad.key, bad.stream)
	}
	if err != nil {
		return false, fmt.Errorf("read backlog: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	same := o.onDisk.turned[r] == turned
	if !ok {
		o.onDisk.done[r] = same
	} else {
		if same {
			o.onDisk.pos[r] = g.key + 1
		}
		g.place = onBack
		o.groups.ram[g.id], o.groups.busy[g.key] = g, g
		o.groups.back[r].push(g)
	}
	if q := o.groups.back[r].len(); !ok || q == 1 || q >= readAhead/2 {
		o.signal()
	}
	return true, nil
}

// wantsReading picks the stream whose queue is the shortest; −1 when enough has been read.
func (d *diskWorker) wantsReading() (r int, from, turned uint64) {
	o := d.o
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.link && !o.onDisk.wanted {
		return -1, 0, 0
	}
	r, size := -1, 0
	for i := range o.groups.back {
		for _, g := range o.groups.back[i].all() {
			size += len(g.body)
		}
		if o.onDisk.done[i] || o.groups.back[i].len() >= readAhead {
			continue
		}
		if r < 0 || o.groups.back[i].len() < o.groups.back[r].len() {
			r = i
		}
	}
	if r < 0 || size > readBytes && o.groups.back[r].len() > 0 {
		o.onDisk.wanted = false
		return -1, 0, 0
	}
	return r, o.onDisk.pos[r], o.onDisk.turned[r]
}

package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"heron/internal/atomicfile"
)

// open brings the file into use: reads all of it first, sets it aside if it is damaged, makes a new one if there is none, takes over what memory
// holds, and writes once, which shows that the disk works.
func (d *diskWorker) open() error {
	path := d.o.cfg.Path
	d.o.busy(true)
	defer d.o.busy(false)
	s, sv, err := d.openWhole(path)
	if errors.Is(err, fs.ErrNotExist) {
		s, err = d.create(path)
		sv = nil
	}
	if err != nil {
		return err
	}
	d.s = s
	d.written, d.commits = 0, 0
	if err := d.adopt(sv); err != nil {
		d.drop()
		return fmt.Errorf("write to %s: %w", path, err)
	}
	if _, err := os.Stat(damagedPath(path)); err == nil {
		d.salvage()
		if d.s == nil {
			return errors.New("the disk failed while a damaged file was saved")
		}
	}
	d.readFail = 0
	d.ready()
	if d.s == nil {
		return fmt.Errorf("read %s: the disk failed", path)
	}
	return nil
}

// openWhole opens the file if every page and group in it can be read, and sets it aside if not. The lock is held from before the reading on.
func (d *diskWorker) openWhole(path string) (*store, *survey, error) {
	f, err := openLocked(path, os.O_RDWR, 2*time.Second)
	if err != nil {
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	sv, err := surveyFile(f, false, nil)
	if err == nil && !sv.known {
		err = errBadState
	}
	if err == nil { // the file may have got its name just before a process died or the folder's sync failed
		err = atomicfile.SyncDir(filepath.Dir(path))
	}
	var s *store
	if err == nil {
		s, err = openStore(f, d.o.cfg.MaxBytes)
	}
	if err == nil {
		s.dead = sv.dead
		return s, sv, nil
	}
	defer f.Close() // only when it has been set aside
	if errors.Is(err, unix.EIO) {
		d.readFail++
	}
	if sick(err) || d.readFail >= 3 {
		return nil, nil, d.setAside(path, sv, err)
	}
	return nil, nil, fmt.Errorf("read %s: %w", path, err)
}

func (d *diskWorker) create(path string) (*store, error) {
	o := d.o
	o.mu.Lock()
	next, session := max(o.num.next, 1), o.session.last
	o.num.epoch = ""
	o.mu.Unlock()
	st := state{epoch: newEpoch(), low: next, next: next, reserved: next, clean: true, session: session}
	s, err := createStore(path, o.cfg.MaxBytes, st, deadRecords{})
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); err == nil {
		s.discard()
		return nil, fmt.Errorf("create %s: %w: it has just been made", path, ErrLocked)
	}
	return s, s.publish(path)
}

// adopt makes the open file the one that memory goes with: damaged groups leave it, numbers go on behind what is reserved, gap records say why.
func (d *diskWorker) adopt(sv *survey) error {
	o := d.o
	o.mu.Lock()
	c := &change{}
	st := d.s.st
	if sv != nil {
		expected := st
		if d.known.epoch == st.epoch && d.known.serial > st.serial { // the disk lost the end of it while the file was in use
			expected = d.known
		}
		o.reportMissing(expected, sv)
		d.s.st.streams = sv.counts
		for i := range sv.counts {
			d.s.st.streams[i].head = st.streams[i].head
		}
		for _, b := range sv.bad {
			c.dels = append(c.dels, diskKey{rank: rank(b.stream), key: b.key, damaged: true})
		}
	}
	if o.num.epoch != st.epoch {
		o.num.epoch, o.num.next, o.num.reserved = st.epoch, st.next, st.next
		o.afterUncleanStop(st)
	}
	o.reportBad(sv)
	o.session.last = max(o.session.last, st.session)
	o.onDisk.pos = [8]uint64{}
	d.complete(c, false)
	o.mu.Unlock()

	err := d.s.apply(c)

	o.mu.Lock()
	defer o.mu.Unlock()
	o.onDisk.busyAt = time.Time{}
	if err != nil {
		o.notCommitted(c)
		return err
	}
	o.committed(c)
	d.count()
	for i, n := range o.onDisk.counts {
		o.onDisk.done[i] = n.groups == 0
	}
	return nil
}

// afterUncleanStop goes on behind the numbers that were reserved, and says which may have been lost: those that had been given to groups in memory
// when the file was last written, and those that could be given afterwards.
func (o *Outbox) afterUncleanStop(st state) {
	if st.clean {
		return
	}
	lost := o.cfg.lostAtMost()
	o.num.next, o.num.reserved = st.reserved, st.reserved
	if st.low < st.next {
		o.gaps = append(o.gaps, gap{epoch: st.epoch, from: st.low, to: st.next - 1, reason: "restart", lost: min(lost, st.next-st.low)})
	}
	if st.next < st.reserved {
		o.gaps = append(o.gaps, gap{epoch: st.epoch, from: st.next, to: st.reserved - 1, reason: "restart", lost: lost})
	}
}

// count copies the file's counters. Call with mu held.
func (d *diskWorker) count() {
	o := d.o
	o.onDisk.counts, o.stats.Dead = d.s.st.streams, uint64(d.s.dead)
	o.stats.Written += d.s.written - d.written
	o.stats.Commits += d.s.commits - d.commits
	d.written, d.commits = d.s.written, d.s.commits
}

// ready declares the file open.
func (d *diskWorker) ready() {
	o := d.o
	o.mu.Lock()
	o.setState(stateOK, "")
	o.firstOpened()
	o.signal()
	o.mu.Unlock()
	kick(o.sealer)
	kick(o.disk)
	os.Remove(o.cfg.Path + ".tmp")
	d.look()
}

func (o *Outbox) firstOpened() {
	select {
	case <-o.opened:
	default:
		close(o.opened)
	}
}

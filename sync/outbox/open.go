package outbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"heron/internal/atomicfile"
)

// open brings the file into use: reads all of it first, sets it aside if it is damaged, makes a new one if there is none, takes over what memory
// holds, and writes once, which shows that the disk works.
func (d *diskWorker) open() error {
	path := d.o.cfg.Path
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
	return nil
}

// openWhole opens the file if every page and group in it can be read, and sets it aside if not.
func (d *diskWorker) openWhole(path string) (*store, *survey, error) {
	f, err := openLocked(path, os.O_RDWR, 2*time.Second)
	if err != nil {
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	sv, err := surveyFile(f, false, nil)
	f.Close()
	if err == nil && !sv.known {
		err = errBadState
	}
	var s *store
	if err == nil {
		s, err = openStore(path, d.o.cfg.MaxBytes)
	}
	if err == nil {
		s.dead = sv.dead
		return s, sv, nil
	}
	if errors.Is(err, unix.EIO) {
		d.readFail++
	}
	if sick(err) || d.readFail >= 3 {
		return nil, nil, d.setAside(path, sv, err)
	}
	return nil, nil, fmt.Errorf("read %s: %w", path, err)
}

func damagedPath(path string) string { return path + ".damaged" }

// setAside renames a damaged file. It comes back with fs.ErrNotExist: the way is free for a new one.
func (d *diskWorker) setAside(path string, sv *survey, cause error) error {
	o := d.o
	if err := os.Rename(path, damagedPath(path)); err != nil {
		return fmt.Errorf("set the damaged file aside: %w", err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("set the damaged file aside: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Quarantined++
	o.stats.LastError, o.stats.LastErrorAt = fmt.Sprintf("%s was damaged and set aside: %v", path, cause), time.Now()
	if sv != nil && sv.known {
		o.num.next = max(o.num.next, sv.state.reserved)
	}
	o.num.epoch = ""
	o.disown()
	return fs.ErrNotExist
}

// disown takes back into memory what was on disk in a file that is no longer used. Call with mu held.
func (o *Outbox) disown() {
	for i := range o.groups.pend {
		for _, g := range o.groups.pend[i].all() {
			g.key = 0
		}
	}
	for _, g := range o.groups.busy {
		if g.gone {
			continue
		}
		g.onDisk, g.key, g.due = false, 0, time.Time{}
		o.groups.add(g)
	}
	clear(o.groups.busy)
	o.onDisk = diskView{}
	for i := range o.onDisk.done {
		o.onDisk.done[i] = true
	}
	if o.num.reserved > o.num.next {
		o.num.next = o.num.reserved
	}
}

func (d *diskWorker) create(path string) (*store, error) {
	o := d.o
	o.mu.Lock()
	next := max(o.num.next, 1)
	o.num.epoch = ""
	o.mu.Unlock()
	return createStore(path, o.cfg.MaxBytes, state{epoch: newEpoch(), low: next, next: next, reserved: next, clean: true, session: o.session.last})
}

// adopt makes the open file the one that memory goes with: damaged groups leave it, numbers go on behind what is reserved, gap records say why.
func (d *diskWorker) adopt(sv *survey) error {
	o := d.o
	o.mu.Lock()
	c := &change{}
	st := d.s.st
	if sv != nil {
		o.reportMissing(st, sv)
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

// reportBad counts the damaged groups of a survey and says so in gap records.
func (o *Outbox) reportBad(sv *survey) {
	if sv == nil {
		return
	}
	for _, b := range sv.bad {
		n := b.count
		if n == 0 {
			n = maxSealRecords
			if b.upto > b.key && b.upto-b.key < maxSealRecords {
				n = int(b.upto - b.key)
			}
		}
		o.stats.Dropped["corrupt"] += uint64(n)
		o.addGap(gap{epoch: o.num.epoch, from: b.key, to: b.key + uint64(n) - 1, reason: "corrupt", lost: uint64(n), stream: b.stream})
	}
}

// reportMissing compares what is in the file with what its own record says: a disk that drops a write can leave an older page that looks well.
func (o *Outbox) reportMissing(st state, sv *survey) {
	var damaged [8]int64
	for _, b := range sv.bad {
		damaged[rank(b.stream)] += int64(b.count)
	}
	for i, c := range sv.counts {
		if lost := st.streams[i].records - c.records - damaged[i]; lost > 0 && st.streams[i].groups > c.groups {
			o.stats.Dropped["corrupt"] += uint64(lost)
			o.addGap(gap{reason: "corrupt", lost: uint64(lost), stream: streamAt(i)})
		}
	}
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

// drop lets go of the file.
func (d *diskWorker) drop() {
	if d.s != nil {
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
	o.setState(memory, err.Error())
	for i := range o.onDisk.done {
		o.onDisk.done[i] = true
	}
	for i := range o.groups.pend {
		for _, g := range o.groups.pend[i].all() {
			g.due = time.Time{}
			if !g.onDisk && g.place == idle {
				o.offer(g)
			}
		}
	}
	o.firstOpened()
	o.signal()
	kick(o.sealer)
}

// shut commits all that is held and closes the file in order.
func (d *diskWorker) shut() {
	if d.s == nil {
		d.next = time.Time{}
		if d.open() != nil {
			return
		}
	}
	for tries := 0; tries < 1000 && d.s != nil; tries++ {
		c, _ := d.plan(true)
		_ = d.commit(c)
		if d.s == nil {
			if d.failures > 5 || d.open() != nil {
				return
			}
			continue
		}
		if d.s != nil && d.idle() {
			break
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

// keepOne leaves only the newest of the files set aside.
func keepOne(path string) (next string) {
	old, _ := filepath.Glob(path + ".corrupt-*")
	sort.Slice(old, func(i, j int) bool { return corruptNumber(path, old[i]) < corruptNumber(path, old[j]) })
	n := 0
	for _, o := range old {
		n = max(n, corruptNumber(path, o))
		os.Remove(o)
	}
	return fmt.Sprintf("%s.corrupt-%d", path, n+1)
}

func corruptNumber(path, name string) (n int) {
	fmt.Sscanf(strings.TrimPrefix(name, path+".corrupt-"), "%d", &n)
	return n
}

// salvage brings over what a child process can still read of the damaged file, and when all of it is committed gives that file its last name.
func (d *diskWorker) salvage() {
	o := d.o
	ctx, stop := context.WithTimeout(context.Background(), salvageLimit)
	defer stop()
	sum, err := runSalvage(ctx, damagedPath(o.cfg.Path), d.bringOver)
	o.mu.Lock()
	if err != nil {
		o.stats.LastError, o.stats.LastErrorAt = "salvage: "+err.Error(), time.Now()
	}
	if !sum.Known {
		sum.Session = uint64(max(time.Now().Unix(), 0)) // above every count, if the clock is about right
	}
	o.session.last = max(o.session.last, sum.Session)
	lost, atMost := sum.lost()
	o.stats.Dropped["corrupt"] += lost
	o.addGap(gap{reason: "corrupt", lost: atMost})
	o.mu.Unlock()
	if d.bringOver(nil) == nil {
		_ = os.Rename(damagedPath(o.cfg.Path), keepOne(o.cfg.Path))
	}
}

// bringOver commits salvaged groups, and what has to be said of them.
func (d *diskWorker) bringOver(gs []*group) error {
	if d.s == nil {
		return errors.New("the disk failed")
	}
	o := d.o
	o.mu.Lock()
	have := map[string]bool{}
	for _, g := range o.groups.ram {
		have[fmt.Sprint(g.epoch, g.first)] = true
	}
	c := &change{}
	for _, g := range gs {
		if !have[fmt.Sprint(g.epoch, g.first)] {
			o.giveKey(g)
			g.id = g.key
			o.groups.add(g)
			o.stats.Salvaged += uint64(g.count)
			c.puts = append(c.puts, g)
		}
	}
	d.makeRoom(c)
	d.complete(c, false)
	o.mu.Unlock()
	_ = d.commit(c)
	if d.s == nil {
		return errors.New("the disk failed")
	}
	return nil
}

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

	"heron/internal/atomicfile"
)

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
	var damaged, bad [8]int64
	for _, b := range sv.bad {
		damaged[rank(b.stream)] += int64(b.count)
		bad[rank(b.stream)]++
	}
	for i, c := range sv.counts {
		was := st.streams[i]
		lost, atMost := was.records-c.records-damaged[i], was.records-c.records-damaged[i]
		switch {
		case lost > 0 && was.groups > c.groups:
		case bad[i] == 0 && was.sum != c.sum: // others than there should be: how many are lost cannot be told
			lost, atMost = max(lost, 1), max(was.records, 1)
		default:
			continue
		}
		o.stats.Dropped["corrupt"] += uint64(lost)
		o.addGap(gap{reason: "corrupt", lost: uint64(atMost), stream: streamAt(i)})
	}
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
	o.stats.Uncounted = o.stats.Uncounted || !sum.Known
	// What an unclean stop costs comes on top: no other gap speaks of it, as the numbers begin anew.
	o.addGap(gap{reason: "corrupt", lost: atMost + o.cfg.lostAtMost(), unknown: !sum.Known})
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

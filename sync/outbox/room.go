package outbox

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"heron/sync/message"
)

// gap is a run of numbers that will never arrive, or records lost before they had any (from and to 0), on its way into a gap record.
type gap struct {
	epoch    string
	from, to uint64
	reason   string
	lost     uint64
	unknown  bool // lost is of what is known of
	stream   message.Stream
}

const maxGaps = 256

// addGap notes a gap; it is reported with the next commit. Call with mu held.
func (o *Outbox) addGap(g gap) {
	for i := len(o.gaps) - 1; i >= 0; i-- {
		p := &o.gaps[i]
		if p.epoch != g.epoch || p.reason != g.reason || p.stream != g.stream {
			continue
		}
		if g.from == 0 && p.from == 0 || g.from == p.to+1 || len(o.gaps) >= maxGaps {
			p.from, p.to = min(p.from, g.from), max(p.to, g.to)
			p.lost += g.lost
			p.unknown = p.unknown || g.unknown
			return
		}
	}
	o.gaps = append(o.gaps, g)
}

// sealGaps makes groups of the gaps that are known, for the transaction under way. Call with mu held.
func (o *Outbox) sealGaps() []*group {
	if len(o.gaps) == 0 {
		return nil
	}
	bs := gapBatches(&o.cfg, o.gaps, o.num.epoch)
	names := o.num.next
	for _, g := range o.gaps {
		if g.epoch == o.num.epoch && g.from > 0 {
			names = min(names, g.from)
		}
	}
	o.gaps = nil
	var out []*group
	for _, b := range bs {
		first := o.num.next
		o.num.next += uint64(len(b.ends)) // perhaps beyond what is reserved: nobody sees them before the commit that reserves more
		g := o.seal(b, o.num.epoch, first, time.Now())
		g.live = o.link && !o.closing
		g.due, g.names = time.Time{}, names
		o.groups.add(g)
		out = append(out, g)
	}
	return out
}

// low is the lowest number that is safe nowhere once c is committed: of a group that is neither acknowledged nor in it, or that such a group speaks of.
func (o *Outbox) low() uint64 {
	low := o.num.next
	for i := range o.groups.pend {
		for _, g := range o.groups.pend[i].all() {
			if !g.gone && !g.onDisk && !g.moving && g.epoch == o.num.epoch {
				low = min(low, g.first)
				if g.names > 0 {
					low = min(low, g.names)
				}
			}
		}
	}
	return low
}

// giveKey gives a place on disk to a group whose numbers are of another epoch: as many numbers of this one, which a gap record then names.
func (o *Outbox) giveKey(g *group) {
	g.key = o.num.next
	o.num.next += uint64(g.count)
	o.addGap(gap{epoch: o.num.epoch, from: g.key, to: o.num.next - 1, reason: "restart"})
}

func gapBatches(cfg *Config, gaps []gap, epoch string) []*batch {
	var bs batches
	now := message.Now()
	for _, g := range gaps {
		if g.epoch != epoch {
			g.from, g.to = 0, 0 // the record would be read as speaking of its own epoch
		}
		bs.add(cfg, message.GapRecord{Stamp: now, Gap: message.Gap{From: g.from, To: g.to, Reason: g.reason, LostAtMost: g.lost, Unknown: g.unknown, Stream: g.stream}}, now.T)
	}
	bs.closeDue(now.T, true)
	return bs.ready.all()
}

// reportGaps is for the time without a disk: gaps of the spare epoch are sealed by the sealer. Those of the file's epoch wait for the file.
func (o *Outbox) reportGaps(now time.Time) {
	if o.stats.State != memory || len(o.gaps) == 0 || now.Sub(o.gapAt) < gapEvery {
		return
	}
	o.gapAt = now
	var mine, others []gap
	for _, g := range o.gaps {
		if g.epoch == o.num.epoch && g.epoch != "" {
			others = append(others, g)
		} else {
			mine = append(mine, g)
		}
	}
	o.gaps = others
	for _, b := range gapBatches(&o.cfg, mine, o.num.spare) {
		epoch, first, ok := o.take(len(b.ends))
		if ok {
			o.enter(o.seal(b, epoch, first, now))
		}
	}
}

// shed drops from memory, the oldest of the least stream first, until what is held fits. Call with mu held.
func (o *Outbox) shed() {
	for o.batches.bytes+o.groups.bytes > maxMemory && o.shedOne() {
	}
	o.signal()
}

func (o *Outbox) shedOne() bool {
	for i := len(o.groups.pend) - 1; i >= 0; i-- {
		for _, g := range o.groups.pend[i].all() {
			if !g.gone && !g.onDisk && !g.moving && g.place != leased {
				o.giveUp(g, "memory")
				o.discard(g)
				return true
			}
		}
		if b := o.batches.drop(i); b != nil {
			o.stats.Dropped["memory"] += uint64(len(b.ends))
			o.addGap(gap{reason: "full", lost: uint64(len(b.ends)), stream: b.stream})
			b.receipt.resolve(ErrFull)
			return true
		}
	}
	return false
}

// giveUp counts a group that is dropped for want of room, and says so.
func (o *Outbox) giveUp(g *group, reason string) {
	o.stats.Dropped[reason] += uint64(g.count)
	o.addGap(gap{epoch: g.epoch, from: g.first, to: g.first + uint64(g.count) - 1, reason: "full", lost: uint64(g.count), stream: g.stream})
	g.settle(ErrFull)
}

// makeRoom sees to it that a change fits within the bounds: it adds deletes of the oldest groups of the least streams to it, and if nothing
// of so little worth is on disk, takes puts out of it. Call with mu held.
func (d *diskWorker) makeRoom(c *change) {
	o := d.o
	limit := d.s.cap
	if !d.capped.IsZero() && d.growable() {
		d.capped = time.Time{}
	}
	if !d.capped.IsZero() {
		limit = min(limit, d.s.high)
	}
	need := 32 // pages of branches, of gap records and of the outbox's own record
	for _, g := range c.puts {
		need += pagesOf(g)
	}
	spare := min(max(limit/8, 32), 640) // pages freed by a transaction serve the next one only
	lack := d.s.used() + need + spare - limit
	if limit < leastPages {
		lack = 0 // the disk is full and the file too small to make room in: memory will hold what comes
	}
	over := -o.cfg.MaxRecords
	for i := range o.onDisk.counts {
		over += o.onDisk.counts[i].records - o.onDisk.going[i].records
	}
	for _, g := range c.puts {
		over += int64(g.count)
	}
	if lack <= 0 && over <= 0 {
		return
	}
	if lack > 0 {
		lack += limit / 256
	}
	if over > 0 {
		over += o.cfg.MaxRecords / 256
	}
	for i := len(o.onDisk.counts) - 1; i >= 0 && (lack > 0 || over > 0); i-- {
		lack, over = d.dropOldest(i, lack, over)
		lack, over = o.dropPuts(c, i, lack, over)
	}
	o.signal()
}

// leastPages is the size of a file in which it is worth to drop something for something else.
const leastPages = 256

func pagesOf(g *group) int { return (partsOf(len(g.body))+3)/4 + 1 }

// growable tells whether the disk that was full has room again.
func (d *diskWorker) growable() bool {
	return time.Since(d.capped) > 10*time.Second && roomFor(d.o.cfg.Path, 2*int64(d.s.db.AllocSize))
}

func roomFor(path string, bytes int64) bool {
	var fs unix.Statfs_t
	return unix.Statfs(filepath.Dir(path), &fs) == nil && int64(fs.Bavail)*int64(fs.Bsize) > bytes
}

// dropOldest marks the oldest groups of one stream on disk for deletion until nothing lacks.
func (d *diskWorker) dropOldest(r, lack int, over int64) (int, int64) {
	o := d.o
	from := uint64(0)
	for lack > 0 || over > 0 {
		g, _, ok, err := d.s.read(r, from, func(key uint64) bool {
			b := o.groups.busy[key]
			return b != nil && (b.place != onBack || b.gone)
		})
		if err != nil || !ok || g == nil {
			break
		}
		from = g.key + 1
		if b := o.groups.busy[g.key]; b != nil { // it had been read ahead
			g = b
			delete(o.groups.ram, g.id)
		}
		g.gone, g.place = true, idle
		o.groups.busy[g.key] = g
		o.giveUp(g, "full")
		o.onDisk.remove(g, time.Now())
		lack -= pagesOf(g) - 1
		over -= int64(g.count)
	}
	return lack, over
}

// dropPuts takes groups of one stream out of a change until nothing lacks.
func (o *Outbox) dropPuts(c *change, r, lack int, over int64) (int, int64) {
	kept := c.puts[:0]
	for _, g := range c.puts {
		if rank(g.stream) != r || lack <= 0 && over <= 0 || g.place == leased || r == rank(message.Audit) {
			kept = append(kept, g)
			continue
		}
		lack -= pagesOf(g)
		over -= int64(g.count)
		o.giveUp(g, "full")
		o.discard(g)
	}
	c.puts = kept
	return lack, over
}

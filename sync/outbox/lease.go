package outbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// group is a sealed group that memory knows of.
type group struct {
	head
	body    []byte
	id, key uint64 // key 0: none on disk yet
	place   place
	live    bool      // goes on t/
	onDisk  bool      // committed
	moving  bool      // in the transaction under way
	gone    bool      // acknowledged or dropped
	refused bool      // for ever: to be split
	due     time.Time // when to commit
	names   uint64    // the lowest number that its gap records speak of; 0: it holds none
	receipt *Receipt  // not resolved yet
}

// settle resolves the group's promise, once.
func (g *group) settle(err error) {
	r := g.receipt
	g.receipt = nil
	r.resolve(err)
}

// place says where a group waits.
type place uint8

const (
	idle   place = iota // for its commit
	onLive              // to be leased live
	onBack              // to be leased as backlog
	leased
)

// tally counts records and bytes.
type tally struct{ records, bytes int64 }

// groups are those that memory knows: not on disk yet, leased, read ahead, or deleted but not from the disk yet.
type groups struct {
	ram   map[uint64]*group // by id; until gone
	busy  map[uint64]*group // by key: on disk, and not to be read from there
	pend  [8]fifo[*group]   // not on disk, oldest first
	held  [8]tally          // of pend
	bytes int               // of pend
	live  [8]fifo[*group]
	back  [8]fifo[*group]
}

func (gs *groups) add(g *group) {
	r := rank(g.stream)
	gs.ram[g.id] = g
	gs.pend[r].push(g)
	gs.held[r].records += int64(g.count)
	gs.held[r].bytes += int64(len(g.body))
	gs.bytes += len(g.body)
}

// unpend takes g's weight out of what is held in memory; the fifo forgets it later.
func (gs *groups) unpend(g *group) {
	r := rank(g.stream)
	gs.held[r].records -= int64(g.count)
	gs.held[r].bytes -= int64(len(g.body))
	gs.bytes -= len(g.body)
}

// first returns the first group of q that still waits there.
func first(q *fifo[*group], p place) *group {
	for q.len() > 0 {
		if g := q.front(); g.place == p && !g.gone {
			return g
		}
		q.pop()
	}
	return nil
}

// offer lets the uplink have g if it may. Call with mu held.
func (o *Outbox) offer(g *group) {
	r := rank(g.stream)
	failing := o.stats.State == memory
	switch {
	case g.gone || g.refused || !g.onDisk && g.stream.Urgent() && !failing:
		g.place = idle
	case g.live && o.link:
		g.place = onLive
		o.groups.live[r].push(g)
	case failing && !g.onDisk:
		g.place = onBack
		o.groups.back[r].push(g)
	default:
		g.place = idle
	}
}

// forget leaves g to the disk, from where it will be read again.
func (o *Outbox) forget(g *group) {
	r := rank(g.stream)
	g.place = idle
	delete(o.groups.ram, g.id)
	if o.groups.busy[g.key] == g {
		delete(o.groups.busy, g.key)
	}
	o.onDisk.reread(r, g.key)
}

// Link tells whether the broker can be reached. When the link goes, every leased group comes back and what is only in memory is committed.
func (o *Outbox) Link(up bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if up && o.link {
		return
	}
	o.link = up // down twice is not nothing: leases may have been taken without a link
	if !up {
		o.recall()
		for i := range o.groups.pend {
			for _, g := range o.groups.pend[i].all() {
				g.due = time.Time{}
			}
		}
	}
	kick(o.disk)
	kick(o.sealer)
	o.signal()
}

// recall ends every lease and every offer, oldest first. From now on nothing of this is live.
func (o *Outbox) recall() {
	var back []*group
	for _, g := range o.groups.ram {
		g.live = false
		if g.place != idle {
			back = append(back, g)
		}
	}
	slices.SortFunc(back, func(a, b *group) int { return cmp.Compare(a.id, b.id) })
	for _, g := range back {
		o.giveBack(g)
	}
}

// giveBack ends a lease, or an offer.
func (o *Outbox) giveBack(g *group) {
	if g.onDisk {
		o.forget(g)
		return
	}
	g.place = idle
	o.offer(g)
}

// Next leases the next group to be sent, and blocks until there is one: with live, those sealed while the link was up; without, the backlog:
// urgent streams first, then the oldest. A lease ends with Ack, Release, Refuse or Link(false). After Run it returns ErrClosed.
func (o *Outbox) Next(ctx context.Context, live bool) (Group, error) {
	var g *group
	err := o.wait(ctx, func() bool {
		if o.closed {
			return true
		}
		if live {
			g = o.nextLive()
		} else {
			g = o.nextBack()
		}
		if g != nil {
			g.place = leased
		}
		return g != nil
	})
	switch {
	case err != nil:
		return Group{}, fmt.Errorf("outbox: next group: %w", err)
	case g == nil:
		return Group{}, ErrClosed
	}
	return Group{ID: g.id, Epoch: g.epoch, Stream: g.stream, Count: g.count, Body: g.body, Size: g.size, Sealed: g.sealed, Live: live}, nil
}

func (o *Outbox) nextLive() *group {
	for i := range o.groups.live {
		if g := first(&o.groups.live[i], onLive); g != nil {
			o.groups.live[i].pop()
			return g
		}
	}
	return nil
}

// nextBack waits until the head of every stream that has something on disk has been read, so that the order is right.
func (o *Outbox) nextBack() *group {
	best := -1
	var oldest *group
	for i := range o.groups.back {
		g := first(&o.groups.back[i], onBack)
		if g == nil {
			if !o.onDisk.done[i] && o.stats.State != memory {
				o.onDisk.wanted = true
				kick(o.disk)
				return nil
			}
			continue
		}
		if best < 0 || g.id < oldest.id {
			best, oldest = i, g
		}
		if streamAt(i).Urgent() {
			break
		}
	}
	if best < 0 {
		o.onDisk.wanted = true
		return nil
	}
	o.groups.back[best].pop()
	if o.groups.back[best].len() < readAhead/2 && !o.onDisk.done[best] {
		kick(o.disk)
	}
	return oldest
}

// Ack forgets groups that the broker has acknowledged. Deletes are batched: after a crash a group may come once more, the same to the byte.
func (o *Outbox) Ack(ids ...uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		g := o.groups.ram[id]
		if g == nil || g.gone || g.refused {
			continue
		}
		o.stats.Acked += uint64(g.count)
		o.stats.AckedGroups++
		o.discard(g)
		g.settle(nil)
	}
	if len(o.onDisk.dels) >= deleteBatch {
		kick(o.disk)
	}
	o.signal()
}

// discard takes g out of memory and marks it for deletion if it is on disk.
func (o *Outbox) discard(g *group) {
	g.gone, g.place = true, idle
	delete(o.groups.ram, g.id)
	if g.onDisk {
		o.onDisk.remove(g, time.Now())
		return
	}
	o.groups.unpend(g)
	o.groups.sweep(rank(g.stream))
}

// sweep takes from the front of pend what is not held any more. What is being committed stays until the disk worker is back.
func (gs *groups) sweep(r int) {
	q := &gs.pend[r]
	for q.len() > 0 && !q.front().moving && (q.front().gone || q.front().onDisk) {
		q.pop()
	}
}

// Release gives back groups that were not sent after all; they are offered again.
func (o *Outbox) Release(ids ...uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		if g := o.groups.ram[id]; g != nil && g.place == leased {
			o.giveBack(g)
		}
	}
	kick(o.disk)
	o.signal()
}

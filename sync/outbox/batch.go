package outbox

import (
	"time"

	"heron/sync/message"
)

// batch is a run of records of one stream that have no numbers yet.
type batch struct {
	stream  message.Stream
	recs    []byte // JSON objects, one after another
	ends    []int  // of each record in recs
	since   time.Time
	until   time.Time
	due     time.Time // when it is to be sealed
	receipt *Receipt
}

const (
	envelopeBytes = 400 // an envelope without its records, generously
	recordBytes   = 30  // what the number adds to a record
	maxMemory     = 4 << 20
)

// size is what the batch will have as an envelope, a little overestimated.
func (b *batch) size() int { return envelopeBytes + len(b.recs) + recordBytes*len(b.ends) }

// batches are the records that wait to be sealed: one open batch a stream, and those that are ready.
type batches struct {
	open  [8]*batch
	last  [8]time.Time // of the stream's last Put: a record after a quiet spell is not kept waiting
	ready fifo[*batch]
	bytes int // of all of them
}

// add appends one record and returns the batch it went into; nil if it is too large ever to be sent.
func (bs *batches) add(cfg *Config, r message.Record, now time.Time) *batch {
	i := rank(r.Stream())
	b := bs.open[i]
	if b == nil {
		b = bs.begin(cfg, i, now)
	}
	before := len(b.recs)
	b.recs = r.AppendJSON(b.recs)
	n := len(b.recs) - before
	if len(b.ends) > 0 && b.size()+recordBytes > cfg.SealBytes { // it does not fit: it opens the next batch
		rec := b.recs[before:]
		b.recs = b.recs[:before]
		bs.close(i)
		b = bs.begin(cfg, i, now)
		b.recs = append(b.recs, rec...)
	}
	if envelopeBytes+n+recordBytes > cfg.SealBytes {
		bs.open[i] = nil
		return nil
	}
	b.ends = append(b.ends, len(b.recs))
	b.until, bs.last[i] = now, now
	bs.bytes += n
	if len(b.ends) >= cfg.SealRecords {
		bs.close(i)
	}
	return b
}

func (bs *batches) begin(cfg *Config, i int, now time.Time) *batch {
	stream := streamAt(i)
	wait := cfg.sealAfter(stream)
	due := now.Add(wait)
	if now.Sub(bs.last[i]) >= wait {
		due = now
	}
	b := &batch{stream: stream, since: now, due: due, receipt: newReceipt()}
	bs.open[i] = b
	return b
}

// close makes the open batch of stream i ready.
func (bs *batches) close(i int) {
	bs.ready.push(bs.open[i])
	bs.open[i] = nil
}

// closeDue makes ready what is due, or everything, and tells when the next one is due (zero: none is open).
func (bs *batches) closeDue(now time.Time, everything bool) (next time.Time) {
	for i, b := range bs.open {
		switch {
		case b == nil:
		case everything || !b.due.After(now):
			bs.close(i)
		case next.IsZero() || b.due.Before(next):
			next = b.due
		}
	}
	return next
}

// drop takes out the oldest batch of stream i; nil when there is none.
func (bs *batches) drop(i int) *batch {
	for k, b := range bs.ready.all() {
		if b.stream == streamAt(i) {
			bs.ready.remove(k)
			bs.bytes -= len(b.recs)
			return b
		}
	}
	b := bs.open[i]
	if b != nil {
		bs.open[i] = nil
		bs.bytes -= len(b.recs)
	}
	return b
}

// fifo is a queue that gives its memory back.
type fifo[T any] struct {
	items []T
	from  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.from }
func (q *fifo[T]) all() []T { return q.items[q.from:] }
func (q *fifo[T]) push(v T) { q.items = append(q.items, v) }
func (q *fifo[T]) front() T { return q.items[q.from] }
func (q *fifo[T]) remove(i int) {
	q.items = append(q.items[:q.from+i], q.items[q.from+i+1:]...)
	var none T
	q.items[:cap(q.items)][len(q.items)] = none
}

func (q *fifo[T]) pop() T {
	v := q.items[q.from]
	var none T
	q.items[q.from] = none
	q.from++
	if q.from == len(q.items) {
		q.items, q.from = nil, 0
		return v
	}
	if q.from >= 64 && q.from*2 >= len(q.items) {
		q.items, q.from = append([]T(nil), q.items[q.from:]...), 0
	}
	return v
}

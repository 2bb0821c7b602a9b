package outbox

import (
	"context"
	"fmt"
	"sync"
	"time"

	"heron/sync/message"
)

// Outbox is safe for concurrent use. All fields below mu are guarded by it.
type Outbox struct {
	cfg    Config
	sealer chan struct{} // wakes the sealer
	disk   chan struct{} // wakes the disk worker
	opened chan struct{} // closed when the file is open, or known not to open

	mu      sync.Mutex
	press   press
	batches batches
	num     numbers
	link    bool
	groups  groups
	onDisk  diskView
	gaps    []gap
	gapAt   time.Time // when gaps were last reported without a disk
	refused []refusal
	session sessions
	stats   Stats
	closing bool // Run's context has ended
	closed  bool
	limits  limits        // from New on unchanged
	hang    func()        // of tests: called before each transaction, in place of a disk that does not answer
	changed chan struct{} // closed and replaced at every change that someone may wait for
}

// numbers gives out sequence numbers. The file's run in a block that is reserved on disk; while there is no file, another epoch is used, so that
// no number can ever mean two records.
type numbers struct {
	epoch          string
	next, reserved uint64
	want           bool // the sealer waits for a reservation
	spare          string
	spareNext      uint64
	spareID        uint64
}

// sessions counts connections; the number lives in the file.
type sessions struct {
	last, durable uint64
}

// limits are what tests set otherwise, before Run.
type limits struct {
	stall        time.Duration // a disk that is waited for so long does not answer: memory takes over
	shutdown     time.Duration // for bringing to disk what is held
	compactAbove int64         // bytes; a smaller file is not worth it: it will be needed again
	compactEvery time.Duration
}

const (
	opening = "opening"
	stateOK = "ok"
	memory  = "memory"
	failed  = "failed"

	reserveAhead = 1000
	idleForever  = time.Hour
)

// New checks the configuration. It starts nothing and touches nothing; Put works from now on.
func New(cfg Config) (*Outbox, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	o := &Outbox{cfg: cfg, sealer: make(chan struct{}, 1), disk: make(chan struct{}, 1), opened: make(chan struct{}), changed: make(chan struct{})}
	o.limits = limits{stall: 30 * time.Second, shutdown: 10 * time.Second, compactAbove: 32 << 20, compactEvery: time.Hour}
	o.groups.ram, o.groups.busy = map[uint64]*group{}, map[uint64]*group{}
	o.stats = Stats{State: opening, Since: time.Now(), Put: map[message.Stream]uint64{}, Dropped: map[string]uint64{}}
	return o, nil
}

// Run opens the file in the background, seals, commits and deletes until ctx ends; then it seals and commits all that is held and closes the
// file. It returns an error only if another process holds the file (ErrLocked), or if what was held could not be brought to disk.
func (o *Outbox) Run(ctx context.Context) error {
	if err := o.press.open(); err != nil {
		return err
	}
	worker := make(chan error, 1)
	stop := make(chan struct{})
	go func() { worker <- o.diskLoop(stop) }()
	err := o.sealLoop(ctx, worker)
	if err == nil {
		err = o.shutDown(stop, worker)
	}
	return o.finish(err)
}

// shutDown brings to disk what is held, as far as the disk answers in time.
func (o *Outbox) shutDown(stop chan<- struct{}, worker <-chan error) error {
	limit := time.NewTimer(o.limits.shutdown)
	defer limit.Stop()
	if err := o.sealRest(worker); err != nil {
		return err
	}
	close(stop)
	select {
	case err := <-worker:
		return err
	case <-limit.C:
		return fmt.Errorf("outbox %s: the disk has not answered for %v; what was held is given up", o.cfg.Path, o.limits.shutdown)
	}
}

// finish gives up what is still held and lets everyone go who waits.
func (o *Outbox) finish(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	lost := 0
	for _, b := range o.batches.ready.all() {
		lost += len(b.ends)
		b.receipt.resolve(ErrClosed)
	}
	for i, b := range o.batches.open {
		if b != nil {
			lost += len(b.ends)
			b.receipt.resolve(ErrClosed)
			o.batches.open[i] = nil
		}
	}
	o.batches.ready = fifo[*batch]{}
	for i := range o.groups.pend {
		for _, g := range o.groups.pend[i].all() {
			if !g.gone {
				lost += g.count
				g.settle(ErrClosed)
			}
		}
		o.groups.pend[i] = fifo[*group]{}
		o.groups.held[i] = tally{}
	}
	o.stats.Dropped["closed"] += uint64(lost)
	if o.stats.State != stateOK || err != nil {
		o.setState(failed, errText(err, o.stats.Reason))
	}
	o.closed = true
	o.signal()
	if err == nil && lost > 0 {
		return fmt.Errorf("outbox %s: %d records could not be brought to disk: %s", o.cfg.Path, lost, o.stats.Reason)
	}
	return err
}

func errText(err error, otherwise string) string {
	if err != nil {
		return err.Error()
	}
	return otherwise
}

// Put takes a record. It never blocks and keeps nothing of r. What does not fit into memory while the disk is slow, failing or not open yet is
// dropped, the oldest of the least stream first, and counted. The record's JSON must be valid.
func (o *Outbox) Put(r message.Record) *Receipt {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	s := r.Stream()
	switch {
	case rank(s) < 0:
		return o.refusePut("too-large", fmt.Errorf("unknown stream %q: %w", s, ErrTooLarge))
	case o.closed:
		return o.refusePut("closed", ErrClosed)
	}
	b := o.batches.add(&o.cfg, r, now)
	if b == nil {
		return o.refusePut("too-large", fmt.Errorf("a record of %s: %w (limit %d bytes)", s, ErrTooLarge, o.cfg.SealBytes))
	}
	o.stats.Put[s]++
	receipt := b.receipt
	if o.batches.bytes+o.groups.bytes > maxMemory {
		o.shed()
	}
	if len(b.ends) == 1 || o.batches.ready.len() > 0 || !b.due.After(now) {
		kick(o.sealer)
	}
	return receipt
}

func (o *Outbox) refusePut(reason string, err error) *Receipt {
	o.stats.Dropped[reason]++
	r := newReceipt()
	r.resolve(err)
	return r
}

// kick wakes a loop that may be asleep.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// signal wakes everyone who waits for a change. Call with mu held.
func (o *Outbox) signal() {
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *Outbox) setState(state, reason string) {
	if o.stats.State != state {
		o.stats.State, o.stats.Since = state, time.Now()
	}
	o.stats.Reason = reason
	if state != stateOK && reason != "" {
		o.stats.LastError, o.stats.LastErrorAt = reason, time.Now()
	}
}

// Stats copies the counters.
func (o *Outbox) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stats
	s.Epoch, s.NextSeq = o.num.epoch, o.num.next
	s.Records, s.Bytes = map[message.Stream]int64{}, map[message.Stream]int64{}
	for i := range o.onDisk.counts {
		w := o.waiting(i)
		if w.records > 0 {
			s.Records[streamAt(i)], s.Bytes[streamAt(i)] = w.records, w.bytes
		}
	}
	s.Put, s.Dropped = map[message.Stream]uint64{}, map[string]uint64{}
	for k, v := range o.stats.Put {
		s.Put[k] = v
	}
	for k, v := range o.stats.Dropped {
		s.Dropped[k] = v
	}
	s.Oldest = o.oldest()
	return s
}

// waiting is what stream i has in memory and on disk that the broker has not acknowledged.
func (o *Outbox) waiting(i int) tally {
	d := o.onDisk.counts[i]
	t := o.groups.held[i]
	t.records += d.records - o.onDisk.going[i].records
	t.bytes += d.bytes - o.onDisk.going[i].bytes
	if b := o.batches.open[i]; b != nil {
		t.records += int64(len(b.ends))
	}
	for _, b := range o.batches.ready.all() {
		if rank(b.stream) == i {
			t.records += int64(len(b.ends))
		}
	}
	return t
}

func (o *Outbox) oldest() time.Time {
	t := o.onDisk.oldest
	for i := range o.groups.pend {
		for _, g := range o.groups.pend[i].all() {
			if !g.gone {
				if t.IsZero() || g.sealed.Before(t) {
					t = g.sealed
				}
				break
			}
		}
	}
	return t
}

// Session counts the connections of this outbox: it returns the next number, which is on disk by then. While the disk fails the number is only kept in memory
// and written when the disk is back. Before the file is open it waits.
func (o *Outbox) Session(ctx context.Context) (uint64, error) {
	select {
	case <-o.opened:
	case <-ctx.Done():
		return 0, fmt.Errorf("outbox: wait for the file: %w", ctx.Err())
	}
	o.mu.Lock()
	o.session.last++
	n := o.session.last
	o.mu.Unlock()
	kick(o.disk)
	err := o.wait(ctx, func() bool { return o.session.durable >= n || o.stats.State == memory || o.closed })
	if err != nil {
		return 0, fmt.Errorf("outbox: write session %d: %w", n, err)
	}
	return n, nil
}

// wait blocks until done, which is called with mu held.
func (o *Outbox) wait(ctx context.Context, done func() bool) error {
	for {
		o.mu.Lock()
		ok, changed := done(), o.changed
		o.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Flush seals everything now and returns when all that was put before is safe; its error says what was given up.
func (o *Outbox) Flush(ctx context.Context) error {
	o.mu.Lock()
	o.batches.closeDue(time.Time{}, true)
	var wait []*Receipt
	for _, b := range o.batches.ready.all() {
		b.due = time.Time{} // its group is not to wait for an acknowledgement either
		wait = append(wait, b.receipt)
	}
	for i := range o.groups.pend {
		for _, g := range o.groups.pend[i].all() {
			g.due = time.Time{}
			if g.receipt != nil && !g.gone {
				wait = append(wait, g.receipt)
			}
		}
	}
	o.mu.Unlock()
	kick(o.sealer)
	kick(o.disk)
	for _, r := range wait {
		select {
		case <-r.Done():
			if err := r.Err(); err != nil {
				return fmt.Errorf("outbox: flush: %w", err)
			}
		case <-ctx.Done():
			return fmt.Errorf("outbox: flush: %w", ctx.Err())
		}
	}
	return nil
}

// Drained returns when nothing waits any more: every record put so far has been acknowledged, or dropped and counted.
func (o *Outbox) Drained(ctx context.Context) error {
	err := o.wait(ctx, func() bool {
		var left int64
		for i := range o.onDisk.counts {
			left += o.waiting(i).records
		}
		return left == 0 && (o.stats.State != opening || o.closed)
	})
	if err != nil {
		return fmt.Errorf("outbox: drain: %w", err)
	}
	return nil
}

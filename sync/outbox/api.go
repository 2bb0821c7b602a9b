// Package outbox keeps records on disk, in order and within a bound, until they are acknowledged.
//
// The unit is the group: a run of records of one stream, sealed together, encoded and compressed once as the very envelope that will be sent,
// and kept, sent and acknowledged whole. A group of a routine stream that is acknowledged in time never touches the disk.
package outbox

import (
	"time"

	"heron/sync/message"
)

// Config of an Outbox. New fills in the defaults given here.
type Config struct {
	Path       string                // outbox.db; beside it only short-lived files named after it
	MaxBytes   int64                 // of the file; default 512 MiB
	MaxRecords int64                 // default 50 million
	Header     func() message.Header // what a group's envelope says at sealing; Epoch is filled in by the outbox
	LossRate   float64               // records a second that routine streams can make; bounds lost_at_most after an unclean stop

	SealAfter   map[message.Stream]time.Duration // default: urgent 50 ms, others 5 s
	SealRecords int                              // default 500
	SealBytes   int                              // default 96 KiB of uncompressed envelope
	CommitAfter time.Duration                    // a routine group given to the uplink and not acknowledged for so long goes to disk; default 2 s
}

// Receipt is the promise of one Put: Done is closed when the record is safe (committed here, or acknowledged by the broker,
// whichever comes first; urgent streams: always after the commit), or lost, and then Err says why.
type Receipt struct {
	done chan struct{}
	err  error
}

// Done is closed when the record is safe or given up.
func (r *Receipt) Done() <-chan struct{} { return r.done }

// Err is nil once the record is safe; call it after Done.
func (r *Receipt) Err() error { return r.err }

// Group is a sealed run of records on its way out. Its bytes never change: sent twice, it is twice the same.
type Group struct {
	ID     uint64 // sequence number of its first record
	Epoch  string
	Stream message.Stream
	Count  int
	Body   []byte // one zstd frame holding the envelope
	Size   int    // of the envelope, bytes
	Sealed time.Time
	Live   bool // sealed while the link was up and offered at once: goes on t/, the rest on h/
}

// Stats is a copy of the outbox's counters.
type Stats struct {
	State       string // opening, ok, memory (the disk fails: a bounded ring holds what comes), failed
	Reason      string // why not ok
	Since       time.Time
	Epoch       string
	NextSeq     uint64
	Records     map[message.Stream]int64 // waiting, on disk or in memory
	Bytes       map[message.Stream]int64 // compressed
	Oldest      time.Time                // sealing time of the oldest group that waits; zero when none does
	FileBytes   int64
	Put         map[message.Stream]uint64 // records accepted since start
	Sealed      uint64                    // groups
	Acked       uint64                    // records acknowledged by the broker
	AckedGroups uint64
	Commits     uint64
	Written     uint64            // bytes handed to the file, by our own count of pages
	Dropped     map[string]uint64 // records, by reason: full, corrupt, poison, memory, closed, too-large
	Quarantined uint64            // damaged files set aside
	Salvaged    uint64            // records brought over from them
	Dead        uint64            // records in the dead bucket
	LastError   string
	LastErrorAt time.Time
}

// The methods of Outbox (built in this package):
//
//	func New(Config) (*Outbox, error)              // starts nothing, touches nothing
//	func (*Outbox) Run(ctx context.Context) error  // opens, checks, seals, commits; blocks; on ctx's end seals and commits all that is held, then closes the file
//	func (*Outbox) Put(message.Record) *Receipt    // never blocks; before the file is open, records wait in memory (bounded)
//	func (*Outbox) Stats() Stats
//	func (*Outbox) Session(ctx) (uint64, error)    // next session number, durably counted up
//	func (*Outbox) Flush(ctx) error                // seal everything now, return when it is safe
//	func (*Outbox) Drained(ctx) error              // returns when nothing waits any more
//
// For the uplink:
//
//	func (*Outbox) Link(up bool)                                    // down: leased groups come back and memory-only groups are committed
//	func (*Outbox) Next(ctx context.Context, live bool) (Group, error) // leases the next group: live ones (live true) or the backlog, urgent streams first, then oldest first; blocks
//	func (*Outbox) Ack(ids ...uint64)                               // the broker has it: forget it (deletes are batched)
//	func (*Outbox) Release(ids ...uint64)                           // not sent after all: offer it again
//	func (*Outbox) Refuse(id uint64, reason string)                 // the broker refuses it for ever: split down to the record, that one goes to dead
//
// Offline tools, on a file that nobody has open:
//
//	func Verify(path string) (Report, error)
//	func Export(path string, w io.Writer) error    // records as JSON lines
var _ = 0

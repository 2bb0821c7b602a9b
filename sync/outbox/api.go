// Package outbox keeps records on disk, in order and within a bound, until they are acknowledged.
//
// The unit is the group: a run of records of one stream, sealed together, encoded and compressed once as the very envelope that will be sent,
// and kept, sent and acknowledged whole. A group of a routine stream that is acknowledged in time never touches the disk.
//
// A record's way: Put appends it to the open batch of its stream (batch.go); when the batch is full, old or came out of a quiet spell, the sealer
// gives it numbers and makes it a group (seal.go); the uplink leases it (lease.go); what is urgent, late or has no link goes to the file in the
// disk worker's next transaction (disk.go), in parts (part.go) kept by bbolt (store.go). Before a file is opened its pages are read and
// checked without bbolt (pages.go, check.go); one that is damaged is set aside and a child process saves what it can (salvage.go).
package outbox

import (
	"errors"
	"fmt"
	"math"
	"time"

	"heron/sync/message"
)

// Config of an Outbox. New fills in the defaults given here.
type Config struct {
	Path       string                // outbox.db; beside it only short-lived files named after it
	MaxBytes   int64                 // of the file; default 512 MiB (256 MiB where addresses have 32 bits)
	MaxRecords int64                 // default 50 million
	Header     func() message.Header // what a group's envelope says at sealing; Epoch is filled in by the outbox
	LossRate   float64               // records a second that routine streams can make; bounds lost_at_most after an unclean stop

	SealAfter   map[message.Stream]time.Duration // default: urgent 50 ms, others 5 s
	SealRecords int                              // default 500
	SealBytes   int                              // default 96 KiB of uncompressed envelope
	CommitAfter time.Duration                    // a routine group given to the uplink and not acknowledged for so long goes to disk; default 2 s
}

const (
	minBytes       = 4 << 20
	maxSealRecords = 500
	maxSealBytes   = 120 << 10 // an MQTT payload of this contract is at most 128 kB
)

func (c Config) withDefaults() (Config, error) {
	if c.MaxBytes == 0 {
		c.MaxBytes = 512 << 20
	}
	if math.MaxInt == math.MaxInt32 {
		c.MaxBytes = min(c.MaxBytes, 256<<20) // the whole file is mapped, and address space is short
	}
	if c.MaxRecords == 0 {
		c.MaxRecords = 50_000_000
	}
	if c.SealRecords == 0 {
		c.SealRecords = maxSealRecords
	}
	if c.SealBytes == 0 {
		c.SealBytes = 96 << 10
	}
	if c.CommitAfter == 0 {
		c.CommitAfter = 2 * time.Second
	}
	if c.Header == nil {
		c.Header = func() message.Header { return message.Header{} }
	}
	return c, c.validate()
}

func (c Config) validate() error {
	switch {
	case c.Path == "":
		return errors.New("outbox: no path given")
	case c.MaxBytes < minBytes:
		return fmt.Errorf("outbox: max bytes is %d, expected at least %d", c.MaxBytes, minBytes)
	case c.MaxRecords < 1:
		return fmt.Errorf("outbox: max records is %d, expected at least 1", c.MaxRecords)
	case c.SealRecords < 1 || c.SealRecords > maxSealRecords:
		return fmt.Errorf("outbox: seal records is %d, expected 1 to %d", c.SealRecords, maxSealRecords)
	case c.SealBytes < 1<<10 || c.SealBytes > maxSealBytes:
		return fmt.Errorf("outbox: seal bytes is %d, expected 1024 to %d", c.SealBytes, maxSealBytes)
	case c.LossRate < 0 || c.CommitAfter < 0:
		return errors.New("outbox: loss rate and commit-after must not be negative")
	}
	return nil
}

func (c Config) sealAfter(s message.Stream) time.Duration {
	if d, ok := c.SealAfter[s]; ok {
		return d
	}
	if s.Urgent() {
		return 50 * time.Millisecond
	}
	return 5 * time.Second
}

// lostAtMost is how many routine records an unclean stop can cost: what is made while a group fills and waits for its acknowledgement.
func (c Config) lostAtMost() uint64 {
	longest := time.Duration(0)
	for _, s := range message.Streams() {
		if !s.Urgent() {
			longest = max(longest, c.sealAfter(s))
		}
	}
	return uint64(math.Ceil(c.LossRate * (longest + c.CommitAfter).Seconds()))
}

// Why a record was given up; Receipt.Err wraps one of them.
var (
	ErrClosed   = errors.New("the outbox is closed")
	ErrFull     = errors.New("the outbox is full")
	ErrTooLarge = errors.New("the record is too large")
	ErrLocked   = errors.New("the outbox is held by another process") // from Run, Verify and Export
)

// Receipt is the promise of one Put: Done is closed when the record is safe (committed here, or acknowledged by the broker,
// whichever comes first; urgent streams: always after the commit), or lost, and then Err says why. Records of one group share a Receipt.
type Receipt struct {
	done chan struct{}
	err  error
}

func newReceipt() *Receipt { return &Receipt{done: make(chan struct{})} }

// resolve is called once, by whoever takes the receipt out of its group or batch.
func (r *Receipt) resolve(err error) {
	if r != nil {
		r.err = err
		close(r.done)
	}
}

// Done is closed when the record is safe or given up.
func (r *Receipt) Done() <-chan struct{} { return r.done }

// Err is nil once the record is safe; call it after Done.
func (r *Receipt) Err() error { return r.err }

// Group is a sealed run of records on its way out. Its bytes never change: sent twice, it is twice the same.
type Group struct {
	ID     uint64 // names the group to Ack, Release and Refuse; mostly the sequence number of its first record
	Epoch  string
	Stream message.Stream
	Count  int
	Body   []byte // one zstd frame holding the envelope; not to be changed
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
	Compactions uint64            // drained files replaced by small ones
	Written     uint64            // bytes handed to the file, by our own count of pages
	Dropped     map[string]uint64 // records, by reason: full, corrupt, poison, memory, closed, too-large
	Quarantined uint64            // damaged files set aside
	Salvaged    uint64            // records brought over from them
	Uncounted   bool              // of one of them even the count was lost: Dropped["corrupt"] is what is known of
	Dead        uint64            // records in the dead bucket
	LastError   string
	LastErrorAt time.Time

	SlowestCommit time.Duration // since start
}

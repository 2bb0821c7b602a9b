// Package command does what the fleet asks for once: it takes commands as the uplink hands them over, does one after the other, each
// at most once whatever the network repeats, and answers. What was asked and how it ended is on disk before it is told.
//
// Start reading at Handle (handle.go), which decides; Run (run.go) acts; journal.go remembers.
package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"heron/internal/clock"
	"heron/sync/message"
)

// Bounds.
const (
	maxKnown  = 1000               // commands remembered
	maxAge    = 7 * 24 * time.Hour // for so long; no command may be valid for longer
	maxQueue  = 16
	maxData   = 16 << 10        // bytes of what an act gives
	maxUntold = 64              // answers that Publish had no room for
	blind     = 5 * time.Minute // that a command without issued_at is valid from its receipt, while the clock is not in sync
	grace     = 5 * time.Second // after its deadline, for a handler to return
)

// Handler does one act. It must return soon after ctx ends. progress may be called as often as it likes. data is what the answer
// carries, anything that can be JSON, 16 KiB at most. An Error has a code of its own; any other error has the code "failed".
type Handler func(ctx context.Context, args json.RawMessage, progress func(phase string, percent int)) (data any, err error)

// Act is one type of command.
type Act struct {
	Type     string
	Do       Handler
	Deadline time.Duration // default one minute

	Check   func(args json.RawMessage) error // refuses what cannot be done before it counts as begun; must not block. nil: Do looks
	Every   time.Duration                    // at most once in so long, restarts and reboots included; 0: no limit
	Blocked func() string                    // why it cannot be now; "": it can. Asked when the command comes and when its turn does. nil: never

	// Returns: the act ends this process; to be back is its success. With Reboots, only after a boot. Its handler returns nil once the
	// end is on its way, which must come before the deadline. Whatever comes meanwhile is rejected.
	Returns, Reboots bool
}

// Error is a failure with a code for programs.
type Error struct{ Code, Message string }

func (e Error) Error() string { return e.Message }

// Config of an Executor. Its functions, and Act.Blocked, are called with the Executor locked: they must not call it, nor block for long.
type Config struct {
	Path    string                                  // of the journal
	Publish func(topic string, payload []byte) bool // uplink.Publish; false: no room, it is tried again
	Audit   func(message.AuditRecord)               // every act, every refusal; a flood once. Its Stamp is set. nil: none
	Synced  func() bool                             // the clock can be trusted; default: what the kernel says
	Rate    float64                                 // commands a second, lasting; default 5
	Burst   int                                     // and at once; default 20
	Log     *slog.Logger
}

// Stats are counters since the start, and what is there now.
type Stats struct {
	Received, Accepted, Repeated, Rejected, Expired uint64
	Retained                                        uint64 // of Rejected: garbage kept by the broker
	RateLimited                                     uint64 // of Rejected
	Succeeded, Failed                               uint64
	Untold                                          uint64 // answers that were lost: no room for them
	Queued                                          int
	Running                                         string // type/id; empty: nothing
	Known                                           int
	Trouble                                         string // with the journal; commands are then rejected
}

// Executor takes commands and does them. Handle may be called from any goroutine, Run once.
type Executor struct {
	conf Config

	mu      sync.Mutex
	acts    map[string]Act
	journal *journal
	bucket  bucket
	queue   []waiting
	running *waiting
	more    chan struct{} // holds a token when the queue grew since it was last read
	untold  []answer
	stats   Stats
}

// waiting is an accepted command.
type waiting struct {
	kind  string
	cmd   message.Command
	until time.Time // monotonic: not begun later
}

// answer is one that could not be published yet.
type answer struct {
	topic   string
	payload []byte
}

// Open reads the journal. One that is damaged is read as far as it can be; the error then says so, and the Executor is usable.
// Without an Executor, the error is about conf.
func Open(conf Config) (*Executor, error) {
	if conf.Path == "" || conf.Publish == nil {
		return nil, errors.New("commands: Path and Publish are needed")
	}
	conf.Rate, conf.Burst = cmp.Or(conf.Rate, 5), cmp.Or(conf.Burst, 20)
	if conf.Synced == nil {
		conf.Synced = func() bool { return clock.Now().Sync }
	}
	if conf.Audit == nil {
		conf.Audit = func(message.AuditRecord) {}
	}
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	j, err := openJournal(conf.Path)
	e := &Executor{conf: conf, acts: map[string]Act{}, journal: j, more: make(chan struct{}, 1)}
	e.bucket = bucket{rate: conf.Rate, burst: float64(conf.Burst), tokens: float64(conf.Burst), at: time.Now()}
	if err != nil {
		e.stats.Trouble = err.Error()
	}
	return e, err
}

// Register adds a type; before Run.
func (e *Executor) Register(a Act) error {
	if !message.IsSlot(a.Type) || a.Do == nil {
		return fmt.Errorf("commands: %q cannot be a type, or nothing does it", a.Type)
	}
	a.Deadline = cmp.Or(a.Deadline, time.Minute)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.acts[a.Type] = a
	return nil
}

// Types lists what is registered, for the inventory.
func (e *Executor) Types() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.types()
}

func (e *Executor) types() []string {
	out := make([]string, 0, len(e.acts))
	for t := range e.acts {
		out = append(out, t)
	}
	slices.Sort(out)
	return out
}

// Stats copies them.
func (e *Executor) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Queued, s.Known = len(e.queue), len(e.journal.known)
	if e.running != nil {
		s.Running = e.running.kind + "/" + e.running.cmd.ID
	}
	return s
}

// tell publishes an answer. Call with mu held.
func (e *Executor) tell(kind string, a message.Answer) {
	b, err := json.Marshal(a)
	if err != nil { // only foreign data could do this, and that was checked
		b = []byte(fmt.Sprintf(`{"v":1,"id":%q,"status":%q,"at":%q}`, a.ID, a.Status, a.At.Format(time.RFC3339)))
	}
	e.send(answer{"res/" + kind + "/" + a.ID, b})
}

func (e *Executor) send(a answer) {
	if len(e.untold) == 0 && e.conf.Publish(a.topic, a.payload) {
		return
	}
	if len(e.untold) >= maxUntold {
		e.stats.Untold++ // a repeat of the command brings it again
		e.untold = slices.Delete(e.untold, 0, 1)
	}
	e.untold = append(e.untold, a)
}

// retell tries what could not be published.
func (e *Executor) retell() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.untold) > 0 && e.conf.Publish(e.untold[0].topic, e.untold[0].payload) {
		e.untold = slices.Delete(e.untold, 0, 1)
	}
}

func (e *Executor) audit(kind string, by string, a message.Answer) {
	detail := a.Message
	if a.Code != "" {
		detail = a.Code + ": " + a.Message
	}
	e.conf.Audit(message.AuditRecord{Stamp: message.Now(), Who: cmp.Or(by, "command"), What: kind, Target: a.ID, Result: a.Status, Detail: detail})
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// Package uplink drains the outbox over MQTT: it keeps one connection to the broker, says on the retained topic state whether the
// device is there, and publishes group after group, live ones first. A group is acknowledged to the outbox only after the broker's
// PUBACK. Whatever happens to the link, a group is sent again rather than lost.
//
// Start reading at Run (one turn of the loop is one connection), then session.go (what happens on a connection) and drain.go.
// guard.go is what keeps a bad broker from harming the process.
package uplink

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"heron/sync/outbox"
)

// Outbox is what the uplink needs of the outbox. All groups leased by Next come back with Link(false).
type Outbox interface {
	Session(ctx context.Context) (uint64, error)               // the next session number, durably counted up
	Link(up bool)                                              // up: live groups may be handed out
	Next(ctx context.Context, live bool) (outbox.Group, error) // blocks until there is one
	Ack(ids ...uint64)                                         // the broker has them
	Refuse(id uint64, reason string)                           // the broker will never take it
}

// Uplink is the way from the outbox to the broker. Stats may be called at any time, Run once.
type Uplink struct {
	conf   Config
	broker broker
	outbox Outbox
	timing timing
	unpack *unpacker

	status   status
	meter    meter
	retry    *retry
	session  uint64 // number of the next connection; 0: to be asked for
	suspect  suspect
	unsure   resends
	window   int // publishes that the next connection starts with
	inbox    inbox
	posts    posts
	denied   denied
	standing standing
	changed  chan struct{}  // holds a token when the documents are to be looked at
	strays   sync.WaitGroup // what still ends after its connection: at most a publish that waits for its write timeout

	counters
}

// counters are read by Stats.
type counters struct {
	connects, lost, failed       atomic.Uint64
	published, acked, resent     atomic.Uint64
	ackedRecords, refusedGroups  atomic.Uint64
	received, receivedAndDropped atomic.Uint64
	postsSent, postsDropped      atomic.Uint64
	refusedDocuments             atomic.Uint64
	complained                   atomic.Bool
}

// timing holds every interval, so that tests can make a minute short.
type timing struct {
	dial, connect time.Duration // TCP; all of it to the CONNACK
	write         time.Duration // without progress
	puback        time.Duration // without progress
	ping          time.Duration // answer to a ping
	dead          time.Duration // TCP_USER_TIMEOUT
	poll          time.Duration // looking for progress
	info          time.Duration // looking for changed documents
	resubscribe   time.Duration // before a refused subscription is asked for again
	reask         time.Duration // after a connect, before documents are asked for again; then each time after 20 times as long
	stopDrain     time.Duration // at a clean stop: groups under way
	stopState     time.Duration // and the last state
	quiet         time.Duration // before a suspected group is sent alone
	suspect       time.Duration // for how long it must go on before it is refused
	slow          time.Duration // a PUBACK later than this shrinks the window
	short         time.Duration // a connection shorter than this may have been a take-over
	retry         retryTiming
}

func defaultTiming() timing {
	return timing{
		dial: 10 * time.Second, connect: 30 * time.Second, write: 10 * time.Second, puback: 20 * time.Second, ping: 9 * time.Second,
		dead: 30 * time.Second, poll: time.Second, info: 30 * time.Second, resubscribe: 10 * time.Minute, reask: 3 * time.Minute, stopDrain: 2 * time.Second, stopState: 3 * time.Second,
		quiet: 5 * time.Second, suspect: 5 * time.Minute, slow: 3 * time.Second, short: time.Minute,
		retry: retryTiming{first: time.Second, min: 2 * time.Second, max: 2 * time.Minute, share: 6, refusedMin: 15 * time.Second, refusedMax: 5 * time.Minute, memory: 5 * time.Minute},
	}
}

// New validates conf and prepares an Uplink; it opens nothing and starts nothing.
func New(conf Config, box Outbox) (*Uplink, error) {
	if err := conf.Validate(); err != nil {
		return nil, err
	}
	conf = conf.withDefaults()
	u := &Uplink{conf: conf, outbox: box, timing: defaultTiming(), changed: make(chan struct{}, 1)}
	u.inbox.more, u.posts.more = make(chan struct{}, 1), make(chan struct{}, 1)
	u.broker, _ = parseBroker(conf.Broker) // validated above
	u.unpack = newUnpacker(conf.MaxPublishes)
	u.status.set(StateOffline, cause{reason: "not started"}, time.Time{})
	return u, nil
}

// Run connects, drains, and connects anew whenever the connection ends, until ctx ends; then it says goodbye and returns nil.
func (u *Uplink) Run(ctx context.Context) error {
	defer u.strays.Wait()
	u.retry = newRetry(u.timing.retry)
	handling, stop := context.WithCancel(ctx)
	defer stop()
	if u.conf.Handle != nil {
		u.strays.Go(func() { u.handleInbound(handling) })
	}
	for {
		end := u.connection(ctx)
		if ctx.Err() != nil {
			u.setStatus(StateOffline, cause{reason: stopped}, time.Time{})
			return nil
		}
		state, why, wait := u.retry.after(end)
		u.setStatus(state, why, time.Now().Add(wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// ended says how one turn of the loop ended.
type ended struct {
	err    error
	online time.Duration // how long the device was online; 0: never
	useful bool          // something was acknowledged
	kicked bool          // the broker closed a young connection without a word
}

// stopped is the reason for being offline after Run.
const stopped = "stopped"

// connection is one turn: dial, greet, drain.
func (u *Uplink) connection(ctx context.Context) ended {
	u.setStatus(StateConnecting, cause{}, time.Time{})
	s, err := u.connect(ctx)
	if err != nil {
		u.failed.Add(1)
		return ended{err: err}
	}
	u.connects.Add(1)
	end := s.run(ctx)
	if ctx.Err() == nil {
		u.lost.Add(1)
	}
	return end
}

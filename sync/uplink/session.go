package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// errNoPuback: the broker took a message, the network still stands, and nothing comes back.
var errNoPuback = errors.New("no PUBACK in time")

// session is one connection to the broker, from its CONNACK to its end. The client is used for this connection alone: only so
// does a publish that completes without an error mean a PUBACK.
type session struct {
	u      *Uplink
	conn   *guard
	client paho.Client
	number uint64
	gone   chan struct{} // closed when the client has cleaned up after a lost connection
	left   chan struct{} // closed when it has after a clean one

	handed  atomic.Uint64 // publishes given to the client
	window  *window
	flights chan flight
	alone   bool          // one group at a time: one of them is suspected
	quiet   time.Duration // before the first
	head    *flight       // the one whose PUBACK is waited for
	began   time.Time     // online
	acked   int
	struck  bool // the broker closed the connection with a group under way
	moved   progress
	aside
}

// aside is the sender's own: what it sends beside groups.
type aside struct {
	docs     map[string][]byte // as last sent, by topic
	sentDocs []sent            // whose PUBACK was not seen yet
	posted   []sent            // of the first of the queue of posts
	asked    time.Time         // documents, again; zero: only at the connect
	lost     uint64            // of the publishes, the first group without a PUBACK at the end; 0: none
	stuck    bool              // the sender hangs in the client: nobody else may touch these
}

func (u *Uplink) newSession(conn *guard, under *wire, number uint64) *session {
	s := &session{u: u, conn: conn, moved: progress{wire: under}, number: number, aside: aside{docs: map[string][]byte{}}, gone: make(chan struct{}), left: make(chan struct{}), flights: make(chan flight, u.conf.MaxPublishes+1)}
	s.alone = u.suspect.isolate()
	start := 8
	if u.window > 0 {
		start = u.window
	}
	if s.alone {
		start, s.quiet = 1, u.timing.quiet
	}
	s.window = newWindow(u.conf.MaxPublishes, u.conf.MaxBytes, start, u.timing.slow, !s.alone)
	return s
}

// run greets with state and info, drains until the connection or ctx ends, and leaves everything tidy.
func (s *session) run(ctx context.Context) (end ended) {
	defer s.close()
	if err := s.begin(ctx); err != nil {
		if ctx.Err() != nil { // the birth may be on its way
			s.goodbye()
		}
		s.conn.abort(err)
		return ended{err: err, kicked: byPeer(err)}
	}
	s.began = time.Now()
	s.u.status.show(s.number, s.window)
	s.u.setStatus(StateOnline, cause{reason: s.u.denied.reason()}, time.Time{})
	s.u.outbox.Link(true)
	err := s.drain(ctx)
	if ctx.Err() != nil && err == nil {
		s.goodbye()
	}
	s.u.outbox.Link(false)
	s.u.status.show(0, nil)
	end = ended{err: err, online: time.Since(s.began), useful: s.acked > 0}
	young := end.online < s.u.timing.short
	end.useful = end.useful || !young
	end.kicked = byPeer(err) && young && !(s.alone && s.struck)
	if !s.alone {
		s.u.suspect.ended(s.struck && young)
	}
	return end
}

// begin subscribes, says that the device is here, and waits until the broker has acknowledged that.
func (s *session) begin(ctx context.Context) error {
	for _, t := range s.u.conf.Subscribe {
		topic := s.u.subscription(t)
		if s.u.denied.leaveOut(topic) {
			continue
		}
		if err := s.ask(ctx, topic); err != nil {
			return err
		}
	}
	reason := "reconnect"
	if s.u.connects.Load() == 1 {
		reason = "start"
	}
	if err := s.publishState(ctx, s.u.state("online", reason, s.number), s.u.timing.puback); err != nil {
		return fmt.Errorf("publish state: %w", err)
	}
	return nil
}

// publishState publishes a state and waits for its PUBACK.
func (s *session) publishState(ctx context.Context, state []byte, most time.Duration) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.await(ctx, s.hand("state", true, state), most); err != nil {
		return err
	}
	s.u.heard()
	return nil
}

// ready waits until the client has written what was handed to it. It takes a publish only when the one before is written, and
// would wait for that with a timer of its own, deaf to everything else: on a slow link too short, on a lost one too long.
func (s *session) ready(ctx context.Context) error {
	for s.conn.published.Load() < s.handed.Load() {
		select {
		case <-s.conn.wrote:
		case <-s.conn.dead:
			return s.conn.err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// hand gives one publish on a topic of this device to the client, which must be ready.
func (s *session) hand(topic string, retained bool, payload []byte) paho.Token {
	return s.handOn(s.u.topic(topic), retained, payload)
}

// handOn is hand with the whole topic.
func (s *session) handOn(topic string, retained bool, payload []byte) paho.Token {
	s.handed.Add(1)
	return s.client.Publish(topic, 1, retained, payload)
}

// await waits for a token, but never for ever. A connection that ended leaves no token standing.
func (s *session) await(ctx context.Context, token paho.Token, most time.Duration) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-token.Done():
		if err := s.conn.err(); err != nil && token.Error() != nil {
			return err
		}
		return token.Error()
	case <-s.conn.dead:
		return s.conn.err()
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errNoPuback
	}
}

// goodbye is the clean stop: the state says so before the broker would.
func (s *session) goodbye() {
	ctx, cancel := context.WithTimeout(context.Background(), s.u.timing.stopState)
	defer cancel()
	if !s.stuck {
		s.sendPosts(ctx, maxPosts) // the PUBACK of the state comes after theirs
		s.sendDocuments(ctx)       // and after those of what has changed with the stop
	}
	if err := s.publishState(ctx, s.u.state("offline", "shutdown", s.number), s.u.timing.stopState); err == nil {
		if !s.stuck {
			s.landPosts()
		}
		s.client.Disconnect(250) // from here the broker forgets the will
		close(s.left)
	}
}

// close ends the connection if it still stands. The client needs a moment to end what it runs; nobody waits for it but Run, at its end.
func (s *session) close() {
	s.conn.abort(net.ErrClosed)
	s.u.strays.Go(func() {
		select {
		case <-s.gone:
		case <-s.left:
		case <-time.After(2 * s.u.timing.write):
		}
	})
}

// byPeer: the other side ended the connection, as brokers do with a client whose identifier is used anew.
func byPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, errGoodbye) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // our own documents hold nothing that could fail but Extra, which is raw
		return []byte("{}")
	}
	return b
}

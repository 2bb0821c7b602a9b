// Package fleet is the fleet manager's side of the contract: one MQTT connection, the devices as their retained documents tell them,
// rollouts in waves, commands, and the books over what devices sent. It runs on a laptop that may be closed at any time:
// all that must outlive it is in retained documents on the broker.
package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/internal/backoff"
)

// ErrUnreachable: the broker did not answer, or not as one that lets us in.
var ErrUnreachable = errors.New("the broker is not reachable")

// ErrUnseen: the broker acknowledged a message and then did not give it to us, who had asked for it. MQTT 3.1.1 has no other way to say no.
var ErrUnseen = errors.New("the broker took it but did not pass it on: this user has probably no right to write there (deploy/mosquitto.acl)")

// Message is one that came.
type Message struct {
	Topic    string
	Payload  []byte
	Retained bool // the broker had kept it: it is from before we subscribed
}

// Sub is a topic filter to receive.
type Sub struct {
	Filter string
	QoS    byte // 0 for documents: Mosquitto drops what goes beyond 1,000 waiting QoS 1 messages, a large fleet's retained documents for one
}

// timing of a Link; tests make it shorter.
type timing struct {
	connect, ack, echo time.Duration
	quiet, settle      time.Duration // no retained message for so long: all were sent; at most
	tell               time.Duration // that they still come
	retry              backoff.Backoff
}

func defaultTiming() timing {
	return timing{connect: 15 * time.Second, ack: 15 * time.Second, echo: 5 * time.Second, quiet: 500 * time.Millisecond, settle: 2 * time.Minute, tell: 5 * time.Second,
		retry: backoff.Backoff{Min: 200 * time.Millisecond, Max: 10 * time.Second}}
}

// Link is a connection to the broker that comes back by itself. With makes one.
type Link struct {
	conf   Config
	timing timing
	id     string // MQTT client identifier: unique per run, so that two managers do not throw each other out
	subs   []Sub
	handle func(Message)

	mu      sync.Mutex
	now     *session             // nil: no connection
	changed chan struct{}        // closed when now changes
	gen     int                  // connections so far
	echoes  map[string][]waiting // by topic
	last    time.Time            // when a retained message came
	kept    int                  // retained messages that came
	notice  func(string)
}

type waiting struct {
	payload []byte
	seen    chan struct{}
}

// Options of With.
type Options struct {
	Subs   []Sub
	Handle func(Message) // one at a time, in order; must not block
	Notice func(string)  // a connection lost or come back, in words; nil: nobody wants to know
	timing *timing
}

// With connects, subscribes, calls body, and ends the connection when body returns. The first connection must succeed (ErrUnreachable);
// later losses are healed meanwhile. Handle is called from another goroutine, never after With has returned.
func With(ctx context.Context, conf Config, o Options, body func(context.Context, *Link) error) error {
	if err := conf.Validate(); err != nil {
		return err
	}
	l := &Link{conf: conf, timing: defaultTiming(), id: "fleet-" + randomHex(6), subs: o.Subs, handle: o.Handle, notice: o.Notice, changed: make(chan struct{}), echoes: map[string][]waiting{}}
	if o.timing != nil {
		l.timing = *o.timing
	}
	if err := l.connect(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { l.keep(ctx) })
	err := body(ctx, l)
	cancel()
	keeper.Wait()
	l.hangUp()
	return err
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ID names this run.
func (l *Link) ID() string { return l.id }

// Generation counts connections: when it rises, the broker may have lost what it kept.
func (l *Link) Generation() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gen
}

func (l *Link) set(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = s
	if s != nil {
		l.gen++
		l.last = time.Now()
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// current waits for a live connection.
func (l *Link) current(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		s, changed := l.now, l.changed
		l.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// keep makes a new connection whenever one is lost.
func (l *Link) keep(ctx context.Context) {
	for {
		s, err := l.current(ctx)
		if err != nil {
			return
		}
		select {
		case <-s.lost:
		case <-ctx.Done():
			return
		}
		l.set(nil)
		l.say("connection to the broker lost; trying again")
		retry := l.timing.retry
		for tries := 0; ; tries++ {
			select {
			case <-time.After(retry.Next()):
			case <-ctx.Done():
				return
			}
			if err := l.connect(ctx); err == nil {
				l.say("connected again")
				break
			}
		}
	}
}

func (l *Link) say(text string) {
	if l.notice != nil {
		l.notice(text)
	}
}

// Refresh asks the broker for all retained documents again: what was lost on the way is so made good.
func (l *Link) Refresh(ctx context.Context) error {
	s, err := l.current(ctx)
	if err != nil {
		return err
	}
	return l.subscribe(ctx, s)
}

var errNoAnswer = errors.New("no answer in time")

func (l *Link) await(ctx context.Context, s *session, token paho.Token, most time.Duration) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case <-s.lost:
		return errors.New("the connection was lost")
	case <-timer.C:
		return errNoAnswer
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Publish returns when the broker has acknowledged the message, however many connections that takes; only ctx ends it early.
// The message may arrive more than once.
func (l *Link) Publish(ctx context.Context, topic string, retained bool, payload []byte) error {
	for {
		s, err := l.current(ctx)
		if err != nil {
			return fmt.Errorf("publish %s: %w", topic, err)
		}
		err = l.await(ctx, s, s.client.Publish(topic, 1, retained, payload), l.timing.ack)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("publish %s: %w", topic, context.Cause(ctx))
		case errors.Is(err, errNoAnswer):
			s.cut() // it is not alive; the client notices now
		}
		select {
		case <-s.lost:
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// PublishSeen publishes to a topic that the link subscribes to, and returns when the message has come back: only then is it sure that
// the broker has it, and that whoever reads the topic gets it. ErrUnseen where it does not.
func (l *Link) PublishSeen(ctx context.Context, topic string, retained bool, payload []byte) error {
	w := waiting{payload, make(chan struct{})}
	l.mu.Lock()
	l.echoes[topic] = append(l.echoes[topic], w)
	l.mu.Unlock()
	defer l.forget(topic, w)
	for range 3 {
		if err := l.Publish(ctx, topic, retained, payload); err != nil {
			return err
		}
		timer := time.NewTimer(l.timing.echo)
		select {
		case <-w.seen:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("publish %s: %w", topic, context.Cause(ctx))
		case <-timer.C:
		}
	}
	return fmt.Errorf("publish %s: %w", topic, ErrUnseen)
}

func (l *Link) forget(topic string, w waiting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.echoes[topic][:0:0]
	for _, o := range l.echoes[topic] {
		if o.seen != w.seen {
			rest = append(rest, o)
		}
	}
	if len(rest) == 0 {
		delete(l.echoes, topic)
	} else {
		l.echoes[topic] = rest
	}
}

func (l *Link) received(m paho.Message) {
	if l.handle != nil {
		l.handle(Message{m.Topic(), m.Payload(), m.Retained()})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Retained() {
		l.last = time.Now()
		l.kept++
	}
	for _, w := range l.echoes[m.Topic()] {
		if bytes.Equal(w.payload, m.Payload()) {
			select {
			case <-w.seen:
			default:
				close(w.seen)
			}
		}
	}
}

// Settle returns when no retained message has come for a while: what the broker had kept is here then. MQTT 3.1.1 has no word for "that was all".
func (l *Link) Settle(ctx context.Context) error {
	end, tell := time.Now().Add(l.timing.settle), time.Now().Add(l.timing.tell)
	for {
		l.mu.Lock()
		left, kept := l.timing.quiet-time.Since(l.last), l.kept
		l.mu.Unlock()
		if left <= 0 || time.Now().After(end) {
			return nil
		}
		if time.Now().After(tell) {
			l.say(fmt.Sprintf("%d documents have come, and more do", kept))
			tell = time.Now().Add(l.timing.tell)
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

package uplink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// deniedError is a SUBACK that says no.
type deniedError struct {
	topic string
	code  byte
}

func (e deniedError) Error() string {
	return fmt.Sprintf("subscribe %s: the broker refuses it (SUBACK 0x%x); check its access list", e.topic, e.code)
}

// denied are the subscriptions that the broker does not grant. Telemetry goes on without them; they are asked for again later.
// Some brokers say no by closing the connection: a subscription during which that happened twice in a row is left out, too.
type denied struct {
	mu      sync.Mutex
	refused map[string]error
	again   time.Time // not before
	strikes map[string]int
}

// strike notes that the broker closed the connection during a subscription.
func (d *denied) strike(topic string, err error, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.strikes == nil {
		d.strikes = map[string]int{}
	}
	if d.strikes[topic]++; d.strikes[topic] >= 2 {
		d.set(topic, fmt.Errorf("subscribe %s: each time the broker closes the connection (%w); check its access list", topic, err), wait)
	}
}

// set notes an answer. Call with mu held.
func (d *denied) set(topic string, err error, wait time.Duration) {
	if d.refused == nil {
		d.refused = map[string]error{}
	}
	d.refused[topic] = err
	d.again = time.Now().Add(wait)
}

func (d *denied) deny(topic string, err error, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(topic, err, wait)
}

func (d *denied) grant(topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.refused, topic)
	delete(d.strikes, topic)
}

// leaveOut says whether a topic that costs the connection is not to be asked for yet.
func (d *denied) leaveOut(topic string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.strikes[topic] >= 2 && time.Now().Before(d.again)
}

// due are the topics to ask for again.
func (d *denied) due() (topics []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.refused) == 0 || time.Now().Before(d.again) {
		return nil
	}
	for t := range d.refused {
		topics = append(topics, t)
	}
	slices.Sort(topics)
	return topics
}

// reason is what a person should know; empty: all is granted.
func (d *denied) reason() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var words []string
	for _, err := range d.refused {
		words = append(words, err.Error())
	}
	slices.Sort(words)
	return strings.Join(words, "; ")
}

// ask subscribes to one topic. Only what ends the connection is an error; a refusal is noted.
func (s *session) ask(ctx context.Context, topic string) error {
	err := s.subscribe(ctx, topic)
	var no deniedError
	switch {
	case err == nil:
		s.u.denied.grant(topic)
	case errors.As(err, &no):
		s.u.denied.deny(topic, err, s.u.timing.resubscribe)
	default:
		if byPeer(err) {
			s.u.denied.strike(topic, err, s.u.timing.resubscribe)
		}
		return err
	}
	return nil
}

// unsure are the documents to ask for again, when it is time: a broker may lose what is published while a subscription begins, or
// give an old document then (nats-server 2.15 does both). Whoever handles them ignores what is known.
func (s *session) unsure() (topics []string) {
	since, wait := s.began, s.u.timing.reask
	if !s.asked.IsZero() {
		since, wait = s.asked, 20*wait
	}
	if time.Since(since) < wait {
		return nil
	}
	s.asked = time.Now()
	for _, t := range s.u.conf.Subscribe {
		topic := s.u.subscription(t)
		if !strings.HasPrefix(t, "/") && !strings.ContainsAny(t, "+#") && !s.u.denied.has(topic) {
			topics = append(topics, topic)
		}
	}
	return topics
}

// has says whether a topic was refused.
func (d *denied) has(topic string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, is := d.refused[topic]
	return is
}

// askAgain asks for what was refused, and for the documents, when it is time. It reports whether the connection still stands.
func (s *session) askAgain(ctx context.Context) bool {
	due := append(s.u.denied.due(), s.unsure()...)
	for _, topic := range due {
		if err := s.ask(ctx, topic); err != nil {
			if ctx.Err() == nil {
				s.conn.abort(err)
			}
			return false
		}
	}
	if len(due) > 0 {
		s.u.setStatus(StateOnline, cause{reason: s.u.denied.reason()}, time.Time{})
	}
	return true
}

// subscribe asks for one topic, and takes a refusal, which the client reports as success, for what it is.
func (s *session) subscribe(ctx context.Context, topic string) error {
	token := s.client.Subscribe(topic, 1, nil)
	if err := s.await(ctx, token, s.u.timing.puback); err != nil {
		return fmt.Errorf("subscribe %s: %w", topic, err)
	}
	for _, code := range token.(*paho.SubscribeToken).Result() {
		if code > 1 {
			return deniedError{topic, code}
		}
	}
	return nil
}

package uplink

import (
	"context"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// Message is one from the broker.
type Message struct {
	Topic    string // below this device's own: desired, cmd/ping/01J; or _all/… of its group; or as in Subscribe with a slash in front
	Payload  []byte
	Retained bool // it stood at the broker when this connection subscribed
}

// Bounds of what waits for Config.Handle, beside the newest message of each document.
const (
	maxInbox      = 64
	maxInboxBytes = 1 << 20
)

// inbox is what came and was not handled yet. Of a topic subscribed to by its whole name only the newest message counts: it is a
// document, and a flood of commands must not push it out. What comes through a wildcard is queued.
type inbox struct {
	mu     sync.Mutex
	latest []Message
	queue  []Message
	bytes  int
	more   chan struct{} // holds a token when something was added since it was last read
}

// put reports whether nothing was lost by it.
func (b *inbox) put(m Message, document bool) (kept bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch i := slices.IndexFunc(b.latest, func(l Message) bool { return l.Topic == m.Topic }); {
	case document && i >= 0:
		b.latest[i] = m
		return false
	case document:
		b.latest = append(b.latest, m)
	case len(b.queue) >= maxInbox || b.bytes+len(m.Payload) > maxInboxBytes:
		return false
	default:
		b.queue = append(b.queue, m)
		b.bytes += len(m.Payload)
	}
	select {
	case b.more <- struct{}{}:
	default:
	}
	return true
}

// take gives documents first.
func (b *inbox) take() (Message, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := &b.latest
	if len(b.latest) == 0 {
		from = &b.queue
	}
	if len(*from) == 0 {
		return Message{}, false
	}
	m := (*from)[0]
	if from == &b.queue {
		b.bytes -= len(m.Payload)
	}
	*from = slices.Delete(*from, 0, 1)
	return m, true
}

// received keeps a message for Config.Handle. It never blocks: the client's pings and acknowledgements hang on it.
func (s *session) received(m paho.Message) {
	s.u.received.Add(1)
	if !utf8.ValidString(m.Topic()) {
		s.conn.abort(protocolError{"a topic that is not UTF-8"})
		return
	}
	topic, ours := s.u.below(m.Topic())
	if !ours || s.u.conf.Handle == nil || !s.u.inbox.put(Message{topic, m.Payload(), m.Retained()}, slices.Contains(s.u.conf.Subscribe, topic)) {
		s.u.receivedAndDropped.Add(1)
	}
}

// everyone stands for all devices of a group in a topic.
const everyone = "_all/"

// subscription is the whole topic of a line of Config.Subscribe.
func (u *Uplink) subscription(t string) string {
	if whole, ok := strings.CutPrefix(t, "/"); ok {
		return whole
	}
	if strings.HasPrefix(t, everyone) {
		return strings.Join([]string{u.conf.Root, u.conf.Group, t}, "/")
	}
	return u.topic(t)
}

// below undoes subscription.
func (u *Uplink) below(topic string) (string, bool) {
	if t, ok := strings.CutPrefix(topic, u.topic("")); ok {
		return t, true
	}
	if t, ok := strings.CutPrefix(topic, u.subscription(everyone)); ok {
		return everyone + t, true
	}
	if slices.Contains(u.conf.Subscribe, "/"+topic) {
		return "/" + topic, true
	}
	return "", false
}

// handleInbound calls Config.Handle for each message until ctx ends.
func (u *Uplink) handleInbound(ctx context.Context) {
	for ctx.Err() == nil {
		if m, ok := u.inbox.take(); ok {
			u.conf.Handle(m)
			continue
		}
		select {
		case <-u.inbox.more:
		case <-ctx.Done():
		}
	}
}

package uplink

import (
	"context"
	"slices"
	"sync"
)

// Bounds of what waits in Publish's queue.
const (
	maxPosts     = 64
	maxPostBytes = 1 << 20
	postsUnacked = 8 // on their way at once
	maxStrikes   = 3
)

// post is one message that passes: the answer to a command.
type post struct {
	topic   string
	payload []byte
}

// posts is the queue of Publish. A post leaves it at its PUBACK, so it is sent again on the next connection; a restart loses it.
type posts struct {
	mu     sync.Mutex
	items  []post
	bytes  int
	struck int           // times in a row that a connection ended with the first one on its way
	more   chan struct{} // holds a token when something was added since it was last read
}

// Publish queues a message on a topic below this device's own, for QoS 1, not retained. It never blocks. It reports false, and
// counts it, when the queue is full: 64 messages, 1 MiB. The payload must not be changed afterwards.
func (u *Uplink) Publish(topic string, payload []byte) bool {
	topic = u.topic(topic)
	if len(payload) > maxPayload || !publishable(topic) || !u.posts.add(post{topic, payload}) {
		u.postsDropped.Add(1)
		return false
	}
	return true
}

func (p *posts) add(m post) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.items) >= maxPosts || p.bytes+len(m.payload) > maxPostBytes {
		return false
	}
	p.items = append(p.items, m)
	p.bytes += len(m.payload)
	select {
	case p.more <- struct{}{}:
	default:
	}
	return true
}

// at is the i-th of the queue.
func (p *posts) at(i int) (post, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i >= len(p.items) {
		return post{}, false
	}
	return p.items[i], true
}

// pop removes the first.
func (p *posts) pop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= len(p.items[0].payload)
	p.items = slices.Delete(p.items, 0, 1)
	p.struck = 0
}

// strike notes that the broker closed the connection with the first one on its way. The third time in a row it is given up: one
// answer that a broker will not have must not keep all the rest from it.
func (p *posts) strike() (dropped bool) {
	p.mu.Lock()
	p.struck++
	dropped = p.struck >= maxStrikes
	p.mu.Unlock()
	if dropped {
		p.pop()
	}
	return dropped
}

func (p *posts) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.items)
}

// sendPosts hands over what waits, up to most on their way. It reports whether the connection still stands.
func (s *session) sendPosts(ctx context.Context, most int) bool {
	for len(s.posted) < most {
		m, ok := s.u.posts.at(len(s.posted))
		if !ok {
			return true
		}
		if s.ready(ctx) != nil {
			return false
		}
		s.posted = append(s.posted, sent{s.handOn(m.topic, false, m.payload), m.topic, s.handed.Load()})
	}
	return s.ready(ctx) == nil
}

// firstPosted is the PUBACK that comes next; nil: none is waited for.
func (s *session) firstPosted() <-chan struct{} {
	if len(s.posted) == 0 {
		return nil
	}
	return s.posted[0].token.Done()
}

// landPosts takes from the queue what has its PUBACK. Brokers acknowledge in order.
func (s *session) landPosts() {
	for len(s.posted) > 0 {
		select {
		case <-s.posted[0].token.Done():
		default:
			return
		}
		if err := s.posted[0].token.Error(); err != nil {
			s.conn.abort(err) // it is ending already; the next one sends it
			return
		}
		s.posted = slices.Delete(s.posted, 0, 1)
		s.u.posts.pop()
		s.u.postsSent.Add(1)
		s.u.heard()
	}
}

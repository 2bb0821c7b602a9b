package uplink

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"
	"sync"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// Document is something that stands on its topic rather than passes: the inventory, what is reported, another system's description of
// this device.
type Document struct {
	Topic    string // below this device's own; with Absolute, the whole of it
	Payload  []byte // none, and Retained: whatever an earlier process left there is deleted
	Retained bool   // one that is, and is no longer among the documents, is deleted at the broker
	Absolute bool
}

// maxDocuments and maxPayload bound what is sent: brokers close the connection over more.
const (
	maxDocuments = 64
	maxPayload   = 128 << 10
)

// Changed asks for the documents at once, rather than within 30 s. It never blocks.
func (u *Uplink) Changed() {
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// documents are all of them, the inventory first, by their whole topic.
func (u *Uplink) documents() []Document {
	var docs []Document
	if u.conf.Info != nil {
		docs = append(docs, Document{Topic: "info", Payload: mustJSON(u.conf.Info()), Retained: true})
	}
	if u.conf.Documents != nil {
		docs = append(docs, u.conf.Documents()...)
	}
	kept := docs[:0]
	for _, d := range docs {
		if !d.Absolute {
			d.Topic = u.topic(d.Topic)
		}
		if len(kept) == maxDocuments || len(d.Payload) > maxPayload || len(d.Payload) == 0 && !d.Retained || !publishable(d.Topic) || d.Topic == u.topic("state") || u.standing.banned(d.Topic) {
			u.refusedDocuments.Add(1)
			if u.complained.CompareAndSwap(false, true) {
				u.conf.Log.Error("link: a document cannot be sent", "topic", d.Topic, "bytes", len(d.Payload), "most", maxPayload, "documents", len(docs))
			}
			continue
		}
		kept = append(kept, d)
	}
	return kept
}

// publishable says whether a message can be published on a topic.
func publishable(topic string) bool {
	return topic != "" && len(topic) <= 512 && !strings.ContainsAny(topic, "+#\x00")
}

// sendDocuments publishes what is not as sent last on this connection, and deletes what is gone. Their PUBACKs are not waited for:
// all are sent again at each connect. It reports whether the connection still stands.
func (s *session) sendDocuments(ctx context.Context) bool {
	u, there := s.u, map[string]bool{}
	s.landDocuments()
	for _, d := range u.documents() {
		there[d.Topic] = true
		if last, ok := s.docs[d.Topic]; ok && bytes.Equal(last, d.Payload) {
			continue
		}
		if s.ready(ctx) != nil {
			return false
		}
		s.docs[d.Topic] = bytes.Clone(d.Payload)
		if d.Retained && len(d.Payload) > 0 {
			u.standing.add(d.Topic)
		}
		s.sentDocs = append(s.sentDocs, sent{s.handOn(d.Topic, d.Retained, d.Payload), d.Topic, s.handed.Load()})
	}
	for _, topic := range u.standing.without(there) {
		if s.ready(ctx) != nil {
			return false
		}
		delete(s.docs, topic)
		u.standing.remove(topic)
		s.handOn(topic, true, nil)
	}
	for topic := range s.docs { // not retained, and gone: should it come back, it is news
		if !there[topic] {
			delete(s.docs, topic)
		}
	}
	return s.ready(ctx) == nil
}

// sent is a document or a post on its way.
type sent struct {
	token paho.Token
	topic string
	n     uint64 // of the publishes on this connection
}

// done says whether its PUBACK came.
func (d sent) done() bool {
	select {
	case <-d.token.Done():
		return d.token.Error() == nil
	default:
		return false
	}
}

// landDocuments forgets the documents that have their PUBACK.
func (s *session) landDocuments() {
	s.sentDocs = slices.DeleteFunc(s.sentDocs, func(d sent) bool {
		if !d.done() {
			return false
		}
		s.u.standing.forgive(d.topic)
		s.u.heard()
		return true
	})
}

// settle notes which document or post a connection ended over, once nobody sends on it any more. Brokers go by order: it was the
// first that has no PUBACK, unless a group came before it.
func (s *session) settle(why error) {
	s.landPosts()
	s.landDocuments()
	if !byPeer(why) {
		return
	}
	first := s.lost
	if first == 0 {
		first = math.MaxUint64
	}
	switch {
	case len(s.sentDocs) > 0 && s.sentDocs[0].n < first && (len(s.posted) == 0 || s.sentDocs[0].n < s.posted[0].n):
		s.u.standing.strike(s.sentDocs[0].topic)
	case len(s.posted) > 0 && s.posted[0].n < first && s.u.posts.strike():
		s.u.postsDropped.Add(1)
		s.u.conf.Log.Error("link: an answer was given up: the broker closes the connection over it", "topic", s.posted[0].topic)
	}
}

// standing are the retained documents that this process put to the broker, however often the connection was made since.
type standing struct {
	mu     sync.Mutex
	topics map[string]bool
	struck map[string]int // times that the broker closed the connection over it
}

func (d *standing) strike(topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.struck == nil {
		d.struck = map[string]int{}
	}
	d.struck[topic]++
}

func (d *standing) forgive(topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.struck, topic)
}

// banned: the broker closes the connection over it, again and again. It is not sent until the next start.
func (d *standing) banned(topic string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.struck[topic] >= maxStrikes
}

func (d *standing) add(topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.topics == nil {
		d.topics = map[string]bool{}
	}
	d.topics[topic] = true
}

func (d *standing) remove(topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.topics, topic)
}

func (d *standing) without(there map[string]bool) (gone []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for topic := range d.topics {
		if !there[topic] {
			gone = append(gone, topic)
		}
	}
	slices.Sort(gone)
	return gone
}

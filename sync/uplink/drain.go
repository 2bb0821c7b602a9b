package uplink

import (
	"context"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/internal/clock"
	"heron/sync/outbox"
)

// flight is a group on its way.
type flight struct {
	id      uint64
	records int
	bytes   int
	sent    time.Time
	token   paho.Token
	n       uint64 // of the publishes on this connection
	buffer  []byte // to be used again once nobody can read it any more: after the PUBACK
}

// drain publishes groups until ctx ends (nil) or the connection does (why).
func (s *session) drain(ctx context.Context) error {
	taking, stop := context.WithCancel(ctx)
	defer stop()
	live, late := make(chan outbox.Group), make(chan outbox.Group)
	var feeders sync.WaitGroup
	defer feeders.Wait()
	feeders.Go(func() { s.feed(taking, true, live) })
	feeders.Go(func() { s.feed(taking, false, late) })
	sending := make(chan struct{})
	s.u.strays.Go(func() { defer close(sending); s.send(taking, live, late) }) // in the rare case that the client ends under its hands it stays there for a write timeout
	err := s.collect(ctx)
	stop()
	if err != nil {
		s.conn.abort(err)
	}
	s.sweep(err)
	select {
	case <-sending:
		s.settle(err)
	case <-time.After(s.u.timing.poll):
		s.stuck = true
	}
	return err
}

// feed leases groups, live ones or the backlog, and holds one until it can be sent.
func (s *session) feed(ctx context.Context, live bool, out chan<- outbox.Group) {
	pace := pace{rate: s.u.conf.Backfill}
	for {
		g, err := s.u.outbox.Next(ctx, live)
		if err != nil {
			if ctx.Err() == nil { // the outbox is closing or not open: ask again, but not at once
				clock.Sleep(ctx, time.Second)
				continue
			}
			return
		}
		if !live && !pace.wait(ctx, g.Count) {
			return
		}
		select {
		case out <- g:
		case <-ctx.Done():
			return // its lease ends with Link(false)
		}
	}
}

// pace spaces out the backlog to so many records a second.
type pace struct {
	rate float64 // 0: no cap
	next time.Time
}

func (p *pace) wait(ctx context.Context, records int) bool {
	if p.rate <= 0 {
		return true
	}
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	at := p.next
	p.next = at.Add(time.Duration(float64(records) / p.rate * float64(time.Second)))
	return clock.Sleep(ctx, at.Sub(now))
}

// send publishes one group after the other, live ones first, as far as the window has room. It closes flights when it ends.
func (s *session) send(ctx context.Context, live, late <-chan outbox.Group) {
	defer close(s.flights)
	if !s.sendDocuments(ctx) {
		return
	}
	look := time.NewTicker(s.u.timing.info)
	defer look.Stop()
	if !clock.Sleep(ctx, s.quiet) { // whoever is thrown out in this while was not thrown out for what it sent
		return
	}
	for {
		if !s.sendPosts(ctx, postsUnacked) || s.ready(ctx) != nil {
			return
		}
		g, ok := s.pick(ctx, live, late, look.C)
		if !ok {
			return
		}
		s.publish(g)
	}
}

// pick waits for room and a group.
func (s *session) pick(ctx context.Context, live, late <-chan outbox.Group, look <-chan time.Time) (outbox.Group, bool) {
	for {
		var l, b <-chan outbox.Group
		switch s.window.room() {
		case roomAll:
			l, b = live, late
		case roomLive:
			l = live
		}
		select {
		case g := <-l:
			return g, true
		default:
		}
		select {
		case g := <-l:
			return g, true
		case g := <-b:
			return g, true
		case <-s.window.freed:
		case <-look:
			if !s.askAgain(ctx) || !s.sendDocuments(ctx) {
				return outbox.Group{}, false
			}
		case <-s.u.changed:
			if !s.sendDocuments(ctx) {
				return outbox.Group{}, false
			}
		case <-s.u.posts.more:
			if !s.sendPosts(ctx, postsUnacked) {
				return outbox.Group{}, false
			}
		case <-s.firstPosted():
			s.landPosts()
			if !s.sendPosts(ctx, postsUnacked) {
				return outbox.Group{}, false
			}
		case <-s.conn.dead:
			return outbox.Group{}, false
		case <-ctx.Done():
			return outbox.Group{}, false
		}
	}
}

// publish hands one group to the client.
func (s *session) publish(g outbox.Group) {
	body, buffer := g.Body, []byte(nil)
	if s.u.conf.compress(g.Stream) == CompressNone {
		var err error
		if buffer, err = s.u.unpack.envelope(g); err != nil {
			s.u.refusedGroups.Add(1)
			s.u.outbox.Refuse(g.ID, "cannot be unpacked: "+err.Error())
			return
		}
		body = buffer
	}
	topic := "h/"
	if g.Live {
		topic = "t/"
	}
	f := flight{id: g.ID, records: g.Count, bytes: len(body), buffer: buffer, sent: time.Now()}
	s.window.take(f.bytes)
	s.u.published.Add(1)
	if s.u.unsure.has(f.id) {
		s.u.resent.Add(1)
	}
	f.token = s.hand(topic+string(g.Stream), false, body)
	f.n = s.handed.Load()
	s.flights <- f // never full: the window is smaller
}

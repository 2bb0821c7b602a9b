package uplink

import (
	"context"
	"time"
)

// collect waits for the PUBACKs, in the order of sending, which is the order a broker must keep to (MQTT-4.6.0-2). It returns nil
// when ctx has ended and what was under way is settled or has had its time, and otherwise why the connection is no good.
func (s *session) collect(ctx context.Context) error {
	poll := time.NewTicker(s.u.timing.poll)
	defer poll.Stop()
	stop, enough := ctx.Done(), (<-chan time.Time)(nil)
	for {
		var next <-chan flight
		var landed <-chan struct{}
		if s.head == nil {
			next = s.flights
		} else {
			landed = s.head.token.Done()
		}
		select {
		case f, more := <-next:
			if !more {
				return s.conn.err()
			}
			s.head = &f
		case <-landed:
			if err := s.land(); err != nil {
				return err
			}
		case now := <-poll.C:
			if s.alone && now.Sub(s.began) > s.u.timing.short { // whatever was suspected is not here
				s.alone, s.u.suspect = false, suspect{}
				s.window.release()
			}
			if s.head != nil && s.moved.stalled(s.head.sent, s.u.timing.puback) {
				s.u.window = 1
				return errNoPuback
			}
		case <-s.conn.dead:
			return s.conn.err()
		case <-stop:
			stop, enough = nil, time.After(s.u.timing.stopDrain)
		case <-enough:
			return nil
		}
	}
}

// land settles the group at the head, whose token is done.
func (s *session) land() error {
	f := *s.head
	if err := f.token.Error(); err != nil {
		if cause := s.conn.err(); cause != nil {
			return cause
		}
		return err
	}
	s.head = nil
	took := time.Since(f.sent)
	s.acknowledge(f)
	s.moved.note()
	s.u.heard()
	s.u.window = 0
	s.u.status.roundTrip(took)
	s.window.acked(f.bytes, took)
	return nil
}

// acknowledge tells the outbox of a PUBACK.
func (s *session) acknowledge(f flight) {
	s.acked++
	s.u.unpack.giveBack(f.buffer)
	s.u.acked.Add(1)
	s.u.ackedRecords.Add(uint64(f.records))
	s.u.suspect.clear(f.id)
	s.u.unsure.remove(f.id)
	s.u.outbox.Ack(f.id)
}

// sweep settles what is still under way when the connection ends: what has its PUBACK is acknowledged, the rest will be sent again.
func (s *session) sweep(why error) {
	enough := time.After(s.u.timing.poll) // the sender ends at once, but for the rare case that it hangs in the client
	for f, ok := s.nextFlight(enough); ok; f, ok = s.nextFlight(enough) {
		select {
		case <-f.token.Done():
			if f.token.Error() == nil {
				s.acknowledge(f)
				continue
			}
		default:
		}
		if s.lost == 0 {
			s.lost = f.n
		}
		s.u.unsure.add(f.id)
		if s.struck || !byPeer(why) {
			continue
		}
		s.struck = true
		if s.alone && s.u.suspect.strike(f.id, s.u.timing.suspect) {
			s.u.refusedGroups.Add(1)
			s.u.outbox.Refuse(f.id, "the broker closed the connection each time it was sent")
		}
	}
}

func (s *session) nextFlight(enough <-chan time.Time) (flight, bool) {
	if s.head != nil {
		f := *s.head
		s.head = nil
		return f, true
	}
	select {
	case f, more := <-s.flights:
		return f, more
	case <-enough:
		return flight{}, false
	}
}

// progress knows when the connection last got something over. A link of 1 kB/s needs minutes for a large group: that is no reason
// to give up while it moves.
type progress struct {
	wire *wire
	at   time.Time
	mark int64
}

// note: a PUBACK came.
func (p *progress) note() { p.at = time.Now() }

// stalled reports whether nothing moved for so long, counted from sent at the earliest. A kilobyte is something; pings are not.
func (p *progress) stalled(sent time.Time, limit time.Duration) bool {
	if d := p.wire.delivered(); d >= p.mark+1024 {
		p.mark, p.at = d, time.Now()
	}
	since := sent
	if p.at.After(since) {
		since = p.at
	}
	return time.Since(since) > limit
}

package uplink

import "time"

// A broker that will not have a message can, in MQTT 3.1.1, only close the connection. suspect finds out which group that is: after
// two young connections in a row that ended so with groups under way, groups are sent one at a time, after a quiet while (who is
// thrown out then was not thrown out for what it sent), and the group that goes on ending connections on its own, for some minutes,
// is handed back to the outbox, which splits it down to the one record that no broker takes. The minutes are there because a bad
// network can look the same for a while, and refusing is for ever.
type suspect struct {
	ends    int    // young connections in a row that the broker closed with groups under way
	id      uint64 // the group that ended a connection on its own
	strikes int    // how often
	since   time.Time
}

const (
	endsToIsolate   = 2
	strikesToRefuse = 5
)

// isolate says that the next connection sends one group at a time.
func (s *suspect) isolate() bool { return s.ends >= endsToIsolate || s.strikes > 0 }

// ended notes how a connection ended on which groups were sent together.
func (s *suspect) ended(byBroker bool) {
	s.ends++
	if !byBroker {
		s.ends = 0
	}
}

// strike notes that a group on its own ended a connection, and reports whether that has gone on for too long.
func (s *suspect) strike(id uint64, long time.Duration) bool {
	if s.id != id || s.strikes == 0 {
		s.id, s.strikes, s.since = id, 0, time.Now()
	}
	if s.strikes++; s.strikes < strikesToRefuse || time.Since(s.since) < long {
		return false
	}
	*s = suspect{}
	return true
}

// clear: this group was acknowledged.
func (s *suspect) clear(id uint64) {
	if s.strikes > 0 && s.id == id {
		*s = suspect{}
	}
}

package uplink

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// States of the link.
const (
	StateOffline    = "offline"    // no connection; Reason says why, NextRetry when the next try comes
	StateConnecting = "connecting" // a try is under way (after refused: that stays until a try succeeds)
	StateOnline     = "online"     // the broker has acknowledged our state
	StateRefused    = "refused"    // the broker, its certificate or our credentials forbid it: tried again, but slowly; a person is needed
)

// Stats is a copy of the uplink's state and counters.
type Stats struct {
	State     string
	Reason    string    // online: a subscription that is refused; else why not online; while connecting: why the try before failed
	NextStep  string    // what a person can do about Reason; empty: nothing in particular
	Since     time.Time // of State; connecting counts as the offline before it
	NextRetry time.Time // zero: none is waited for
	Broker    string
	Session   uint64 // number in the last state document; 0: none yet

	SentToday     int64 // bytes since midnight UTC, TLS included, TCP/IP headers not; for websockets without their frames
	ReceivedToday int64

	Connects      uint64 // connections made
	Failed        uint64 // tries that did not become one
	Lost          uint64 // connections that ended otherwise than by a clean stop
	Published     uint64 // groups handed to the network
	Resent        uint64 // of them: groups sent before, without an acknowledgement in time
	Acked         uint64 // groups
	AckedRecords  uint64
	RefusedGroups uint64 // handed back to the outbox as undeliverable

	InFlight      int // groups sent and not acknowledged
	InFlightBytes int
	Window        int           // groups that may be; 0: no connection
	RTT           time.Duration // from publish to PUBACK, smoothed; 0: none yet

	Received        uint64 // messages on the topics subscribed to
	ReceivedDropped uint64 // of them: dropped because their handler was behind, or a newer one of the same document came

	PostsSent       uint64 // messages of Publish that have their PUBACK
	PostsDropped    uint64 // and those that found its queue full, or were too long
	PostsWaiting    int
	DocumentsFailed uint64    // times a document was too long, empty, one too many, or its topic was no topic
	Heard           time.Time // last PUBACK of anything: the broker was there and took it; zero: none yet
}

// status is the part of Stats that is not a counter.
type status struct {
	mu          sync.Mutex
	state       string
	why         cause
	logged      string // the last state that was not connecting
	since, next time.Time
	session     uint64
	window      *window // of the connection; nil: there is none
	rtt         time.Duration
	heard       time.Time
}

// heard notes a PUBACK.
func (u *Uplink) heard() {
	u.status.mu.Lock()
	u.status.heard = time.Now()
	u.status.mu.Unlock()
}

// set changes the state and reports whether that is news. Connecting is a moment of being offline or refused: the reason of the
// try before stays, and so does refused, which a person is to see until it is over.
func (s *status) set(state string, why cause, next time.Time) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
	if state == StateConnecting {
		if s.state != StateRefused {
			s.state = state
		}
		return false
	}
	if state != s.logged {
		s.since = time.Now()
	}
	news = state != s.logged || why.reason != s.why.reason
	s.state, s.logged, s.why = state, state, why
	return news
}

// roundTrip smooths as TCP does: an eighth of the new.
func (s *status) roundTrip(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rtt == 0 {
		s.rtt = d
	}
	s.rtt += (d - s.rtt) / 8
}

// show names the connection whose window Stats looks at; with nil, there is none, and the last session stays.
func (s *status) show(session uint64, w *window) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window = w
	if w != nil {
		s.session = session
	}
}

// Stats copies state and counters. It never blocks for long.
func (u *Uplink) Stats() Stats {
	s := Stats{
		Broker: u.broker.String(), Connects: u.connects.Load(), Failed: u.failed.Load(), Lost: u.lost.Load(),
		Published: u.published.Load(), Resent: u.resent.Load(), Acked: u.acked.Load(), AckedRecords: u.ackedRecords.Load(), RefusedGroups: u.refusedGroups.Load(),
		Received: u.received.Load(), ReceivedDropped: u.receivedAndDropped.Load(),
		PostsSent: u.postsSent.Load(), PostsDropped: u.postsDropped.Load(), PostsWaiting: u.posts.waiting(), DocumentsFailed: u.refusedDocuments.Load(),
	}
	s.SentToday, s.ReceivedToday = u.meter.today()
	st := &u.status
	st.mu.Lock()
	defer st.mu.Unlock()
	s.State, s.Reason, s.NextStep, s.Since, s.NextRetry, s.Session = st.state, st.why.reason, st.why.next, st.since, st.next, st.session
	s.RTT, s.Heard = st.rtt, st.heard
	if st.window != nil {
		s.InFlight, s.InFlightBytes = st.window.held()
		s.Window = st.window.size()
	}
	return s
}

// setStatus shows a state, and logs it when it is news.
func (u *Uplink) setStatus(state string, why cause, next time.Time) {
	if !u.status.set(state, why, next) {
		return
	}
	switch log := u.conf.Log.With("broker", u.broker.String()); state {
	case StateOnline:
		if why.reason != "" {
			log.Warn("link: online, but nothing can reach this device on some topics", "reason", why.reason)
			return
		}
		log.Info("link: online", "session", u.Stats().Session)
	case StateRefused:
		log.Error("link: refused", "reason", why.reason, "next_step", why.next, "next_try", time.Until(next).Round(time.Second))
	case StateOffline:
		level := slog.LevelWarn
		if why.reason == stopped {
			level = slog.LevelInfo
		}
		log.Log(context.Background(), level, "link: offline", "reason", why.reason)
	}
}

package uplink

import (
	"math/rand/v2"
	"time"

	"heron/internal/backoff"
)

// retryTiming are the rules of when to try again.
//
// After a connection that was of use, the first try comes within a second, so that a short blip heals at once. From then on the
// wait is random below a ceiling that doubles from 2 s, but never more than a sixth of how long the outage has lasted, and never more
// than 120 s: after an outage of a minute the device is back within 10 s, after one of twelve minutes or more within two minutes,
// and a fleet of devices comes back spread over that time. A broker that refuses us is asked less often: 15 s to 5 minutes.
type retryTiming struct {
	first, min, max        time.Duration
	share                  int // of the outage
	refusedMin, refusedMax time.Duration
	memory                 time.Duration // take-overs within this belong together
}

// takenOver is how many young connections in a row the broker may close before another client with our identifier is suspected.
const takenOver = 3

// retry decides, after each connection, what state to show and how long to wait. Not for concurrent use.
type retry struct {
	retryTiming
	began   time.Time // of the outage; zero: none
	tries   backoff.Backoff
	refused backoff.Backoff
	kicks   []time.Time
}

func newRetry(t retryTiming) *retry {
	return &retry{retryTiming: t, tries: backoff.Backoff{Min: t.min}, refused: backoff.Backoff{Min: t.refusedMin, Max: t.refusedMax}}
}

func (r *retry) after(end ended) (state string, why cause, wait time.Duration) {
	now := time.Now()
	refused, why := classify(end.err)
	r.noteKick(end, now)
	if len(r.kicks) >= takenOver {
		return StateRefused, cause{"the broker closes each connection soon after it is made: another client probably uses the same identifier (device.id)", "give each device a device.id of its own"}, r.refused.Next()
	}
	if refused {
		return StateRefused, why, r.refused.Next()
	}
	r.refused.Reset()
	if end.useful || r.began.IsZero() {
		r.began = now
		r.tries.Reset()
		return StateOffline, why, rand.N(r.first + 1)
	}
	r.tries.Max = min(max(now.Sub(r.began)/time.Duration(r.share), r.min), r.max)
	return StateOffline, why, r.tries.Next()
}

// noteKick counts connections that the broker closed young, one after the other. A dial that failed in between, or a connection
// that lasted, means that the network or the broker comes and goes, and not that another client throws us out.
func (r *retry) noteKick(end ended, now time.Time) {
	if !end.kicked {
		r.kicks = nil
		return
	}
	r.kicks = append(r.kicks, now)
	for now.Sub(r.kicks[0]) > r.memory && len(r.kicks) > 1 {
		r.kicks = r.kicks[1:]
	}
}

package agent

import (
	"sync/atomic"
	"time"
)

// floor is what the time cannot be before: this program was made, the repository has signed something. A board without a clock starts in 1970, and no
// certificate is valid then.
type floor struct{ ns atomic.Int64 } // since 1970

// raise takes t for a time that has been; one that is earlier than the floor, or none, changes nothing.
func (f *floor) raise(t time.Time) {
	if t.IsZero() {
		return
	}
	for {
		was := f.ns.Load()
		if t.UnixNano() <= was || f.ns.CompareAndSwap(was, t.UnixNano()) {
			return
		}
	}
}

// now is the clock, not before the floor. It waits for nobody: certificates are checked against it while metadata comes.
func (f *floor) now() time.Time {
	now := time.Now()
	if at := time.Unix(0, f.ns.Load()); at.After(now) {
		return at
	}
	return now
}

package trust

import (
	"runtime/debug"
	"time"
)

// clock never shows less than its floor: a board without a clock starts in 1970, where nothing has expired yet.
type clock struct {
	now   func() time.Time
	floor floor
}

// Now is the reference time of every expiry check.
func (c *clock) Now() time.Time { return latest(c.now(), c.floor.Time) }

// raise lifts the floor to t; it never sinks.
func (c *clock) raise(t time.Time) { c.floor.Time = latest(c.floor.Time, t.UTC()) }

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// BuildTime is when the commit of this program was made, as the Go tool recorded it; zero where it did not.
func BuildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, err := time.Parse(time.RFC3339, s.Value)
			if err == nil {
				return t
			}
		}
	}
	return time.Time{}
}

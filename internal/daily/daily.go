// Package daily is about spans of the day by the clock on the wall: the hours in which a rollout may begin, or a metered link be used.
package daily

import (
	"fmt"
	"strings"
	"time"
)

// Window is a span of the day, 22:00-05:00, as minutes after midnight. It ends before it begins where it goes over midnight.
type Window struct{ From, To int }

// ParseWindow reads 22:00-05:00.
func ParseWindow(s string) (Window, error) {
	a, b, ok := strings.Cut(s, "-")
	from, okFrom := minutes(a)
	to, okTo := minutes(b)
	if !ok || !okFrom || !okTo || from == to {
		return Window{}, fmt.Errorf("%.64q is not a span of the day such as 22:00-05:00", s)
	}
	return Window{from, to}, nil
}

func minutes(s string) (int, bool) {
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil && len(s) == 5
}

// Open compares what a clock on the wall shows. On the two days of a year when it is set, a window may be an hour longer or shorter,
// or, if it lies in the hour left out, not be at all.
func (w Window) Open(now time.Time) bool {
	m := now.Hour()*60 + now.Minute()
	if w.From < w.To {
		return w.From <= m && m < w.To
	}
	return m >= w.From || m < w.To
}

// Opening is when it opens next.
func (w Window) Opening(now time.Time) time.Time {
	for day := range 3 {
		t := time.Date(now.Year(), now.Month(), now.Day()+day, w.From/60, w.From%60, 0, 0, now.Location())
		if t.After(now) {
			return t
		}
	}
	return time.Time{}
}

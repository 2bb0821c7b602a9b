//go:build opencv

package opencv

import (
	"testing"
	"time"
)

// V7: only a stamp of the monotonic clock, a little while ago, is a capture time.
func TestFault_V7_StampsOfV4L2(t *testing.T) {
	now, mono := time.Now(), 1000*time.Second
	for name, c := range map[string]struct {
		stamp time.Duration
		age   time.Duration // −1: the time of arrival
	}{
		"just now":                   {mono, 0},
		"33 ms ago":                  {mono - 33*time.Millisecond, 33 * time.Millisecond},
		"from the future":            {mono + time.Millisecond, -1},
		"of the wall clock":          {time.Duration(now.UnixNano()), -1},
		"of a camera's own clock":    {3 * time.Second, -1},
		"older than any buffer":      {mono - oldestFrame - 1, -1},
		"as old as a buffer may get": {mono - oldestFrame, oldestFrame},
	} {
		at := captured(c.stamp, mono, now)
		if want := now.Add(-c.age); c.age < 0 && !at.IsZero() || c.age >= 0 && !at.Equal(want) {
			t.Errorf("%s: %v", name, at)
		}
	}
	a := monotonic()
	if b := monotonic(); a <= 0 || b < a {
		t.Errorf("monotonic: %v, then %v", a, b)
	}
}

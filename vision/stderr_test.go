package vision

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// What a library said a minute before its process ended does not explain the end.
func TestLastWordsAreThoseBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			after time.Duration
			lines []string
			want  string
		}{
			{0, []string{"usb transfer error 2", "SIGABRT: abort"}, "usb transfer error 2; SIGABRT: abort"},
			{time.Minute, []string{"Invalid SOS parameters for sequential JPEG", "SIGABRT: abort"}, "SIGABRT: abort"},
			{time.Minute, []string{"panic: no memory", "goroutine 1 [running]:"}, "panic: no memory"},
			{0, []string{"cannot load the library"}, "cannot load the library"},
		} {
			s := &stderr{}
			for i, line := range c.lines {
				if i > 0 {
					time.Sleep(c.after)
				}
				s.line(slog.New(slog.DiscardHandler), line)
			}
			if got := s.telling(); got != c.want {
				t.Errorf("%q after %v: %q", c.lines, c.after, got)
			}
			if time.Sleep(time.Minute); s.why == "" && s.telling() != "" {
				t.Errorf("%q explains an end a minute later", s.telling())
			}
		}
	})
}

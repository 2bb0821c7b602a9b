package vision

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
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

// A library that complains of every picture does not fill the log; the dump of a process that dies is whole.
func TestFault_R8_WhatIsSaidAgainAndAgainIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		s := &stderr{}
		for i := range 600 { // ten minutes of a damaged picture a second
			s.line(log, fmt.Sprintf("Corrupt JPEG data: %d extraneous bytes before marker 0xd9", i))
			time.Sleep(time.Second)
		}
		if n := strings.Count(out.String(), "\n"); n != 10 || strings.Count(out.String(), "(and 59 more like it)") != 9 {
			t.Errorf("%d lines:\n%s", n, out.String())
		}
		out.Reset()
		for range 3 {
			s.line(log, "panic: no memory")
			s.line(log, "runtime.goexit({})")
		}
		if n := strings.Count(out.String(), "\n"); n != 6 {
			t.Errorf("%d lines of 6:\n%s", n, out.String())
		}
		for i := range 10 * mostKinds {
			(&stderr{}).again("", time.Now())
			s.again(strings.Repeat("x", i), time.Now())
		}
		if len(s.said) > mostKinds {
			t.Errorf("%d kinds are remembered", len(s.said))
		}
	})
}

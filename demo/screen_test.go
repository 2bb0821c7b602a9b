package demo

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"heron/demo/cloud"
	"heron/demo/line"
)

func moment() present {
	return present{
		View: View{State: "ok", Model: "bottles 1.0.0", Engine: "onnx", FPS: 14.9, LatMS: 1.2, AgeMS: 48, Backlog: 7, Bytes: 900, Link: "online", Vision: "running", Page: "http://127.0.0.1:8642/",
			Last: Seen{At: time.Now(), Label: "scratched", Score: .97}},
		truth: line.Truth{Class: line.Scratched}, brokerUp: true,
		books: cloud.Totals{Live: 1234, Late: 210}, score: score{judged: 100, right: 99}, since: 12 * time.Second, left: 18 * time.Second,
	}
}

func picture(s *screen, p present) string { return strings.Join(s.lines(p), "\n") }

func TestScreenShowsThePresent(t *testing.T) {
	s := &screen{}
	got := picture(s, moment())
	for _, want := range []string{"scratched 0.97  ✓", "14.9 results/s", "1.2 ms", "1,234 while live · 210 late · 0 lost", "99 of 100 judged · 99.0 %", "7 records · 0.9 kB", "http://127.0.0.1:8642/", "take the broker away", "18 s left"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Error("colours although there should be none")
	}
}

func TestScreenFollowsTheFaults(t *testing.T) {
	p := moment()
	p.brokerUp, p.truth.Covered, p.Restarts, p.State, p.Reasons = false, true, 1, "degraded", []string{"the camera sees nothing"}
	p.Last = Seen{At: time.Now(), Facts: []string{"covered"}}
	got := picture(&screen{}, p)
	for _, want := range []string{"away", "bring the broker back", "uncover the camera", "(covered)", "1 restart", "degraded: the camera sees nothing", "kept here until"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	p = moment()
	p.Last.Label = "ok"
	if strings.Contains(picture(&screen{}, p), "✓") {
		t.Error("a wrong answer is ticked")
	}
	p.Last = Seen{}
	if got := picture(&screen{}, p); !strings.Contains(got, "nothing yet") {
		t.Errorf("before the first result:\n%s", got)
	}
}

// Each drawing covers the one before, in any width, and leaves no colour on.
func TestScreenDrawsInPlace(t *testing.T) {
	for _, width := range []int{1, 20, 79, 200} {
		var b bytes.Buffer
		s := &screen{out: &b, width: func() int { return width }, colour: true}
		s.draw(moment())
		n := strings.Count(b.String(), "\r\n")
		b.Reset()
		s.draw(moment())
		if !strings.HasPrefix(b.String(), "\x1b["+grouped(uint64(n))+"A") {
			t.Errorf("width %d: %d lines, then %q", width, n, b.String()[:8])
		}
		for _, l := range strings.Split(b.String(), "\r\n") {
			plain := l
			for {
				i := strings.Index(plain, "\x1b[")
				if i < 0 {
					break
				}
				j := i + strings.IndexAny(plain[i:], "mAKJ") + 1
				plain = plain[:i] + plain[j:]
			}
			if got := utf8.RuneCountInString(strings.TrimPrefix(plain, "\r")); got > width-1 {
				t.Errorf("width %d: a line of %d columns", width, got)
			}
			if strings.Count(l, "\x1b[0m")*2 < strings.Count(l, "m")-strings.Count(plain, "m") {
				t.Errorf("width %d: a colour stays on in %q", width, l)
			}
		}
	}
}

func TestPlainLine(t *testing.T) {
	got := moment().line()
	for _, want := range []string{"12.0 s", "scratched", "broker up", "live 1234", "late 210", "right 99/100", "lost 0"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

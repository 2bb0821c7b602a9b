package demo

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"heron/demo/cloud"
	"heron/demo/line"
)

// present is one moment of the demo.
type present struct {
	View
	truth       line.Truth
	brokerUp    bool
	books       cloud.Totals
	score       score
	since, left time.Duration // left is 0 without an end
}

// line is the present in one line, for logs and pipes.
func (p present) line() string {
	b := "up"
	if !p.brokerUp {
		b = "away"
	}
	return fmt.Sprintf("%5.1f s  camera %-9s heron %-16s %5.1f/s  broker %-4s link %-8s waiting %-5d live %d late %d right %d/%d lost %d",
		p.since.Seconds(), p.shown(), p.said(), p.FPS, b, p.Link, p.Backlog, p.books.Live, p.books.Late, p.score.right, p.score.judged, p.missing())
}

// shown is what stands in front of the camera.
func (p present) shown() string {
	if p.truth.Covered {
		return "covered"
	}
	return p.truth.Class.String()
}

// said is the newest answer.
func (p present) said() string {
	switch {
	case p.Last.At.IsZero():
		return "nothing yet"
	case p.Last.Label == "" && len(p.Last.Facts) > 0:
		return "(" + strings.Join(p.Last.Facts, ", ") + ")"
	case p.Last.Label == "":
		return "(no answer)"
	}
	return fmt.Sprintf("%s %.2f", p.Last.Label, p.Last.Score)
}

// missing is what is certainly lost while the demo runs; what is on its way is not.
func (p present) missing() uint64 { return max(p.books.LostAtMost, p.Dropped) }

// screen draws presents in place.
type screen struct {
	out    io.Writer
	width  func() int
	colour bool
	note   string // shown until the next one
	drawn  int    // lines of the last drawing, which the next covers
}

// ANSI colours, by what they are for.
const (
	dim    = "2"
	bold   = "1"
	green  = "32"
	yellow = "33"
	red    = "31"
	cyan   = "36"
)

func (s *screen) paint(code, text string) string {
	if !s.colour || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// draw writes the present over the one before.
func (s *screen) draw(p present) {
	lines := s.lines(p)
	var b bytes.Buffer
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	width := s.width()
	for _, l := range lines {
		b.WriteString("\r" + clip(l, width-1) + "\x1b[K\r\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	s.out.Write(b.Bytes()) // a terminal that is gone ends the demo by its signal
}

// lines is the whole picture.
func (s *screen) lines(p present) []string {
	row := func(name, text string) string { return "  " + s.paint(dim, fmt.Sprintf("%-14s", name)) + text }
	head := "  " + s.paint(bold, "heron demo") + s.paint(dim, "   a bottling line, classified on this machine")
	if p.left > 0 {
		head += s.paint(dim, fmt.Sprintf(" · %d s left", int((p.left+time.Second-1).Seconds())))
	}
	out := []string{"", head, "",
		row("camera", s.paint(classColour(p.shown()), p.shown())),
		row("heron says", s.answer(p)),
		row("", s.bar(p)),
		row("pace", fmt.Sprintf("%.1f results/s · %.1f ms inference · %.0f ms from frame to answer", p.FPS, p.LatMS, p.AgeMS)),
		row("broker", s.broker(p)),
		row("waiting", s.waiting(p)),
		row("delivered", fmt.Sprintf("%s while live · %s late · %s", grouped(p.books.Live), grouped(p.books.Late), s.lost(p))),
		row("right", fmt.Sprintf("%s of %s judged · %s", grouped(p.score.right), grouped(p.score.judged), percent(p.score.right, p.score.judged))),
		row("heron-vision", s.vision(p)),
		row("state", s.state(p)),
		row("page", s.paint(cyan, p.Page)),
		"", s.keys(p)}
	if s.note != "" {
		out = append(out, "  "+s.paint(yellow, s.note))
	}
	return out
}

func (s *screen) answer(p present) string {
	text, mark := s.paint(classColour(p.Last.Label), p.said()), ""
	switch {
	case p.Last.At.IsZero() || p.truth.Covered != (p.Last.Label == ""):
	case p.Last.Label == p.shown():
		mark = s.paint(green, "  ✓")
	}
	return text + mark
}

// bar shows the score as a length.
func (s *screen) bar(p present) string {
	const n = 40
	full := min(max(int(p.Last.Score*n+.5), 0), n)
	return s.paint(classColour(p.Last.Label), strings.Repeat("█", full)) + s.paint(dim, strings.Repeat("░", n-full))
}

func classColour(label string) string {
	switch label {
	case "ok":
		return green
	case "scratched":
		return red
	case "no_label":
		return yellow
	case "empty":
		return cyan
	}
	return dim
}

func (s *screen) broker(p present) string {
	if p.brokerUp {
		return s.paint(green, "up") + s.paint(dim, "   link "+p.Link)
	}
	return s.paint(red, "away") + s.paint(dim, "   link "+p.Link)
}

func (s *screen) waiting(p present) string {
	text := count(uint64(max(p.Backlog, 0)), "record", "records")
	if p.Bytes > 0 {
		text += fmt.Sprintf(" · %.1f kB", float64(p.Bytes)/1000)
	}
	if !p.brokerUp {
		return s.paint(yellow, text) + s.paint(dim, "   kept here until the broker is back")
	}
	return text
}

func (s *screen) lost(p present) string {
	if n := p.missing(); n > 0 {
		return s.paint(red, grouped(n)+" lost")
	}
	return s.paint(green, "0 lost")
}

func (s *screen) vision(p present) string {
	text := p.Vision + " · " + count(p.Restarts, "restart", "restarts")
	if p.Engine != "" {
		text += s.paint(dim, "   "+p.Model+" on "+p.Engine)
	}
	return text
}

func (s *screen) state(p present) string {
	if len(p.Reasons) == 0 {
		return s.paint(green, p.State)
	}
	return s.paint(yellow, p.State) + ": " + strings.Join(p.Reasons, "; ")
}

func (s *screen) keys(p present) string {
	broker, cover := "take the broker away", "cover the camera"
	if !p.brokerUp {
		broker = "bring the broker back"
	}
	if p.truth.Covered {
		cover = "uncover the camera"
	}
	var b strings.Builder
	for _, k := range [][2]string{{"b", broker}, {"c", cover}, {"k", "kill heron-vision"}, {"q", "quit"}} {
		b.WriteString("  " + s.paint(bold, k[0]) + " " + s.paint(dim, k[1]))
	}
	return b.String()
}

// clip cuts a line to so many columns; escape sequences take none and are kept, so that colours end.
func clip(s string, columns int) string {
	var b strings.Builder
	for len(s) > 0 {
		if s[0] == 0x1b {
			end := strings.IndexByte(s, 'm') + 1
			if end == 0 {
				break
			}
			b.WriteString(s[:end])
			s = s[end:]
			continue
		}
		_, n := utf8.DecodeRuneInString(s)
		if columns > 0 {
			b.WriteString(s[:n])
			columns--
		}
		s = s[n:]
	}
	return b.String()
}

package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Colours of a cell, where the terminal has them.
const (
	plain  = ""
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	faint  = "\x1b[2m"
	unset  = "\x1b[0m"
)

// cell of a table.
type cell struct{ text, color string }

// canvas draws tables: again and again in the same place on a terminal, once and plainly elsewhere.
type canvas struct {
	out           io.Writer
	live, colored bool
	size          func() (width, height int) // 0: without end
	drawn         int                        // lines of the last drawing
}

func newCanvas(out io.Writer) *canvas {
	c := &canvas{out: out, size: func() (int, int) { return 0, 0 }}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		c.live = true
		c.colored = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		c.size = func() (int, int) {
			w, h, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80, 24
			}
			return w, h
		}
	}
	return c
}

// still is a canvas that draws once: what does not fit scrolls away, rather than being left out.
func (c *canvas) still() *canvas {
	c.live, c.size = false, func() (int, int) { return 0, 0 }
	return c
}

// fit cuts a line where the terminal ends: one that wraps would spoil the next drawing.
func (c *canvas) fit(line string) string {
	if width, _ := c.size(); c.live && width > 0 {
		return shorten(line, width)
	}
	return line
}

// redraw puts lines in the place of the last ones.
func (c *canvas) redraw(lines []string) error {
	_, height := c.size()
	if over := len(lines) - (height - 1); c.live && height > 2 && over > 0 {
		lines = append(lines[:height-2:height-2], fmt.Sprintf("… %d lines more", over+1))
	}
	var b strings.Builder
	if c.live && c.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dF\x1b[J", c.drawn)
	}
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	c.drawn = len(lines)
	_, err := io.WriteString(c.out, b.String())
	return err
}

// table lines up columns, two spaces apart; the last is cut where the terminal ends.
func (c *canvas) table(rows [][]cell) []string {
	width, _ := c.size()
	var wide []int
	for _, r := range rows {
		for i, x := range r {
			if i >= len(wide) {
				wide = append(wide, 0)
			}
			wide[i] = max(wide[i], utf8.RuneCountInString(x.text))
		}
	}
	lines := make([]string, 0, len(rows))
	for _, r := range rows {
		lines = append(lines, c.line(r, wide, width))
	}
	return lines
}

func (c *canvas) line(row []cell, wide []int, width int) string {
	var b strings.Builder
	at := 0
	for i, x := range row {
		if i > 0 {
			at += 2
		}
		text := x.text
		if width > 0 {
			text = shorten(text, width-at)
		}
		if text == "" && i == len(row)-1 {
			break
		}
		if i > 0 {
			b.WriteString("  ")
		}
		pad := wide[i] - utf8.RuneCountInString(text)
		if c.colored && x.color != plain {
			text = x.color + text + unset
		}
		b.WriteString(text)
		if at += wide[i]; i < len(row)-1 && (width == 0 || at < width) {
			b.WriteString(strings.Repeat(" ", max(pad, 0)))
		}
		if width > 0 && at >= width {
			break
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// shorten to so many columns.
func shorten(s string, most int) string {
	if most <= 0 {
		return ""
	}
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// ago says a time as a distance from now; "-" where it is not known.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	switch d := now.Sub(t); {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

package camera

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Overlay is what is written into a picture for people: what this very frame became. It needs nothing but Go.
type Overlay struct {
	Label  string        // of the result; empty: there is none, see Note
	Score  float64       // 0 to 1, drawn as a bar and in %
	Note   string        // in place of a result, as "not classified"
	Detail string        // one quiet line: engine, latency, time
	Facts  []string      // what is wrong with the frame
	Age    time.Duration // of a picture that is not from now, told at the top; 0: it is from now
}

// ink is a colour in the order of the buffer.
type ink struct{ b, g, r byte }

// The colours of drawn text. The panel keeps a quarter of what is behind it, so each of them stands out on any picture.
var (
	paper  = ink{255, 255, 255}
	faint  = ink{214, 206, 200}
	amber  = ink{90, 200, 255}
	filled = ink{210, 190, 130}
	track  = ink{120, 110, 104}
	night  = ink{32, 26, 22}
)

// Draw writes o over f's pixels, scaled to the picture's size. A picture too small for a line goes without it; a frame whose buffer
// is not what it says is left alone.
func (o Overlay) Draw(f *Frame) {
	if f.check() != nil {
		return
	}
	c := canvas{f, textScale(f.Width, f.Height)}
	if o.Age > 0 {
		c.banner("NOT LIVE: this picture is " + span(o.Age) + " old")
	}
	if o.Label == "" && o.Note == "" {
		return
	}
	c.panel(o)
}

// textScale is how many pixels a point of a glyph has: 2 at 640×480, never so many that a dozen letters do not fit.
func textScale(w, h int) int { return max(1, min((w+80)/320, (h+60)/180)) }

// canvas draws on one frame, in units of s pixels; all of its methods clip.
type canvas struct {
	f *Frame
	s int
}

// panel is the dark field at the foot of the picture: the answer with its bar, the detail, the facts.
func (c canvas) panel(o Overlay) {
	line, pad := cellHeight*c.s, 3*c.s
	lines := 2
	if len(o.Facts) > 0 {
		lines++
	}
	y := max(0, c.f.Height-lines*line-(lines+1)*pad)
	c.shade(0, y, c.f.Width, c.f.Height)
	y += pad
	if o.Label == "" {
		c.text(pad, y, c.f.Width-pad, amber, o.Note)
	} else {
		c.answer(y, o)
	}
	y += line + pad
	if len(o.Facts) > 0 {
		c.text(pad, y, c.f.Width-pad, amber, strings.Join(o.Facts, ", "))
		y += line + pad
	}
	c.text(pad, y, c.f.Width-pad, faint, o.Detail)
}

// answer is label, bar and per cent in one line; the bar goes first where there is no room.
func (c canvas) answer(y int, o Overlay) {
	pad, score := 3*c.s, min(max(o.Score, 0), 1)
	if math.IsNaN(o.Score) {
		score = 0
	}
	percent := fmt.Sprintf("%5.1f%%", 100*score)
	right := c.f.Width - pad - len(percent)*cellWidth*c.s
	c.text(right, y, c.f.Width-pad, paper, percent)
	end := right - 2*pad
	if bar := c.f.Width / 4; end-bar > 10*cellWidth*c.s {
		from := end - bar
		c.fill(from, y+c.s, end, y+7*c.s, track)
		c.fill(from, y+c.s, from+int(float64(bar)*score), y+7*c.s, filled)
		end = from - 2*pad
	}
	c.text(pad, y, end, paper, o.Label)
}

// banner is a line across the top that cannot be taken for part of the scene.
func (c canvas) banner(s string) {
	pad := 3 * c.s
	c.fill(0, 0, c.f.Width, cellHeight*c.s+2*pad, ink{30, 40, 150})
	c.text(pad, pad, c.f.Width-pad, paper, s)
}

// text writes one line from x, y to at most right; what does not fit is cut and marked with two points.
func (c canvas) text(x, y, right int, col ink, s string) {
	t := plain(s)
	if room := (right - x + c.s) / (cellWidth * c.s); len(t) > room {
		t = t[:max(0, min(len(t), room-2))]
		if room >= 2 {
			t = append(t, ".."...)
		}
	}
	for i, ch := range t {
		c.glyph(x+i*cellWidth*c.s, y, ch, col)
	}
}

func (c canvas) glyph(x, y int, ch byte, col ink) {
	for gy := range glyphHeight {
		for gx := range glyphWidth {
			if lit(ch, gx, gy) {
				px, py := x+gx*c.s, y+gy*c.s
				c.fill(px, py, px+c.s, py+c.s, col)
			}
		}
	}
}

// fill paints the part of a rectangle that lies in the picture.
func (c canvas) fill(x0, y0, x1, y1 int, col ink) {
	c.each(x0, y0, x1, y1, func(p []byte) { p[0], p[1], p[2] = col.b, col.g, col.r })
}

// shade leaves a quarter of the picture's light.
func (c canvas) shade(x0, y0, x1, y1 int) {
	c.each(x0, y0, x1, y1, func(p []byte) { p[0], p[1], p[2] = p[0]/4, p[1]/4, p[2]/4 })
}

func (c canvas) each(x0, y0, x1, y1 int, paint func(p []byte)) {
	x0, x1 = max(x0, 0), min(x1, c.f.Width)
	for y := max(y0, 0); y < min(y1, c.f.Height); y++ {
		for x := x0; x < x1; x++ {
			paint(c.f.Pix[y*c.f.Stride+3*x:][:3])
		}
	}
}

// plain is s in the characters that have a glyph: one question mark for each that has none.
func plain(s string) []byte {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if r < ' ' || r > '~' {
			r = '?'
		}
		out = append(out, byte(r))
	}
	return out
}

// span is a length of time in one unit or two.
func span(d time.Duration) string {
	switch s := int64(d / time.Second); {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	default:
		return fmt.Sprintf("%d h %02d min", s/3600, s/60%60)
	}
}

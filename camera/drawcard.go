package camera

import "strings"

// Card is a picture that says in words why there is none: a title and lines, broken where they are too long.
func Card(width, height int, title string, lines ...string) *Frame {
	width, height = max(1, width), max(1, height)
	f := &Frame{Width: width, Height: height, Stride: 3 * width, Pix: make([]byte, 3*width*height)}
	c := canvas{f, textScale(width, height)}
	c.fill(0, 0, width, height, night)
	pad := 6 * c.s
	c.fill(0, 0, 2*c.s, height, amber) // seen from afar: this is no scene
	big := canvas{f, c.s + c.s/2}
	y := pad
	for _, l := range wrap(title, (width-2*pad)/(cellWidth*big.s)) {
		big.text(pad, y, width-pad, amber, l)
		y += (cellHeight + 2) * big.s
	}
	for _, line := range lines {
		y += 2 * c.s
		for _, l := range wrap(line, (width-2*pad)/(cellWidth*c.s)) {
			c.text(pad, y, width-pad, paper, l)
			y += (cellHeight + 2) * c.s
		}
	}
	return f
}

// wrap breaks s between words into lines of at most n characters; a longer word stands alone and is cut when drawn.
func wrap(s string, n int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(string(plain(s))) {
		if line != "" && len(line)+1+len(w) > n {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

// Shrink makes f at most maxWidth wide, in its own buffer, by averaging the pixels that fall into one; 0 leaves it as it is.
// What is drawn afterwards keeps its edges.
func Shrink(f *Frame, maxWidth int) error {
	if err := f.check(); err != nil {
		return err
	}
	if maxWidth <= 0 || f.Width <= maxWidth {
		return nil
	}
	w, h := maxWidth, max(1, f.Height*maxWidth/f.Width)
	at := 0
	for y := range h { // never ahead of what is still to be read: each point lies at or before the first of those that make it
		y0 := y * f.Height / h
		y1 := max((y+1)*f.Height/h, y0+1)
		for x := range w {
			x0 := x * f.Width / w
			b, g, r := f.mean(x0, y0, max((x+1)*f.Width/w, x0+1), y1)
			f.Pix[at], f.Pix[at+1], f.Pix[at+2] = b, g, r
			at += 3
		}
	}
	f.Pix, f.Width, f.Height, f.Stride = f.Pix[:at], w, h, 3*w
	return nil
}

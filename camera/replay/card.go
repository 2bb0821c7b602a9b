package replay

import (
	"strconv"
	"time"

	"heron/camera"
)

// card is a camera.Device that draws: eight colour bars, a box that moves one step a frame, and the number of the frame.
// It keeps its own rate like a live camera and may be told its size.
type card struct {
	width, height int
	period        time.Duration
	began         time.Time
	seq           uint64
	bars          []byte // the card without what moves
}

func openCard(o camera.Options) (camera.Device, error) {
	a, err := camera.ParseCard(o.Source, o.Width, o.Height)
	if err != nil {
		return nil, err
	}
	c := &card{width: a.Width, height: a.Height, period: time.Second / time.Duration(a.FPS), bars: make([]byte, 3*a.Width*a.Height)}
	c.paintBars()
	return c, nil
}

func (c *card) paintBars() {
	bars := [8][3]byte{{235, 235, 235}, {16, 235, 235}, {235, 235, 16}, {16, 235, 16}, {235, 16, 235}, {16, 16, 235}, {235, 16, 16}, {40, 40, 40}}
	for i := 0; i < len(c.bars); i += 3 {
		x := i / 3 % c.width
		copy(c.bars[i:], bars[x*8/c.width][:])
	}
}

// Read waits for the frame's time and draws it.
func (c *card) Read(f *camera.Frame) error {
	if c.began.IsZero() {
		c.began = time.Now()
	}
	due := c.began.Add(time.Duration(c.seq) * c.period)
	if late := time.Since(due); late > c.period { // nobody read for a while: frames were missed, as with a camera
		c.seq += uint64(late / c.period)
		due = c.began.Add(time.Duration(c.seq) * c.period)
	}
	time.Sleep(time.Until(due))
	c.seq++
	f.Pix = append(f.Pix[:0], c.bars...)
	f.Width, f.Height, f.Stride = c.width, c.height, 3*c.width
	f.Seq, f.Device = c.seq, time.Since(c.began)
	c.draw(f)
	return nil
}

// Close has nothing to free.
func (c *card) Close() error { return nil }

func (c *card) draw(f *camera.Frame) {
	box := c.height / 8
	track := max(1, c.width-box)
	fill(f, int(c.seq)*4%track, c.height/2, box, box, 255)
	scale := max(1, c.height/60)
	text := strconv.FormatUint(c.seq, 10)
	fill(f, 0, 0, min(c.width, (4*len(text)+1)*scale), min(c.height, 7*scale), 0)
	for i, digit := range text {
		drawDigit(f, int(digit-'0'), (4*i+1)*scale, scale, scale)
	}
}

// drawDigit paints one of 3×5 dots, each scale pixels wide.
func drawDigit(f *camera.Frame, digit, x, y, scale int) {
	font := [10]uint16{0b111101101101111, 0b010110010010111, 0b111001111100111, 0b111001111001111, 0b101101111001001,
		0b111100111001111, 0b111100111101111, 0b111001001001001, 0b111101111101111, 0b111101111001111}
	for dot := range 15 {
		if font[digit]>>(14-dot)&1 == 1 {
			fill(f, x+dot%3*scale, y+dot/3*scale, scale, scale, 255)
		}
	}
}

// fill paints a rectangle grey, as far as it lies inside.
func fill(f *camera.Frame, x, y, w, h int, v byte) {
	x1, y1 := min(x+w, f.Width), min(y+h, f.Height)
	for ; y < y1 && x < x1; y++ {
		row := f.Pix[y*f.Stride+3*x : y*f.Stride+3*x1]
		for i := range row {
			row[i] = v
		}
	}
}

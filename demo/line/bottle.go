package line

import (
	"image"
	"math"
)

// Bottle is one bottle, drawn once for a given focus and shown at many places. A Bottle of class Empty is nothing at all.
type Bottle struct {
	Class  Class
	seed   uint64
	focus  float64
	w, h   int
	pix    []byte // premultiplied RGBA
	axis   int    // x of the axis within pix
	ground int    // y within pix of the point it stands on
}

// NewBottle prepares the bottle of a seed; it is drawn when first shown.
func NewBottle(seed uint64, class Class) *Bottle { return &Bottle{Class: class, seed: seed, focus: -1} }

// onto composes the bottle over dst with its axis at x, standing at ground.
func (b *Bottle) onto(dst *image.RGBA, x, ground int, focus float64) {
	if b.Class == Empty {
		return
	}
	if b.focus != focus {
		b.focus = focus
		b.draw()
	}
	left, top := x-b.axis, ground-b.ground
	x0, x1 := max(0, left), min(Width, left+b.w)
	for y := max(0, top); y < min(Height, top+b.h) && x0 < x1; y++ {
		over(dst.Pix[y*dst.Stride+4*x0:y*dst.Stride+4*x1], b.pix[4*((y-top)*b.w+x0-left):])
	}
}

// over is Porter and Duff's operator on rows of premultiplied pixels; dst is opaque.
func over(dst, src []byte) {
	src = src[:len(dst)]
	for i := 0; i+3 < len(dst); i += 4 {
		a := 255 - uint32(src[i+3])
		if a == 255 {
			continue
		}
		for ch := range 3 {
			dst[i+ch] = uint8(min(uint32(src[i+ch])+uint32(dst[i+ch])*a/255, 255))
		}
	}
}

// shape is a bottle's outline and what it is made of. Heights are shares of the bottle, 0 at the top.
type shape struct {
	half, tall               float32 // half the width and the height, in pixels
	cap, neckEnd, shoulder   float32
	neck, foot               float32 // the neck's share of half; the radius of the foot in pixels
	fill                     float32 // where the liquid begins
	glass, liquid, lid       colour
	clear                    float32 // how much of the wall is seen through bare glass
	label0, label1, labelArc float32 // arc in pixels: the camera looks slightly down
	cx, top                  float32 // place within the sprite
}

func (b *Bottle) draw() {
	d := newDice(b.seed, 4)
	s := newShape(d)
	const margin = 46
	b.w, b.h = int(2*s.half)+2*margin, int(s.tall)+40
	s.cx, s.top = float32(b.w)/2, 12
	b.axis, b.ground = b.w/2, int(s.top+s.tall)
	c := newCanvas(b.w, b.h)
	s.drawShadow(c)
	s.drawGlass(c)
	art := newArt(d, s)
	if b.Class != NoLabel {
		s.drawLabel(c, art)
	}
	if b.Class == Scratched {
		s.drawScratches(c, newDice(b.seed, 5))
	}
	s.drawShine(c, d)
	c.blur(b.focus)
	b.pix = c.bytes()
}

func newShape(d dice) shape {
	s := shape{half: d.f(62, 84), tall: d.f(286, 338), cap: d.f(.035, .07), foot: d.f(8, 18), labelArc: d.f(2, 9)}
	switch d.IntN(3) {
	case 0: // a long neck
		s.neck, s.neckEnd, s.shoulder = d.f(.3, .36), d.f(.2, .26), d.f(.4, .46)
	case 1: // high shoulders
		s.neck, s.neckEnd, s.shoulder = d.f(.32, .4), d.f(.22, .28), d.f(.33, .37)
	default: // a juice bottle with a wide mouth
		s.neck, s.neckEnd, s.shoulder = d.f(.48, .6), d.f(.1, .15), d.f(.3, .38)
	}
	s.fill = s.neckEnd * d.f(.7, 1.4)
	s.glass = hsv(d.in(.2, .6), d.in(.05, .6), d.in(.35, .9))
	s.liquid = hsv(d.in(0, 1), d.in(.35, .95), d.in(.22, .9))
	s.lid = hsv(d.in(0, 1), d.in(.1, .9), d.in(.35, .95))
	s.clear = d.f(.25, .6)
	body := 1 - s.shoulder
	s.label0 = s.shoulder + body*d.f(.1, .2)
	s.label1 = 1 - body*d.f(.14, .24)
	return s
}

// radius is half the bottle's width at height t, in pixels.
func (s *shape) radius(t float32) float32 {
	if t < s.cap {
		return s.half * s.neck * 1.14
	}
	r := s.half * (s.neck + (1-s.neck)*smooth(s.neckEnd, s.shoulder, t))
	if low := s.foot - (1-t)*s.tall; low > 0 {
		r -= s.foot - root(s.foot*s.foot-low*low)
	}
	return r
}

// each calls shade for every pixel of the bottle between heights t0 and t1: u is −1 … 1 across, t the height.
func (s *shape) each(c *canvas, t0, t1 float32, shade func(u, t float32) (colour, float32)) {
	y0, y1 := s.top+t0*s.tall, s.top+t1*s.tall
	c.paint(s.cx-s.half-2, y0-1, s.cx+s.half+2, y1+1, func(x, y float32) (colour, float32) {
		t := (y - s.top) / s.tall
		r := s.radius(clamp(t, 0, 1))
		if r < 1 {
			return colour{}, 0
		}
		k, a := shade(clamp((x-s.cx)/r, -1, 1), t)
		return k, a * cover(abs(x-s.cx)-r) * cover(y0-y) * cover(y-y1)
	})
}

func (s *shape) drawShadow(c *canvas) {
	x0, y0 := s.cx+14, s.top+s.tall-2
	c.paint(0, y0-20, float32(c.w), y0+28, func(x, y float32) (colour, float32) {
		r := hypot((x-x0)/(s.half*1.25), (y-y0)/12)
		return colour{6, 6, 8}, .6 * (1 - smooth(.45, 1.1, r))
	})
}

func (s *shape) drawGlass(c *canvas) {
	s.each(c, 0, 1, func(u, t float32) (colour, float32) {
		round := .5 + .62*root(1-(u*.85+.2)*(u*.85+.2))
		if t < s.cap {
			ridge := 1 + .12*float32(math.Sin(26*math.Asin(float64(u))))
			return s.lid.times(round*ridge).to(colour{255, 255, 255}, .3*bump(t, s.cap*.12, s.cap*.16)), 1
		}
		rim := abs(u) * abs(u)
		rim *= rim
		k, a := s.glass.times(round), 1-s.clear*(1-rim)
		wet := smooth(0, .006, t-s.fill-.012*(1-u*u))
		k, a = k.to(s.liquid.to(s.glass, .15).times(round), wet), a+(.97-a)*wet
		k = k.to(k.times(.4), .75*rim)
		return k.to(s.lid.times(.4), .5*bump(t, s.cap, .006)), a
	})
}

// drawShine draws the reflections of lamps: soft and upright, unlike a scratch.
func (s *shape) drawShine(c *canvas, d dice) {
	at, w, power := d.f(-.66, -.45), d.f(.05, .1), d.f(.35, .7)
	side := d.f(.55, .8)
	s.each(c, s.cap*1.2, .97, func(u, t float32) (colour, float32) {
		fade := smooth(s.cap, s.cap+.06, t) * smooth(.97, .9, t)
		return colour{255, 255, 255}, fade * (power*bump(u, at, w) + .22*bump(u, side, .06))
	})
}

// art is what is printed on a label.
type art struct {
	paper, ink, band colour
	logo             int
	logoY, logoR     float32
	bands            float32 // share of the label that its bands take
	lines            int
	words            uint64 // which places of the lines are printed
}

func newArt(d dice, s shape) art {
	a := art{paper: hsv(d.in(.05, .2), d.in(0, .25), d.in(.72, .98)), logo: d.IntN(3), logoY: d.f(.36, .44), logoR: d.f(.16, .21),
		bands: d.f(.05, .12), lines: 2 + d.IntN(2), words: d.Uint64()}
	if d.one(.3) {
		a.paper = hsv(d.in(0, 1), d.in(.3, .75), d.in(.55, .95))
	}
	a.ink = hsv(d.in(0, 1), d.in(.2, .9), d.in(.08, .35))
	a.band = hsv(d.in(0, 1), d.in(.45, .95), d.in(.35, .9))
	if abs(a.paper.luma()-s.liquid.luma()) < 45 { // a label that nobody could see would be no test of seeing
		if s.liquid.luma() > 150 {
			a.paper = a.paper.times(.55)
		} else {
			a.paper = a.paper.to(colour{250, 248, 240}, .7)
		}
	}
	return a
}

func (s *shape) drawLabel(c *canvas, a art) {
	arc := s.labelArc / s.tall
	high := s.label1 - s.label0
	aspect := high * s.tall / (2 * s.half)
	s.each(c, s.label0-arc, s.label1+arc, func(u, t float32) (colour, float32) {
		v := (t - s.label0 - arc*root(1-u*u)) / high // 0 … 1 down the paper
		around := float32(math.Asin(float64(u)))     // along the paper
		edge := (.5 - abs(v-.5)) * high * s.tall
		k := a.paint(around, v, aspect).times(.42 + .68*root(1-(u*.85+.2)*(u*.85+.2)))
		return k, cover(-edge)
	})
}

// paint is the printed colour at a place: x along the paper from its middle, in radii, v down it, 0 … 1.
func (a *art) paint(x, v, aspect float32) colour {
	k := a.paper
	if v < a.bands || v > 1-a.bands || abs(v-a.bands*1.7) < .012 || abs(v-1+a.bands*1.7) < .012 {
		return a.band
	}
	dy := (v - a.logoY) * 2 * aspect
	r := hypot(x, dy) / (a.logoR * 2)
	switch a.logo {
	case 0: // a disc in a ring
		k = k.to(a.band, cover((r-.72)*20)).to(a.band, cover((abs(r-1)-.09)*20))
	case 1: // a lozenge
		k = k.to(a.band, cover((abs(x)+abs(dy)-a.logoR*2.1)*20)).to(a.paper, cover((abs(x)+abs(dy)-a.logoR)*20))
	default: // a sun
		k = k.to(a.band, cover((r-.8-.16*float32(math.Cos(8*math.Atan2(float64(dy), float64(x)))))*16))
	}
	for i := range a.lines {
		y := .68 + float32(i)*.085
		if abs(v-y) < .022 && abs(x) < .85 && a.words>>(uint(int((x+1)*10)+i*20)%64)&3 != 0 {
			k = a.ink
		}
	}
	return k
}

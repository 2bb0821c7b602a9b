package line

import "math"

// stroke is one scratch: a jagged line with a width.
type stroke struct {
	x, y  []float32
	width float32
	core  colour
}

// drawScratches draws two to four deep scratches with finer ones beside them. Each is a bright groove with dark lips or the reverse,
// so that it shows on paper, glass and liquid alike.
func (s *shape) drawScratches(c *canvas, d dice) {
	for range 2 + d.IntN(3) {
		main := s.newStroke(d, d.f(5.5, 9))
		s.drawStroke(c, main, 1)
		for range d.IntN(3) {
			fine := stroke{width: d.f(1.2, 2.4), core: main.core}
			dx, dy := d.f(-12, 12), d.f(-8, 8)
			for i := range main.x {
				fine.x, fine.y = append(fine.x, main.x[i]+dx+d.f(-2, 2)), append(fine.y, main.y[i]+dy)
			}
			s.drawStroke(c, fine, .8)
		}
	}
}

func (s *shape) newStroke(d dice, width float32) stroke {
	k := stroke{width: width, core: colour{236, 236, 240}}
	if d.one(.4) {
		k.core = colour{18, 16, 18}
	}
	body0, body1 := s.top+s.tall*(s.shoulder+.04), s.top+s.tall*.93
	x, y := s.cx+s.half*d.f(-.75, .75), body0+(body1-body0)*d.f(0, .75)
	angle, long := d.in(.35, 2.8), d.f(90, 190)
	for range 6 {
		k.x, k.y = append(k.x, clamp(x, s.cx-s.half*.92, s.cx+s.half*.92)), append(k.y, clamp(y, body0, body1))
		angle += d.in(-.4, .4)
		x += long / 5 * float32(math.Cos(angle))
		y += long / 5 * float32(math.Sin(angle))
	}
	return k
}

func (s *shape) drawStroke(c *canvas, k stroke, strength float32) {
	lip := colour{20, 18, 20}
	if k.core.luma() < 128 {
		lip = colour{225, 222, 215}
	}
	x0, y0, x1, y1 := bounds(k)
	r := k.width + 3
	c.paint(x0-r, y0-r, x1+r, y1+r, func(x, y float32) (colour, float32) {
		best, along := float32(1e9), float32(0)
		for i := 1; i < len(k.x); i++ {
			if d, t := segment(x, y, k.x[i-1], k.y[i-1], k.x[i], k.y[i]); d < best {
				best, along = d, (float32(i-1)+t)/float32(len(k.x)-1)
			}
		}
		w := k.width / 2 * (.35 + .65*root(1-(2*along-1)*(2*along-1))) // thin at both ends
		return lip.to(k.core, cover(best-w+.6)), strength * cover(best-w-.9)
	})
}

func bounds(k stroke) (x0, y0, x1, y1 float32) {
	x0, y0, x1, y1 = k.x[0], k.y[0], k.x[0], k.y[0]
	for i := range k.x {
		x0, x1, y0, y1 = min(x0, k.x[i]), max(x1, k.x[i]), min(y0, k.y[i]), max(y1, k.y[i])
	}
	return
}

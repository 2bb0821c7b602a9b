package line

import "math"

// colour is red, green, blue, 0…255 each.
type colour [3]float32

func (c colour) times(k float32) colour { return colour{c[0] * k, c[1] * k, c[2] * k} }

// to mixes: t = 0 is c, t = 1 is o.
func (c colour) to(o colour, t float32) colour {
	return colour{c[0] + (o[0]-c[0])*t, c[1] + (o[1]-c[1])*t, c[2] + (o[2]-c[2])*t}
}

func (c colour) luma() float32 { return .299*c[0] + .587*c[1] + .114*c[2] }

// hsv takes hue in turns, saturation and value 0…1.
func hsv(h, s, v float64) colour {
	var c colour
	for i, shift := range [3]float64{5, 3, 1} {
		k := math.Mod(shift+h*6, 6)
		c[i] = float32(255 * (v - v*s*max(0, min(k, 4-k, 1))))
	}
	return c
}

// canvas is a picture in the making: premultiplied red, green, blue and alpha per pixel.
type canvas struct {
	w, h int
	pix  [][4]float32
}

func newCanvas(w, h int) *canvas { return &canvas{w, h, make([][4]float32, w*h)} }

// paint blends what shade gives for every pixel centre of a rectangle (colour and coverage 0…1) over what is there.
func (c *canvas) paint(x0, y0, x1, y1 float32, shade func(x, y float32) (colour, float32)) {
	left, right := max(0, int(x0)), min(c.w, int(x1)+1)
	for y := max(0, int(y0)); y < min(c.h, int(y1)+1); y++ {
		for x := left; x < right; x++ {
			k, a := shade(float32(x)+.5, float32(y)+.5)
			if a <= 0 {
				continue
			}
			c.blend(x, y, k, min(a, 1))
		}
	}
}

func (c *canvas) blend(x, y int, k colour, a float32) {
	p := &c.pix[y*c.w+x]
	for i := range 3 {
		p[i] = k[i]*a + p[i]*(1-a)
	}
	p[3] = a + p[3]*(1-a)
}

// cover turns a signed distance (negative inside) into coverage with a soft edge of one pixel.
func cover(d float32) float32 { return clamp(.5-d, 0, 1) }

// box is the signed distance to a rectangle with rounded corners.
func box(x, y, cx, cy, hw, hh, r float32) float32 {
	dx, dy := abs(x-cx)-hw+r, abs(y-cy)-hh+r
	return min(max(dx, dy), 0) + hypot(max(dx, 0), max(dy, 0)) - r
}

// segment is the distance to the line from a to b, and how far along it the nearest point lies (0…1).
func segment(x, y, ax, ay, bx, by float32) (dist, along float32) {
	px, py, vx, vy := x-ax, y-ay, bx-ax, by-ay
	t := clamp((px*vx+py*vy)/max(vx*vx+vy*vy, 1e-6), 0, 1)
	return hypot(px-vx*t, py-vy*t), t
}

// blur is a Gaussian of sigma pixels, in place; edges are continued.
func (c *canvas) blur(sigma float64) {
	if sigma < .2 {
		return
	}
	k := gaussian(sigma)
	line := make([][4]float32, max(c.w, c.h)+2*len(k))
	for y := range c.h {
		convolve(c.pix[y*c.w:], 1, c.w, k, line)
	}
	for x := range c.w {
		convolve(c.pix[x:], c.w, c.h, k, line)
	}
}

func gaussian(sigma float64) []float32 {
	r := int(math.Ceil(2.5 * sigma))
	k, sum := make([]float32, r+1), float32(0)
	for i := range k {
		k[i] = float32(math.Exp(-float64(i*i) / (2 * sigma * sigma)))
		sum += k[i]
		if i > 0 {
			sum += k[i]
		}
	}
	for i := range k {
		k[i] /= sum
	}
	return k
}

// convolve runs the symmetric kernel k over n pixels that lie step apart; line has room for them and for both edges continued.
func convolve(pix [][4]float32, step, n int, k []float32, line [][4]float32) {
	r := len(k) - 1
	for i := range n {
		line[r+i] = pix[i*step]
	}
	for i := range r {
		line[i], line[r+n+i] = line[r], line[r+n-1]
	}
	for i := range n {
		m := line[i+r]
		s := [4]float32{k[0] * m[0], k[0] * m[1], k[0] * m[2], k[0] * m[3]}
		for j := 1; j <= r; j++ {
			a, b, w := &line[i+r-j], &line[i+r+j], k[j]
			s[0] += w * (a[0] + b[0])
			s[1] += w * (a[1] + b[1])
			s[2] += w * (a[2] + b[2])
			s[3] += w * (a[3] + b[3])
		}
		pix[i*step] = s
	}
}

func abs(x float32) float32           { return float32(math.Abs(float64(x))) }
func hypot(x, y float32) float32      { return float32(math.Sqrt(float64(x*x + y*y))) }
func root(x float32) float32          { return float32(math.Sqrt(float64(max(x, 0)))) }
func clamp(x, lo, hi float32) float32 { return min(max(x, lo), hi) }
func fract(x float32) float32         { return x - float32(math.Floor(float64(x))) }

// smooth goes from 0 at a to 1 at b without a kink.
func smooth(a, b, x float32) float32 {
	t := clamp((x-a)/(b-a), 0, 1)
	return t * t * (3 - 2*t)
}

// bump is 1 at centre and falls to nothing within three widths.
func bump(x, centre, w float32) float32 {
	d := (x - centre) / w
	if d > 3 || d < -3 {
		return 0
	}
	return float32(math.Exp(float64(-d * d)))
}

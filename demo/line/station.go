package line

import (
	"image"
	"math"
)

// period is the distance after which the belt looks the same, in pixels.
const period = 48

// Station is one place on the line as its camera sees it: wall, rail and belt, the light and the lens. It is drawn once and shown often.
// One goroutine uses a Station at a time.
type Station struct {
	floor      int    // y of the belt's far edge
	depth      int    // height of the belt's top in the picture; it moves, all else stands still
	scene      []byte // RGBA, sceneW wide: period more than a picture, so that the belt can be shifted
	focus      float64
	noise      float32
	tint       [3]float32
	gx, gy     []float32 // light across and down
	noiseTable []int16   // Gaussian, in 1/64
}

const sceneW = Width + period

// NewStation draws the station of a seed.
func NewStation(seed uint64) *Station {
	d := newDice(seed, 2)
	s := &Station{floor: int(Height * d.in(.74, .8)), depth: 46, focus: d.in(.3, 1.5), noise: d.f(1.2, 6)}
	c := newCanvas(sceneW, Height)
	drawWall(c, d, float32(s.floor))
	drawBelt(c, d, float32(s.floor), float32(s.depth))
	c.blur(s.focus + .6) // a little more than the bottle: the wall is farther away
	s.scene = c.bytes()
	s.light(d)
	return s
}

func (s *Station) light(d dice) {
	gain, slantX, slantY := d.f(.82, 1.2), d.f(-.2, .2), d.f(-.12, .16)
	spot, wide := Width*d.f(.3, .7), Width*d.f(.45, .9)
	s.gx, s.gy = make([]float32, Width), make([]float32, Height)
	for x := range s.gx {
		u := float32(x)/Width*2 - 1
		s.gx[x] = gain * (.9 + slantX*u + .16*bump(float32(x), spot, wide))
	}
	for y := range s.gy {
		v := float32(y)/Height*2 - 1
		s.gy[y] = 1 - slantY*v - .1*v*v
	}
	warm := d.f(-.07, .07)
	s.tint = [3]float32{1 + warm, 1 + d.f(-.02, .02), 1 - warm}
	s.noiseTable = make([]int16, 1<<14)
	for i := range s.noiseTable {
		s.noiseTable[i] = int16(64 * d.NormFloat64() * float64(s.noise))
	}
}

func (c *canvas) bytes() []byte {
	out := make([]byte, 4*len(c.pix))
	for i, p := range c.pix {
		for ch, v := range p {
			if ch == 3 {
				v *= 255
			}
			out[4*i+ch] = uint8(clamp(v+.5, 0, 255))
		}
	}
	return out
}

// Placed is a bottle at a place: the x of its axis in the picture, which may lie outside.
type Placed struct {
	Bottle *Bottle
	X      int
}

// View is what changes from frame to frame at one station.
type View struct {
	Bottles []Placed
	Belt    int     // by how many pixels the belt has moved to the right
	Light   float32 // 1 is the station's own
	Noise   uint64  // seed of this frame's noise
}

// Render draws one frame into dst, which must be Width × Height.
func (s *Station) Render(dst *image.RGBA, v View) {
	shift := ((-v.Belt)%period + period) % period
	for y := range Height {
		from := 4 * y * sceneW
		if y >= s.floor+2 && y < s.floor+s.depth {
			from += 4 * shift
		}
		copy(dst.Pix[y*dst.Stride:], s.scene[from:from+4*Width])
	}
	for _, p := range v.Bottles {
		p.Bottle.onto(dst, p.X, s.floor+s.depth*6/10, s.focus)
	}
	s.expose(dst, v)
}

// expose applies light, tint and noise, in fixed point: it runs for every frame.
func (s *Station) expose(dst *image.RGBA, v View) {
	n := newDice(v.Noise, 3)
	mask := len(s.noiseTable) - 1
	for y := range Height {
		row := dst.Pix[y*dst.Stride:][:4*Width]
		k := s.gy[y] * v.Light * 4096
		r, g, b := k*s.tint[0], k*s.tint[1], k*s.tint[2]
		at := int(n.Uint32())
		for x, gx := range s.gx {
			grain := int32(s.noiseTable[(at+x)&mask]) << 6
			px := row[4*x:][:4]
			px[0] = byteOf(int32(px[0])*int32(gx*r) + grain)
			px[1] = byteOf(int32(px[1])*int32(gx*g) + grain)
			px[2] = byteOf(int32(px[2])*int32(gx*b) + grain)
		}
	}
}

func byteOf(v int32) uint8 { return uint8(min(max(v>>12, 0), 255)) }

// drawWall draws what is behind the belt: panels or tiles, pipes, a lamp, the guide rail.
func drawWall(c *canvas, d dice, floor float32) {
	base := hsv(d.in(0, 1), d.in(.08, .4), d.in(.28, .74))
	joint, bright := base.times(d.f(.62, .85)), base.times(d.f(1.05, 1.25))
	w, h, offset := d.f(60, 170), d.f(50, 150), d.f(0, 100)
	tiles := d.one(.5)
	c.paint(0, 0, sceneW, Height, func(x, y float32) (colour, float32) {
		k := bright.to(base, smooth(0, floor, y))
		edge := w/2 - abs(fract((x+offset)/w)-.5)*w
		if tiles {
			edge = min(edge, h/2-abs(fract(y/h)-.5)*h)
		}
		k = k.to(joint, .8*cover(edge-1.5))
		return k.to(bright, .35*bump(edge, 4.5, 1.5)), 1
	})
	if d.one(.6) {
		drawWindow(c, d, floor)
	}
	for range 1 + d.IntN(3) {
		metal := hsv(d.in(0, 1), d.in(0, .55), d.in(.3, .8))
		x, r := d.f(0, Width), d.f(5, 22)
		c.paint(x-r-8, 0, x+r+8, floor, func(px, _ float32) (colour, float32) { return tube(metal, (px-x)/r), cover(abs(px-x) - r) })
	}
	drawRail(c, d, floor)
}

// drawWindow is a bright pane with a frame, or a control panel with lamps.
func drawWindow(c *canvas, d dice, floor float32) {
	x, y, hw, hh := d.f(20, Width-20), floor*d.f(.2, .45), d.f(40, 90), d.f(30, 70)
	frame, pane := hsv(d.in(0, 1), .15, d.in(.2, .5)), hsv(d.in(.5, .62), d.in(.05, .35), d.in(.6, .95))
	lamps := d.one(.5)
	if lamps {
		pane = hsv(d.in(0, 1), .1, d.in(.25, .45))
	}
	c.paint(x-hw-8, y-hh-8, x+hw+8, y+hh+8, func(px, py float32) (colour, float32) {
		out := box(px, py, x, y, hw+6, hh+6, 8)
		in := box(px, py, x, y, hw, hh, 4)
		k := frame.to(pane.to(pane.times(.8), (py-y)/hh), cover(in))
		return k, cover(out)
	})
	for i := 0; lamps && i < 6; i++ {
		lx, ly, k := x-hw*.6+float32(i%3)*hw*.6, y-hh*.3+float32(i/3)*hh*.7, hsv(d.in(0, .4), .8, d.in(.5, 1))
		c.paint(lx-7, ly-7, lx+7, ly+7, func(px, py float32) (colour, float32) {
			r := hypot(px-lx, py-ly)
			return k.to(colour{255, 255, 255}, .6*bump(r, 0, 2.5)), cover(r - 5)
		})
	}
}

// drawRail is the metal guide behind the bottles, with its posts.
func drawRail(c *canvas, d dice, floor float32) {
	y, r := floor-d.f(40, 110), d.f(4, 8)
	metal := hsv(.58, d.in(0, .12), d.in(.5, .85))
	for x := d.f(0, 120); x < sceneW; x += 210 {
		c.paint(x-6, y, x+6, floor, func(px, _ float32) (colour, float32) { return tube(metal.times(.7), (px-x)/5), cover(abs(px-x) - 5) })
	}
	c.paint(0, y-r-1, sceneW, y+r+1, func(_, py float32) (colour, float32) { return tube(metal, (py-y)/r), cover(abs(py-y) - r) })
}

// tube shades a cylinder; u is −1 … 1 across it.
func tube(k colour, u float32) colour {
	return k.times(.45+.75*root(1-(u*.8+.25)*(u*.8+.25))).to(colour{255, 255, 255}, .45*bump(u, -.4, .16))
}

// drawBelt draws the belt's top (slats that slant, periodic), its front edge with rollers, and the dark below.
func drawBelt(c *canvas, d dice, floor, depth float32) {
	top := hsv(d.in(0, 1), d.in(0, .15), d.in(.2, .5))
	slat, side := top.times(d.f(1.15, 1.4)), hsv(d.in(0, 1), d.in(.1, .7), d.in(.3, .7))
	slant := d.f(-.5, -.2)
	c.paint(0, floor, sceneW, floor+depth, func(x, y float32) (colour, float32) {
		v := (y - floor) / depth
		along := fract((x - slant*(y-floor)) / period)
		edge := (.5 - abs(along-.5)) * period
		k := top.to(slat, .35+.5*v).to(top.times(.45), cover(edge-1.6))
		return k.to(slat.times(1.2), .4*bump(edge, 4, 1.4)), 1
	})
	face := floor + depth
	c.paint(0, face, sceneW, Height, func(x, y float32) (colour, float32) {
		v := (y - face) / (Height - face)
		k := side.to(side.times(.55), smooth(0, .8, v))
		k = k.to(side.times(1.35), .6*bump(y, face+2, 2)).to(side.times(.3), cover(abs(y-face-17)-1))
		k = k.to(colour{8, 8, 10}, .75*smooth(.75, 1, v))
		rx := (fract(x/92) - .5) * 92
		r := hypot(rx, y-face-34)
		steel := colour{150, 152, 158}.times(.75 + .35*float32(math.Sin(float64(r)*.9)))
		return k.to(steel, cover(r-9)).to(colour{30, 30, 32}, cover(abs(r-10)-1.2)), 1
	})
}

package camera

import (
	"bytes"
	"image"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// film makes the frames of a camera that looks at a scene, from a seed: what stands still, light, and noise drawn anew for each frame.
type film struct {
	w, h    int
	minutes float64
	fps     float64
	sigma   float64 // of the sensor's noise, levels
	quality int     // of a JPEG round trip; 0 is none
	light   func(t float64) float64
	place   func(t float64) (dx, dy int)  // where the camera looks; nil: it stands
	over    func(t float64, x, y int) int // something before the scene: its level, −1 is nothing; nil: nothing

	n     int
	from  time.Time
	scene []float32
	big   int // width of scene
	table []float32
	rng   *rand.Rand
	f     Frame
}

const margin = 80 // of the scene about the picture, for a camera that turns

// ready prepares a film of what paint draws.
func (m *film) ready(seed uint64, paint func(x, y int) int) *film {
	m.rng = rand.New(rand.NewPCG(seed, 7))
	m.big = m.w + 2*margin
	m.scene = make([]float32, m.big*(m.h+2*margin))
	for i := range m.scene {
		m.scene[i] = float32(paint(i%m.big-margin, i/m.big-margin))
	}
	m.table = make([]float32, 1<<14)
	for i := range m.table {
		m.table[i] = float32(m.rng.NormFloat64() * m.sigma)
	}
	m.f = Frame{Width: m.w, Height: m.h, Stride: 3 * m.w, Pix: make([]byte, 3*m.w*m.h)}
	m.from = time.Now()
	return m
}

// next is the next frame; its pixels are those of the one before.
func (m *film) next(t testing.TB) *Frame {
	at := float64(m.n) / m.fps
	m.f.At, m.f.Seq = m.from.Add(time.Duration(at*float64(time.Second))), uint64(m.n+1)
	m.n++
	light, dx, dy := float32(1), 0, 0
	if m.light != nil {
		light = float32(m.light(at))
	}
	if m.place != nil {
		dx, dy = m.place(at)
	}
	for y := range m.h {
		row := m.scene[(y+dy+margin)*m.big+dx+margin:][:m.w]
		noise := int(m.rng.Uint32())
		pix := m.f.Pix[3*m.w*y:]
		for x, v := range row {
			if m.over != nil {
				if o := m.over(at, x, y); o >= 0 {
					v = float32(o)
				}
			}
			b := byte(min(255, max(0, v*light+m.table[(noise+x)&(1<<14-1)]+.5)))
			pix[3*x], pix[3*x+1], pix[3*x+2] = b, b, b
		}
	}
	if m.quality > 0 {
		recode(t, &m.f, m.quality)
	}
	return &m.f
}

// recode sends a grey frame through a JPEG encoder.
func recode(t testing.TB, f *Frame, quality int) {
	grey := image.NewGray(image.Rect(0, 0, f.Width, f.Height))
	for i := range grey.Pix {
		grey.Pix[i] = f.Pix[3*i+1]
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, grey, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	m, err := jpeg.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	g := m.(*image.Gray)
	for y := range f.Height {
		for x := range f.Width {
			v := g.Pix[y*g.Stride+x]
			p := f.Pix[f.Stride*y+3*x:]
			p[0], p[1], p[2] = v, v, v
		}
	}
}

// yard is a scene with structure of every size: blocks of random level, a slope of light, some fine lines.
func yard(seed uint64) func(x, y int) int {
	level := func(a, b int) int {
		r := rand.New(rand.NewPCG(seed^uint64(a*7919), uint64(b)))
		return 40 + r.IntN(150)
	}
	cache := map[[2]int]int{}
	return func(x, y int) int {
		k := [2]int{(x + 1000) / 13, (y + 1000) / 11}
		v, ok := cache[k]
		if !ok {
			v = level(k[0], k[1])
			cache[k] = v
		}
		if (x+1000)%37 == 0 {
			v += 30
		}
		return v + x/8
	}
}

// hills is a scene of soft shapes only.
func hills(x, y int) int {
	return int(120 + 60*math.Sin(float64(x)/19) + 40*math.Cos(float64(y)/23+float64(x)/60))
}

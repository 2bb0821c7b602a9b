package camera

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// drawn is a 640×480 frame whose pixels come from paint, with noise of ± n levels.
func drawn(n int, paint func(x, y int) int) *Frame {
	f := &Frame{Width: 640, Height: 480, Stride: 1920, Pix: make([]byte, 640*480*3), At: time.Now()}
	rng := rand.New(rand.NewPCG(1, 1))
	for y := range 480 {
		for x := range 640 {
			v := paint(x, y)
			for c := range 3 {
				noise := 0
				if n > 0 {
					noise = rng.IntN(2*n+1) - n
				}
				f.Pix[y*1920+3*x+c] = byte(min(255, max(0, v+noise)))
			}
		}
	}
	return f
}

func flat(level int) func(x, y int) int { return func(int, int) int { return level } }

func TestFault_V4_BlackCoveredOverexposed(t *testing.T) {
	for name, c := range map[string]struct {
		frame *Frame
		want  []string
	}{
		"black":                      {drawn(0, flat(0)), []string{Black}},
		"black with sensor noise":    {drawn(6, flat(8)), []string{Black}},
		"night with a lamp":          {drawn(4, func(x, y int) int { return 6 + 240*b2i((x-300)*(x-300)+(y-200)*(y-200) < 8000) }), nil},
		"dark but structured":        {drawn(3, func(x, y int) int { return 15 + 40*b2i((x/40+y/40)%2 == 0) }), nil},
		"white":                      {drawn(0, flat(255)), []string{Overexposed}},
		"two thirds blown out":       {drawn(0, func(x, y int) int { return 255*b2i(x < 430) + 100*b2i(x >= 430) }), []string{Overexposed}},
		"snow with a figure":         {drawn(4, func(x, y int) int { return 225 - 150*b2i(x > 250 && x < 350) }), nil},
		"finger on the lens":         {drawn(3, func(x, y int) int { return 60 + x/64 }), []string{Covered}},
		"green screen of a dead bus": {green(), []string{NoSignal}},
		"bars":                       {drawn(2, func(x, y int) int { return 16 + x/80*30 }), nil},
		"gradient":                   {drawn(0, func(x, y int) int { return x * 255 / 640 }), nil},
		"snow":                       {drawn(120, flat(128)), []string{NoSignal}},
		"wall with a hook":           {drawn(3, func(x, y int) int { return 120 - 80*b2i(x > 300 && x < 340 && y > 200 && y < 300) }), nil},
	} {
		var q Quality
		if got := q.Assess(c.frame, true); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v; %+v", name, got, c.want, Measure(c.frame))
		}
	}
}

func green() *Frame {
	f := drawn(0, flat(0))
	for i := 1; i < len(f.Pix); i += 3 {
		f.Pix[i] = 135
	}
	return f
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestFactsDoNotFlap(t *testing.T) {
	var q Quality
	changes, was := 0, false
	scene := [3]*Frame{drawn(0, flat(15)), drawn(0, flat(16)), drawn(0, flat(17))}
	for i := range 200 { // a scene that wavers about the limit
		is := slices.Contains(q.Assess(scene[i%3], true), Black)
		if i > 0 && is != was {
			changes++
		}
		was = is
	}
	if changes > 1 {
		t.Errorf("black changed %d times", changes)
	}
	if q.Assess(drawn(0, flat(20)), false); q.black {
		t.Error("a picture inherits from the one before")
	}
}

func TestFault_V3_Frozen(t *testing.T) {
	var q Quality
	f := drawn(20, func(x, y int) int { return (x + y) / 5 })
	at := f.At
	for i, c := range []struct {
		after  time.Duration
		change bool
		live   bool
		want   bool
	}{
		{0, false, true, false}, {4 * time.Second, false, true, false}, {6 * time.Second, false, true, true},
		{7 * time.Second, true, true, false}, {11 * time.Second, false, true, false}, {13 * time.Second, false, true, true},
		{14 * time.Second, false, false, false}, {60 * time.Second, false, false, false},
	} {
		f.At = at.Add(c.after)
		if c.change {
			f.Pix[100*1920+77]++
		}
		if got := slices.Contains(q.Assess(f, c.live), Frozen); got != c.want {
			t.Errorf("step %d: frozen %v", i, got)
		}
	}
}

func TestQualityOfOddFrames(t *testing.T) {
	var q Quality
	for _, size := range [][2]int{{1, 1}, {2, 1}, {1, 2}, {3, 3}, {63, 47}, {65, 49}, {1, 5000}, {5000, 1}} {
		f := &Frame{Width: size[0], Height: size[1], Stride: 3*size[0] + 5}
		f.Pix = make([]byte, f.Stride*(f.Height-1)+3*f.Width)
		if got := q.Assess(f, true); !slices.Equal(got, []string{Black}) {
			t.Errorf("%v: %v", size, got)
		}
	}
	if got := q.Assess(&Frame{Width: 10, Height: 10, Stride: 30}, true); got != nil {
		t.Errorf("a frame without pixels: %v", got)
	}
}

// TestMeasuresOfPoints: a point is the mean of 2×2 pixels, said in words as plain as possible; sizes at which pixels repeat, too.
func TestMeasuresOfPoints(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for _, size := range [][2]int{{1, 1}, {2, 1}, {1, 2}, {2, 2}, {3, 3}, {5, 4}, {127, 95}, {128, 96}, {129, 97}, {640, 480}, {1, 900}, {900, 1}} {
		f := &Frame{Width: size[0], Height: size[1], Stride: 3*size[0] + rng.IntN(4)}
		f.Pix = make([]byte, f.Stride*(f.Height-1)+3*f.Width)
		for i := range f.Pix {
			f.Pix[i] = byte(rng.Uint32())
		}
		cols, rows := min(64, max(1, f.Width/2)), min(48, max(1, f.Height/2))
		var sum, bright, lit float64
		for j := range rows {
			for i := range cols {
				x, y := i*(f.Width-1)/cols, j*(f.Height-1)/rows
				weighted := 0
				for _, at := range [4][2]int{{x, y}, {x + 1, y}, {x, y + 1}, {x + 1, y + 1}} {
					p := f.Pix[min(at[1], f.Height-1)*f.Stride+3*min(at[0], f.Width-1):]
					weighted += 29*int(p[0]) + 150*int(p[1]) + 77*int(p[2])
				}
				l := weighted / 1024
				sum, bright, lit = sum+float64(l), bright+float64(b2i(l >= 250)), lit+float64(b2i(l >= 48))
			}
		}
		n := float64(cols * rows)
		if m := Measure(f); m.Mean != sum/n || m.Bright != bright/n || m.Lit != lit/n {
			t.Errorf("%v: %+v, want mean %v, bright %v, lit %v", size, m, sum/n, bright/n, lit/n)
		}
	}
}

// BenchmarkQuality: all facts of a frame of 640×480. A live camera is looked at for blur five times a second, not in each frame: "live, looked at" is
// the dearest frame, "live" the mean at 15 frames a second.
func BenchmarkQuality(b *testing.B) {
	f := drawn(5, yard(1))
	other := drawn(5, yard(1))
	other.Pix[0]++
	from := f.At
	for _, c := range []struct {
		name  string
		live  bool
		every time.Duration
	}{{"live", true, time.Second / 15}, {"live, looked at", true, time.Second}, {"picture", false, time.Second}} {
		b.Run(c.name, func(b *testing.B) {
			var q Quality
			q.Assess(f, c.live)
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				f, other = other, f
				f.At = from.Add(time.Duration(i) * c.every)
				q.Assess(f, c.live)
			}
		})
	}
	b.Run("Measure alone", func(b *testing.B) {
		var g grid
		for b.Loop() {
			g.measure(f)
		}
	})
}

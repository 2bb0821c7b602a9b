package camera

import (
	"math"
	"slices"
	"testing"
	"time"
)

// unfocused makes of a frame one behind a lens out of focus: a box of 2r+1 pixels, twice, each way.
func unfocused(f *Frame, r int) {
	line := make([]int, max(f.Width, f.Height))
	smooth := func(at func(i int) *byte, n int) {
		for range 2 {
			for i := range n {
				line[i] = int(*at(i))
			}
			for i := range n {
				sum := 0
				for k := i - r; k <= i+r; k++ {
					sum += line[min(max(k, 0), n-1)]
				}
				*at(i) = byte(sum / (2*r + 1))
			}
		}
	}
	for c := range 3 {
		for y := range f.Height {
			smooth(func(i int) *byte { return &f.Pix[y*f.Stride+3*i+c] }, f.Width)
		}
		for x := range f.Width {
			smooth(func(i int) *byte { return &f.Pix[i*f.Stride+3*x+c] }, f.Height)
		}
	}
}

func yardOf(m film) *film {
	m.w, m.h, m.fps = 160, 120, 10
	return m.ready(11, yard(4))
}

func mustBeFine(t *testing.T, q *Quality, m *film, d time.Duration) {
	t.Helper()
	for range int(d.Seconds() * m.fps) {
		if facts := q.Assess(m.next(t), true); facts != nil {
			t.Fatalf("after %.1f s: %v", float64(m.n)/m.fps, facts)
		}
	}
}

func TestFault_V4_Blurred(t *testing.T) {
	for name, sigma := range map[string]float64{"no noise to speak of": 0.5, "noise": 3, "much noise": 8} {
		t.Run(name, func(t *testing.T) {
			m := yardOf(film{sigma: 0.3})
			noise := yardOf(film{sigma: sigma, light: func(float64) float64 { return 0 }, over: func(float64, int, int) int { return 100 }})
			var q Quality
			show := func(r int) []string { // the lens is before the sensor: its noise is not blurred
				f := *m.next(t)
				f.Pix = slices.Clone(f.Pix)
				if r > 0 {
					unfocused(&f, r)
				}
				noise.light = func(float64) float64 { return 1 }
				n := noise.next(t)
				for i := range f.Pix {
					f.Pix[i] = byte(min(255, max(0, int(f.Pix[i])+int(n.Pix[i])-100)))
				}
				return q.Assess(&f, true)
			}
			for range 100 {
				if facts := show(0); facts != nil {
					t.Fatalf("sharp: %v", facts)
				}
			}
			at := 0
			for ; at < 100 && !slices.Contains(show(3), Blurred); at++ {
			}
			if at < 29 || at > 50 {
				t.Errorf("blurred after %d frames, want 3 to 5 s; steep %.2f of %.2f", at, q.sharp.steep, q.sharp.best)
			}
			for at = 0; at < 100 && slices.Contains(show(0), Blurred); at++ {
			}
			if at > 20 {
				t.Errorf("still blurred %d frames after it is sharp again; steep %.2f of %.2f", at, q.sharp.steep, q.sharp.best)
			}
		})
	}
}

// An autofocus that hunts for two seconds is no fact.
func TestFault_V4_AutofocusHunts(t *testing.T) {
	m := yardOf(film{sigma: 1})
	var q Quality
	for i := range 600 {
		f := m.next(t)
		if i > 100 && i%100 < 20 {
			unfocused(f, 3)
		}
		if facts := q.Assess(f, true); facts != nil {
			t.Fatalf("frame %d: %v", i, facts)
		}
	}
}

func TestFault_V4_PictureIsJudgedAlone(t *testing.T) {
	m := yardOf(film{sigma: 1})
	var q Quality
	for _, c := range []struct {
		r    int
		want []string
	}{{0, nil}, {5, []string{Blurred}}, {0, nil}, {5, []string{Blurred}}} {
		f := m.next(t)
		if c.r > 0 {
			unfocused(f, c.r)
		}
		if got := q.Assess(f, false); !slices.Equal(got, c.want) {
			t.Errorf("blur %d: %v, want %v; %+v", c.r, got, c.want, q.sharp)
		}
	}
}

// TestFault_V4_Moved: the camera is turned after two minutes, and later back.
func TestFault_V4_Moved(t *testing.T) {
	arithmetic(t)
	turned := false
	m := yardOf(film{sigma: 2, place: func(float64) (int, int) {
		if turned {
			return 57, 31
		}
		return 0, 0
	}})
	var q Quality
	mustBeFine(t, &q, m, 2*time.Minute)
	turned = true
	if took := until(t, &q, m, Moved, true, 20*time.Second, nil); took < 10*time.Second {
		t.Errorf("moved after %v: that may be somebody who passes", took)
	}
	turned = false
	if took := until(t, &q, m, Moved, false, 10*time.Second, nil); took > 5*time.Second {
		t.Errorf("told as moved for %v after it was turned back", took)
	}
	turned = true
	until(t, &q, m, Moved, true, 20*time.Second, nil)
	if took := until(t, &q, m, Moved, false, 10*time.Minute, nil); took < adoptAfter-time.Second || took > adoptAfter+time.Minute {
		t.Errorf("the new view was taken as known after %v", took)
	}
	mustBeFine(t, &q, m, 3*time.Minute)
	turned = false // back to a view that is known
	mustBeFine(t, &q, m, time.Minute)
}

// TestFault_V4_WhatIsNoMove: light, passers-by, small shakes.
func TestFault_V4_WhatIsNoMove(t *testing.T) {
	arithmetic(t)
	for name, m := range map[string]film{
		"a cloud": {sigma: 2, light: func(t float64) float64 { return 1 - 0.5*min(1, max(0, t-120)/5) }},
		"a lorry that hides a third": {sigma: 2, over: func(t float64, x, y int) int {
			if t > 120 && x > 60 && x < 115 {
				return 90 + y%9
			}
			return -1
		}},
		"wind at the mast": {sigma: 2, place: func(t float64) (int, int) { return int(2 * math.Sin(t)), int(1.5 * math.Cos(3*t)) }},
		"a crowd that comes and goes": {sigma: 2, over: func(t float64, x, y int) int {
			if t > 120 && math.Mod(t, 16) < 8 {
				return 60 + (x/9+y/7)%5*20
			}
			return -1
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var q Quality
			f := yardOf(m)
			mustBeFine(t, &q, f, 6*time.Minute)
		})
	}
}

func TestFault_V4_UnderexposedAndTorn(t *testing.T) {
	torn := drawn(3, yard(2))
	for y := 260; y < 480; y++ {
		for x := range 640 {
			copy(torn.Pix[y*1920+3*x:], []byte{0, 135, 0})
		}
	}
	blue := drawn(0, flat(0))
	for i := 0; i < len(blue.Pix); i += 3 {
		blue.Pix[i] = 200
	}
	lawn := drawn(6, func(x, y int) int { return 90 + (x*y)%23 })
	for i := 0; i < len(lawn.Pix); i += 3 {
		lawn.Pix[i], lawn.Pix[i+2] = 0, 0
	}
	for name, c := range map[string]struct {
		frame *Frame
		want  []string
	}{
		"dusk":                      {drawn(2, func(x, y int) int { return 16 + x/40%2*12 + y/40%2*8 }), []string{Underexposed}},
		"torn: the rest is green":   {torn, []string{NoSignal}},
		"a grabber without input":   {blue, []string{NoSignal}},
		"green light and noise":     {lawn, nil},
		"a green wall with a shelf": {greenWall(), nil},
	} {
		var q Quality
		if got := q.Assess(c.frame, true); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v; %+v, %+v", name, got, c.want, Measure(c.frame), q.input)
		}
	}
}

func greenWall() *Frame {
	f := drawn(2, func(x, y int) int { return 120 - 60*b2i(y > 300 && y < 330) })
	for i := 0; i < len(f.Pix); i += 3 {
		f.Pix[i], f.Pix[i+2] = f.Pix[i]/3, f.Pix[i+2]/3
	}
	return f
}

// V7: a frame that waited is told as stale; the pace of the camera and of the wish count, that of inference does not.
func TestFault_V7_Stale(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		interval, wanted time.Duration
		skip             uint64 // frames nobody looked at between two that were
		ages             []time.Duration
		want             []bool
	}{
		"fast camera":      {33 * time.Millisecond, 0, 1, []time.Duration{0, time.Second, 1999 * time.Millisecond, 2100 * time.Millisecond, 1600 * time.Millisecond, 1400 * time.Millisecond}, []bool{false, false, false, true, true, false}},
		"slow inference":   {33 * time.Millisecond, 0, 90, []time.Duration{1900 * time.Millisecond, 2100 * time.Millisecond}, []bool{false, true}},
		"slow camera":      {10 * time.Second, 0, 1, []time.Duration{10 * time.Second, 49 * time.Second, 51 * time.Second}, []bool{false, false, true}},
		"seldom wanted":    {33 * time.Millisecond, 10 * time.Second, 300, []time.Duration{49 * time.Second, 51 * time.Second}, []bool{false, true}},
		"one frame so far": {0, 0, 0, []time.Duration{time.Second, 3 * time.Second}, []bool{false, true}},
	} {
		var q Quality
		f := drawn(3, yard(1))
		for i := range uint64(20) {
			f.Seq, f.At = 1+i*c.skip, now.Add(time.Duration(i*c.skip)*c.interval)
			q.Assess(f, true)
		}
		for i, age := range c.ages {
			if got := q.Stale(f.At.Add(age), c.wanted); got != c.want[i] {
				t.Errorf("%s, %v old: stale %v", name, age, got)
			}
		}
	}
}

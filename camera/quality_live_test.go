package camera

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// liveScenes are what a healthy camera may show for ever.
func liveScenes() map[string]func() *film {
	yardFilm := func(m film) func() *film { return func() *film { return m.ready(1, yard(3)) } }
	const w, h, fps = 64, 48, 10
	return map[string]func() *film{
		"little noise":                     yardFilm(film{w: w, h: h, fps: fps, sigma: 0.5}),
		"noise":                            yardFilm(film{w: w, h: h, fps: fps, sigma: 2}),
		"much noise":                       yardFilm(film{w: w, h: h, fps: fps, sigma: 8}),
		"hardly any noise, coarse JPEG":    yardFilm(film{w: 3 * w / 2, h: 3 * h / 2, fps: fps, sigma: 0.3, quality: 25}),
		"hardly any noise, flicker, JPEG":  yardFilm(film{minutes: 5, w: 2 * w, h: 2 * h, fps: fps, sigma: 0.3, quality: 25, light: func(t float64) float64 { return 1 + 0.01*math.Sin(2*math.Pi*100.03*t) }}),
		"hardly any noise, a walker, JPEG": yardFilm(film{minutes: 5, w: 2 * w, h: 2 * h, fps: fps, sigma: 0.3, quality: 25, over: walker()}),
		"noise, JPEG":                      yardFilm(film{w: w, h: h, fps: fps, sigma: 2, quality: 60}),
		"low light":                        yardFilm(film{w: w, h: h, fps: fps, sigma: 4, light: func(float64) float64 { return 0.35 }}),
		"a day's light in half an hour":    yardFilm(film{w: w, h: h, fps: fps, sigma: 1.5, light: func(t float64) float64 { return 0.75 - 0.35*math.Cos(t/1800*2*math.Pi) }}),
		"mains flicker":                    yardFilm(film{w: w, h: h, fps: fps, sigma: 1, light: func(t float64) float64 { return 1 + 0.03*math.Sin(2*math.Pi*100.03*t) }}),
		"lamps go off and on":              yardFilm(film{w: w, h: h, fps: fps, sigma: 2, light: func(t float64) float64 { return 1 - 0.4*float64(int(t/200)%2) }}),
		"soft shapes":                      func() *film { m := &film{w: w, h: h, fps: fps, sigma: 1.5}; return m.ready(2, hills) },
		"somebody walks about":             yardFilm(film{w: w, h: h, fps: fps, sigma: 2, over: walker()}),
		"somebody stands there for hours":  yardFilm(film{w: w, h: h, fps: fps, sigma: 2, over: stander}),
	}
}

// walker crosses the picture every 20 seconds, in 4.
func walker() func(t float64, x, y int) int {
	last, at := -1.0, 0
	return func(t float64, x, y int) int {
		if t != last { // once a frame, not for each of its points
			last, at = t, int(math.Mod(t, 20)*20)-8
		}
		if x > at && x < at+14 && y > 8 {
			return 30
		}
		return -1
	}
}

// stander comes after three minutes and hides a quarter.
func stander(t float64, x, y int) int {
	if t > 180 && x > 20 && x < 40 && y > 6 {
		return 200
	}
	return -1
}

// TestFault_V3_LiveScenesRaiseNoAlarm: 30 minutes of each scene, told at once by the frames' own time. The frames are small (64×48, of
// JPEG scenes up to 128×96) so that 18,000 of each take a second or a few; two costly scenes last 5 minutes, with -short all do.
func TestFault_V3_LiveScenesRaiseNoAlarm(t *testing.T) {
	for name, make := range liveScenes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var q Quality
			m := make()
			if m.minutes == 0 && !testing.Short() {
				m.minutes = 30
			}
			for range int(max(m.minutes, 5) * 60 * m.fps) {
				if facts := q.Assess(m.next(t), true); facts != nil {
					t.Fatalf("after %.1f s: %v", float64(m.n)/m.fps, facts)
				}
			}
		})
	}
}

// until runs a film until a fact holds (or not) and answers how long that took.
func until(t *testing.T, q *Quality, m *film, fact string, holds bool, most time.Duration, change func(*Frame, int)) time.Duration {
	t.Helper()
	from := m.n
	for i := 0; float64(i)/m.fps <= most.Seconds(); i++ {
		f := m.next(t)
		if change != nil {
			change(f, i)
		}
		if slices.Contains(q.Assess(f, true), fact) == holds {
			return time.Duration(float64(m.n-from) / m.fps * float64(time.Second))
		}
	}
	t.Errorf("%s is not %v within %v", fact, holds, most)
	return most
}

// TestFault_V3_RepeatedThroughAnEncoder: what stands before a picture that is encoded anew each time.
func TestFault_V3_RepeatedThroughAnEncoder(t *testing.T) {
	arithmetic(t)
	for name, c := range map[string]struct {
		live     film
		before   time.Duration // live, before it freezes
		reencode func(f *Frame, i int)
	}{
		"byte by byte":                     {film{sigma: 2}, 0, nil},
		"a few qualities, from the start":  {film{sigma: 2}, 0, func(f *Frame, i int) { recode(t, f, 55+(i*7)%30) }},
		"key frames, from the start":       {film{sigma: 3}, 0, keyFrames(t)},
		"noise of its own, after a minute": {film{sigma: 3}, time.Minute, func(f *Frame, i int) { sprinkle(f, i) }},
		"qualities, after two minutes":     {film{sigma: 2, quality: 80}, 2 * time.Minute, func(f *Frame, i int) { recode(t, f, 60+(i*13)%35) }},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.live
			m.w, m.h, m.fps = 160, 120, 10
			m.ready(5, yard(9))
			var q Quality
			for range int(c.before.Seconds() * m.fps) {
				if facts := q.Assess(m.next(t), true); facts != nil {
					t.Fatalf("live, after %d frames: %v", m.n, facts)
				}
			}
			stuck := slices.Clone(m.next(t).Pix)
			took := until(t, &q, &m, Frozen, true, 10*time.Second, func(f *Frame, i int) {
				copy(f.Pix, stuck)
				if c.reencode != nil {
					c.reencode(f, i)
				}
			})
			t.Logf("frozen after %v: again %v, quiet %v", took, q.frozen.again.on, q.frozen.quiet.on)
			for i := range 600 { // it stays
				f := m.next(t)
				copy(f.Pix, stuck)
				if c.reencode != nil {
					c.reencode(f, i+200)
				}
				if !slices.Contains(q.Assess(f, true), Frozen) {
					t.Fatalf("no longer frozen after %d more frames", i)
				}
			}
			t.Logf("live again after %v", until(t, &q, &m, Frozen, false, 35*time.Second, nil))
		})
	}
}

// keyFrames does to one picture what an H.264 encoder does: a coarse key frame every 20 frames, three that refine it, then nothing changes.
func keyFrames(t *testing.T) func(f *Frame, i int) {
	return func(f *Frame, i int) { recode(t, f, [4]int{40, 60, 80, 90}[min(i%20, 3)]) }
}

// sprinkle changes every fifth pixel by one level, others each time.
func sprinkle(f *Frame, i int) {
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	for k := 0; k < len(f.Pix)/3; k += 1 + rng.IntN(9) {
		for c := range 3 {
			f.Pix[3*k+c] ^= 1
		}
	}
}

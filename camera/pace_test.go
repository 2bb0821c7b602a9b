package camera

import (
	"testing"
	"testing/synctest"
	"time"
)

// taken counts the frames of d.
func taken(t *testing.T, next func() (*Frame, error), release func(*Frame), d time.Duration) (n int) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
		f, err := next()
		if err != nil {
			t.Fatal(err)
		}
		release(f)
	}
	return n
}

func TestSetFPSBoundsALiveCameraWhileItRuns(t *testing.T) {
	for _, configured := range []float64{0, 20} {
		synctest.Test(t, func(t *testing.T) {
			s, ctx, stop := start(t, configured, dev(&fake{interval: 20 * time.Millisecond}))
			defer stop()
			full := max(50-30*min(configured, 1), 0) // 50 a second of the camera, or the configured 20
			next := func() (*Frame, error) { return s.Next(ctx) }
			for _, c := range []struct{ limit, want float64 }{{0, full}, {5, 5}, {0.5, 0.5}, {100, full}, {10, 10}, {0, full}} {
				s.SetFPS(c.limit)
				taken(t, next, s.Release, 3*time.Second) // the tick that was waited for already is kept
				if n := float64(taken(t, next, s.Release, 10*time.Second)) / 10; n < 0.85*c.want || n > 1.15*c.want {
					t.Errorf("configured %v, bound %v: %v frames a second, want %v", configured, c.limit, n, c.want)
				}
			}
		})
	}
}

func TestSetFPSNeverSlowsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx, stop := start(t, 0, dev(&fake{frames: 1000, lossless: true}))
		defer stop()
		s.SetFPS(0.5)
		began := time.Now()
		for range 1000 {
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Release(f)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("1000 frames of a file took %v", d)
		}
	})
}

func TestPeriodIsBounded(t *testing.T) {
	if got := []time.Duration{period(0), period(-1), period(10), period(1e-12)}; got[0] != 0 || got[1] != 0 || got[2] != 100*time.Millisecond || got[3] != time.Hour {
		t.Errorf("%v", got)
	}
}

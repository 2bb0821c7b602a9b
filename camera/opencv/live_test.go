//go:build opencv

package opencv

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"heron/camera"
)

// middleAge is the middle one of the ages at which 50 frames in a row were handed out, since they were sent.
func middleAge(t *testing.T, srv *rtspServer, s *camera.Source, ctx context.Context) time.Duration {
	t.Helper()
	number := number
	if srv.h264 {
		number = numberH264
	}
	ages := make([]time.Duration, 50)
	for i := range ages {
		f := next(t, s, ctx)
		ages[i] = srv.age(time.Now(), number(f))
		s.Release(f)
	}
	slices.Sort(ages)
	return ages[25]
}

// until waits for fifty frames in a row whose middle age is at most this: a loaded machine may need more than one try, a decoder that
// keeps frames back never gets there.
func until(t *testing.T, srv *rtspServer, s *camera.Source, ctx context.Context, most time.Duration) {
	t.Helper()
	var seen []time.Duration
	for {
		age := middleAge(t, srv, s, ctx)
		seen = append(seen, age.Round(100*time.Microsecond))
		if age <= most {
			t.Logf("frames are %v old when they are handed out; %+v", seen, s.Stats())
			return
		}
		if len(seen) == 12 {
			t.Fatalf("frames are %v old when they are handed out, more than %v; %+v", seen, most, s.Stats())
		}
	}
}

// The newest frame is at most two intervals old when it is handed out; as the only decoder's thread is this one's, it is one and a bit.
func TestRTSPNewestFrame(t *testing.T) {
	const interval = 40 * time.Millisecond
	t.Run("jpeg", func(t *testing.T) {
		srv := &rtspServer{frames: rtspFrames(t)}
		s, ctx := source(t, camera.Options{Source: srv.start(t)})
		until(t, srv, s, ctx, interval/2)
	})
	for name, n := range map[string]int{"h264": 1, "h264 in 4 slices": 4} {
		t.Run(name, func(t *testing.T) {
			srv := &rtspServer{h264: true}
			for i := range 12 {
				srv.frames = append(srv.frames, greyH264(320, 240, n, i, luma(i)))
			}
			s, ctx := source(t, camera.Options{Source: srv.start(t)})
			until(t, srv, s, ctx, interval*3/2)
		})
	}
}

func TestCores(t *testing.T) {
	for _, c := range []struct {
		used, piece time.Duration
		want        int
	}{
		{480 * time.Millisecond, time.Second, 1},
		{520 * time.Millisecond, time.Second, 2},
		{1100 * time.Millisecond, time.Second, 3},
		{time.Hour, time.Second, 4},
		{time.Hour, 1, 4},
		{time.Second, 0, 1}, // a stream without times
		{time.Second, -time.Second, 1},
		{0, time.Second, 1}, // a processor's clock that cannot be read
		{-time.Second, time.Second, 1},
	} {
		if got := cores(c.used, c.piece, 4); got != c.want {
			t.Errorf("%v for %v: %d cores, want %d", c.used, c.piece, got, c.want)
		}
	}
}

// A stream that one core does not decode in time is opened once more, for two, in a session that nobody sees the seam of.
func TestLiveStreamThatNeedsMoreCores(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two cores")
	}
	srv := &rtspServer{h264: true}
	for i := range 12 {
		srv.frames = append(srv.frames, greyH264(320, 240, 1, i, luma(i)))
	}
	s, ctx := opened(t, camera.Options{Source: srv.start(t)}, func(ctx context.Context, o camera.Options) (camera.Device, error) {
		d, err := Open(ctx, o)
		if err == nil {
			used := -judgedBy * 24 * time.Millisecond // of 40
			d.(*live).cpu = func() time.Duration { used += judgedBy * 24 * time.Millisecond; return used }
		}
		return d, err
	})
	for last, n := time.Duration(0), 0; n < 4*judgedBy; n++ {
		f := next(t, s, ctx)
		if f.Device < last || numberH264(f) < 0 {
			t.Errorf("frame %d: at %v after %v, shows %d", n, f.Device, last, numberH264(f))
		}
		last = f.Device
		s.Release(f)
	}
	srv.mu.Lock()
	plays := srv.plays
	srv.mu.Unlock()
	if st := s.Stats(); plays != 2 || st.Reopened != 0 || st.ClockJumps != 0 || st.Errors != 0 {
		t.Errorf("opened %d times; %+v", plays, st)
	}
	until(t, srv, s, ctx, 100*time.Millisecond)
}

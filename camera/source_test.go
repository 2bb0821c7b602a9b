package camera

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a device driven by a script. Times are those of the synctest bubble.
type fake struct {
	interval time.Duration // between two frames
	frames   int           // then end; 0 is for ever
	end      error         // what follows the last frame; nil is io.EOF
	lossless bool
	n        int
	started  time.Time
	onRead   func(n int, f *Frame) error
	closed   *int
}

func (d *fake) wait() error {
	if d.frames > 0 && d.n == d.frames {
		if d.end != nil {
			return d.end
		}
		return io.EOF
	}
	if d.started.IsZero() {
		d.started = time.Now()
	}
	d.n++
	if !d.lossless {
		time.Sleep(time.Until(d.started.Add(time.Duration(d.n) * d.interval)))
	}
	return nil
}

func (d *fake) Read(f *Frame) error {
	if err := d.wait(); err != nil {
		return err
	}
	d.fill(f)
	if d.onRead != nil {
		return d.onRead(d.n, f)
	}
	return nil
}

func (d *fake) fill(f *Frame) {
	f.Width, f.Height, f.Stride = 4, 2, 12
	if cap(f.Pix) < 24 {
		f.Pix = make([]byte, 24)
	}
	f.Pix = f.Pix[:24]
	f.Pix[0] = byte(d.n)
}

func (d *fake) Close() error {
	if d.closed != nil {
		*d.closed++
	}
	return nil
}
func (d *fake) Lossless() bool { return d.lossless }

// start runs a source on the devices in turn; the last one is used again and again.
func start(t *testing.T, fps float64, devices ...func() (Device, error)) (*Source, context.Context, func() error) {
	t.Helper()
	n := 0
	s, err := New(Config{Options: Options{Name: "cam", Source: "fake:", FPS: fps}, Open: func(context.Context, Options) (Device, error) {
		d := devices[min(n, len(devices)-1)]
		n++
		return d()
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, ctx, func() error { cancel(); return <-done }
}

func idle(s *Source) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.free)
}

func dev(d Device) func() (Device, error) { return func() (Device, error) { return d, nil } }

func TestNewestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx, stop := start(t, 0, dev(&fake{interval: 10 * time.Millisecond}))
		for range 20 {
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if age := time.Since(f.At); age > 10*time.Millisecond {
				t.Errorf("frame %d is %v old", f.Seq, age)
			}
			time.Sleep(35 * time.Millisecond) // the consumer is slower than the camera
			s.Release(f)
		}
		st := s.Stats()
		if st.State != Running || st.Read < 65 || st.Dropped < 45 || st.Read-st.Dropped > 22 || !st.Live {
			t.Errorf("%+v", st)
		}
		if n := idle(s); n > 3 {
			t.Errorf("%d buffers lie about", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		for { // at most the ready one remains
			if _, err := s.Next(context.Background()); err != nil {
				if err != ErrStopped {
					t.Error(err)
				}
				return
			}
		}
	})
}

func TestPaceKeepsTheGrid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx, stop := start(t, 10, dev(&fake{interval: 7 * time.Millisecond}))
		defer stop()
		var first time.Time
		for i := range 50 {
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = time.Now()
			}
			if off := time.Since(first) - time.Duration(i)*100*time.Millisecond; off != 0 {
				t.Fatalf("tick %d is off by %v", i, off)
			}
			if age := time.Since(f.At); age > 7*time.Millisecond {
				t.Errorf("frame at tick %d is %v old", i, age)
			}
			time.Sleep(time.Duration(i%90) * time.Millisecond) // jitter below the period must not add up
			s.Release(f)
		}
	})
}

func TestPaceAfterAPauseHasNoBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx, stop := start(t, 10, dev(&fake{interval: 10 * time.Millisecond}))
		defer stop()
		next := func() {
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Release(f)
		}
		next()
		time.Sleep(5 * time.Second)
		begin := time.Now()
		for range 11 {
			next()
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("11 frames after a pause took %v, want 1 s", d)
		}
	})
}

func TestLosslessHandsOnEveryFrameOnce(t *testing.T) {
	for _, fps := range []float64{0, 5} {
		synctest.Test(t, func(t *testing.T) {
			closed := 0
			s, ctx, stop := start(t, fps, dev(&fake{lossless: true, frames: 30, closed: &closed}))
			begin := time.Now()
			for i := range 30 {
				f, err := s.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if int(f.Pix[0]) != i+1 || f.Seq != uint64(i+1) {
					t.Fatalf("got frame %d, number %d, as number %d", f.Pix[0], f.Seq, i+1)
				}
				if i == 3 { // a consumer that takes its time is no stall
					time.Sleep(time.Minute)
					if st := s.Stats(); st.FrameAge != 0 || st.Reading != 0 {
						t.Errorf("waiting for the consumer looks like a stall: %+v", st)
					}
					begin = begin.Add(time.Minute)
				}
				s.Release(f)
			}
			if fps == 5 && time.Since(begin) < 5*time.Second {
				t.Errorf("30 frames at 5 a second took %v", time.Since(begin))
			}
			for range 2 {
				if _, err := s.Next(ctx); err != io.EOF {
					t.Errorf("after the last frame: %v", err)
				}
			}
			if st := s.Stats(); st.State != Ended || st.Dropped != 0 || st.Read != 30 || st.Live || closed != 1 {
				t.Errorf("%+v, closed %d", st, closed)
			}
			if err := stop(); err != io.EOF {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

func TestReopensWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opens := []time.Time{}
		closed := 0
		s, ctx, stop := start(t, 0, func() (Device, error) {
			opens = append(opens, time.Now())
			if len(opens) <= 9 {
				return nil, errors.New("no such device")
			}
			return &fake{interval: 10 * time.Millisecond, frames: 3, end: errors.New("unplugged"), closed: &closed}, nil
		})
		defer stop()
		time.Sleep(time.Second)
		if st := s.Stats(); st.State != Reopening || st.LastError != "open: no such device" || st.FrameAge != -1 || st.Errors == 0 {
			t.Errorf("%+v", st)
		}
		for range 3 {
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.Release(f)
		}
		want := []time.Duration{100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000}
		for i, w := range want {
			if got := opens[i+1].Sub(opens[i]); got != w*time.Millisecond {
				t.Errorf("wait %d was %v, want %v ms", i, got, int64(w))
			}
		}
		synctest.Wait()
		time.Sleep(time.Millisecond)
		if st := s.Stats(); st.State != Reopening || st.LastError != "read: unplugged" || closed != 1 || st.Errors != 10 || st.Reopened != 9 {
			t.Errorf("%+v, closed %d", st, closed)
		}
	})
}

func TestTemporaryFailuresAreForgiven(t *testing.T) {
	for _, c := range []struct {
		inARow   int
		lossless bool
		reopened bool
	}{{3, false, false}, {maxInARow, false, false}, {maxInARow + 1, false, true}, {100, true, false}} {
		synctest.Test(t, func(t *testing.T) {
			d := &fake{interval: time.Millisecond, lossless: c.lossless, onRead: func(n int, _ *Frame) error {
				if n > 5 && n <= 5+c.inARow {
					return fmt.Errorf("frame %d: %w", n, ErrTemporary)
				}
				return nil
			}}
			s, ctx, stop := start(t, 0, dev(d))
			defer stop()
			for {
				f, err := s.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				n := f.Pix[0]
				s.Release(f)
				if n > 110 {
					break
				}
			}
			if st := s.Stats(); (st.Reopened > 0) != c.reopened || st.Errors < uint64(c.inARow) {
				t.Errorf("%+v: %+v", c, st)
			}
		})
	}
}

// V2: a read that blocks for ever. Stats must tell, Run must end, Next must obey its context.
func TestFault_V2_ReadBlocksForEver(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s, err := New(Config{Options: Options{Name: "cam", Source: "fake:"}, StopTimeout: 50 * time.Millisecond,
		Open: func(context.Context, Options) (Device, error) {
			return &fake{onRead: func(n int, _ *Frame) error {
				if n == 3 {
					<-release
				}
				return nil
			}}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); s.Stats().Reading < 20*time.Millisecond; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", s.Stats())
		}
	}
	if st := s.Stats(); st.Read != 2 || st.FrameAge < 20*time.Millisecond {
		t.Errorf("%+v", st)
	}
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("Run says nothing about the driver that it left behind")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run waits for a driver that hangs")
	}
	_, _ = s.Next(context.Background()) // the frame that was ready
	if _, err := s.Next(context.Background()); err != ErrStopped {
		t.Errorf("Next after the end: %v", err)
	}
}

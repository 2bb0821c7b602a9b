package camera

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// grabber is a camera whose frames are decoded only on demand.
type grabber struct {
	fake
	cost    time.Duration // of decoding
	decoded int
	at      time.Time
}

func (d *grabber) Grab() error {
	err := d.wait()
	d.at = time.Now()
	return err
}

func (d *grabber) Read(f *Frame) error {
	time.Sleep(d.cost)
	d.fill(f)
	f.At = d.at
	d.decoded++
	return nil
}

// Only frames that can be the newest one when the consumer comes are decoded, and none that is handed on is older than two intervals.
func TestGrabberDecodesWhatIsWanted(t *testing.T) {
	ms := time.Millisecond
	for name, c := range map[string]struct {
		fps         float64
		interval    time.Duration
		busy        []time.Duration // of the consumer, in turn
		mostDecoded float64         // per frame handed on
		leastRate   float64         // handed on a second
	}{
		"camera faster than the pace": {fps: 5, interval: 33 * ms, busy: []time.Duration{10 * ms}, mostDecoded: 1.2, leastRate: 4.9},
		"much faster":                 {fps: 2, interval: 4 * ms, busy: []time.Duration{10 * ms}, mostDecoded: 2, leastRate: 1.9},
		"every frame":                 {interval: 40 * ms, busy: []time.Duration{6 * ms}, mostDecoded: 1.01, leastRate: 24},
		"slow consumer":               {interval: 10 * ms, busy: []time.Duration{100 * ms}, mostDecoded: 6, leastRate: 9},
		"slower than two frames":      {interval: 33 * ms, busy: []time.Duration{40 * ms}, mostDecoded: 1.5, leastRate: 20},
		"uneven consumer":             {interval: 20 * ms, busy: []time.Duration{10 * ms, 90 * ms, 30 * ms}, mostDecoded: 4, leastRate: 18},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &grabber{fake: fake{interval: c.interval}, cost: 2 * ms}
				s, ctx, stop := start(t, c.fps, dev(d))
				begin := time.Now()
				const frames = 300
				for i := range frames {
					f, err := s.Next(ctx)
					if err != nil {
						t.Fatal(err)
					}
					if age := time.Since(f.At); age > 2*c.interval {
						t.Errorf("frame %d is %v old", f.Seq, age)
					}
					time.Sleep(c.busy[i%len(c.busy)])
					s.Release(f)
				}
				rate := frames / time.Since(begin).Seconds()
				st := s.Stats()
				if err := stop(); err != nil {
					t.Error(err)
				}
				if ratio := float64(d.decoded) / frames; ratio > c.mostDecoded || rate < c.leastRate {
					t.Errorf("%.2f decoded per frame used, %.1f a second", ratio, rate)
				}
				if st.Read-st.Dropped > frames+2 || // one may be ready, one in decoding
					st.Read-st.Dropped < frames {
					t.Errorf("counts do not add up: %+v", st)
				}
			})
		})
	}
}

// What came and cannot be decoded is no frame: it is counted by itself, whichever way the camera hands it over.
func TestDamagedFramesAreNoFrames(t *testing.T) {
	for name, c := range map[string]struct {
		grabs   bool
		err     error // of every second frame
		damaged uint64
	}{
		"whole, undecoded":             {true, nil, 0},
		"damaged, undecoded":           {true, ErrDamaged, 20},
		"of another kind, undecoded":   {true, fmt.Errorf("no JPEG: %w", ErrTemporary), 20},
		"damaged, decoded by a driver": {false, fmt.Errorf("x.jpg: %w", ErrDamaged), 20},
		"nothing came":                 {false, ErrTemporary, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				second := func() error {
					if n++; n%2 == 0 {
						return c.err
					}
					return nil
				}
				d := dev(&fake{interval: 10 * time.Millisecond, onRead: func(int, *Frame) error { return second() }})
				if c.grabs {
					d = dev(&spoilt{grabber{fake: fake{interval: 10 * time.Millisecond}}, second})
				}
				s, ctx, stop := start(t, 0, d)
				for range 21 {
					f, err := s.Next(ctx)
					if err != nil {
						t.Fatal(err)
					}
					s.Release(f)
				}
				st := s.Stats()
				if err := stop(); err != nil {
					t.Error(err)
				}
				if st.Read != 21 || st.Damaged != c.damaged || st.Reopened > 0 || st.Dropped > 0 {
					t.Errorf("%+v, want 21 frames and %d damaged", st, c.damaged)
				}
			})
		})
	}
}

// spoilt is a grabber that cannot decode each frame.
type spoilt struct {
	grabber
	fails func() error
}

func (d *spoilt) Read(f *Frame) error {
	if err := d.fails(); err != nil {
		return err
	}
	return d.grabber.Read(f)
}

// V8: cameras at 1 and 240 frames a second, and bursts: bounded, dropped frames counted.
func TestFault_V8_RatesAndBursts(t *testing.T) {
	for name, interval := range map[string]time.Duration{"1 fps": time.Second, "240 fps": time.Second / 240, "burst": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &fake{interval: interval}
				if interval == 0 { // 50 frames at once, then a pause
					d.onRead = func(n int, _ *Frame) error {
						if n%50 == 0 {
							time.Sleep(200 * time.Millisecond)
						}
						return nil
					}
				}
				s, ctx, stop := start(t, 10, dev(d))
				defer stop()
				last := uint64(0)
				for range 20 {
					f, err := s.Next(ctx)
					if err != nil {
						t.Fatal(err)
					}
					if f.Seq <= last {
						t.Errorf("frame %d after %d", f.Seq, last)
					}
					last = f.Seq
					s.Release(f)
				}
				if st := s.Stats(); st.Read < last || st.Read-st.Dropped > 21 || idle(s) > 4 {
					t.Errorf("%+v, %d buffers", st, idle(s))
				}
			})
		})
	}
}

// V7: the driver's clock goes back and jumps; frames carry our own, and it is counted.
func TestFault_V7_DriverClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fake{interval: 10 * time.Millisecond, onRead: func(n int, f *Frame) error {
			f.Device = time.Duration(n) * 10 * time.Millisecond
			switch {
			case n >= 20:
				f.Device += time.Hour
			case n >= 10:
				f.Device -= 50 * time.Millisecond
			}
			return nil
		}}
		s, ctx, stop := start(t, 0, dev(d))
		defer stop()
		var last time.Time
		for range 30 {
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if !last.IsZero() && f.At.Sub(last) != 10*time.Millisecond {
				t.Errorf("frame %d came %v after the one before", f.Seq, f.At.Sub(last))
			}
			last = f.At
			s.Release(f)
		}
		if st := s.Stats(); st.ClockJumps != 2 {
			t.Errorf("%d jumps counted, want 2", st.ClockJumps)
		}
	})
}

// V7: a driver that tells capture times is believed, until its clock does what no clock may.
func TestFault_V7_CaptureTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now().Add(-time.Second)
		d := &fake{interval: 10 * time.Millisecond, onRead: func(n int, f *Frame) error {
			f.At = time.Now().Add(-13 * time.Millisecond)
			switch n {
			case 5:
				f.At = began // long before the frame before
			case 7:
				f.At = time.Now().Add(time.Hour)
			case 9:
				f.At = time.Now().Add(-time.Hour)
			}
			return nil
		}}
		s, ctx, stop := start(t, 0, dev(d))
		defer stop()
		last := began
		for n := 1; n <= 12; n++ {
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want := 13 * time.Millisecond
			switch n {
			case 5, 7, 9:
				want = 0 // the time of arrival
			case 6, 8, 10:
				want = 10*time.Millisecond - 1 // taken before the one before it arrived: time must not go back
			}
			if age := time.Since(f.At); age != want || !f.At.After(last) {
				t.Errorf("frame %d: %v old, want %v", n, age, want)
			}
			last = f.At
			s.Release(f)
		}
	})
}

// V5: the resolution changes while the camera runs.
func TestFault_V5_ResolutionChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fake{interval: 10 * time.Millisecond, onRead: func(n int, f *Frame) error {
			if n > 10 {
				f.Width, f.Height, f.Stride, f.Pix = 8, 6, 24, make([]byte, 144)
			}
			if n == 20 {
				f.Pix = f.Pix[:100] // a driver's mistake must not become a read beyond the pixels
			}
			return nil
		}}
		s, ctx, stop := start(t, 0, dev(d))
		defer stop()
		for i := range 25 {
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Pix) < f.Stride*f.Height {
				t.Errorf("frame %d: %d bytes for %d×%d", i, len(f.Pix), f.Width, f.Height)
			}
			s.Release(f)
		}
		if st := s.Stats(); st.Width != 8 || st.Height != 6 || st.Reopened != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestNoAllocationPerFrame(t *testing.T) {
	s, err := New(Config{Options: Options{Name: "cam", Source: "fake:"}, Open: nil})
	if err == nil {
		t.Fatal("a source without an opener")
	}
	d := &fake{lossless: true}
	ctx := t.Context()
	s, err = New(Config{Options: Options{Name: "cam", Source: "fake:"}, Open: func(context.Context, Options) (Device, error) { return d, nil }})
	if err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(200, func() {
		if err := s.one(ctx, d, true); err != nil {
			t.Fatal(err)
		}
		f, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Release(f)
	})
	if allocs > 0 {
		t.Errorf("%v allocations per frame", allocs)
	}
}

//go:build opencv

package opencv

import (
	"context"
	"errors"
	"testing"
	"time"

	"heron/camera"
)

// interrupted is a V4L2 camera whose reads fail at once now and then, as OpenCV's do when Go's scheduler sends a signal into select();
// what such a failure means is what capture says.
type interrupted struct {
	capture
	n, inARow int
	took      time.Duration
}

func (d *interrupted) Read(f *camera.Frame) error {
	d.n++
	time.Sleep(time.Millisecond)
	if d.n%(d.inARow+1) != 0 {
		return d.failed(errNoPicture, d.took)
	}
	*f = camera.Frame{Pix: append(f.Pix[:0], 1, 2, 3), Width: 1, Height: 1, Stride: 3}
	return nil
}
func (d *interrupted) Close() error { return nil }

// The EINTR trap: reads that fail at once are tried again on the same device, up to ten in a row; a read that took as long as the
// select's time limit, or failures without an end, open the camera anew.
func TestFault_V4L2_InterruptedReadsAreTriedAgain(t *testing.T) {
	for _, c := range []struct {
		inARow   int
		took     time.Duration
		reopened bool
	}{{1, time.Millisecond, false}, {9, v4l2Timeout/2 - time.Millisecond, false}, {1 << 30, time.Millisecond, true}, {1, v4l2Timeout, true}} {
		opened := 0
		s, err := camera.New(camera.Config{Options: camera.Options{Name: "cam", Source: "v4l2:/dev/video0"}, Open: func(context.Context, camera.Options) (camera.Device, error) {
			opened++
			return &interrupted{capture: capture{what: "v4l2: /dev/video0", retry: v4l2Timeout / 2}, inARow: c.inARow, took: c.took}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for i := 0; i < 50 && !c.reopened; i++ {
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err, s.Stats())
			}
			s.Release(f)
		}
		for c.reopened && s.Stats().Reopened == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
		<-done
		if st := s.Stats(); c.reopened != (st.Reopened > 0) || c.reopened != (opened > 1) || st.Errors == 0 {
			t.Errorf("%d in a row of %v: opened %d times, %+v", c.inARow, c.took, opened, st)
		}
	}
	var d interrupted
	d.retry = v4l2Timeout / 2
	if err := d.failed(errNoPicture, time.Millisecond); !errors.Is(err, camera.ErrTemporary) {
		t.Error(err)
	}
}

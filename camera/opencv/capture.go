//go:build opencv

package opencv

import (
	"errors"
	"fmt"
	"io"
	"time"

	"gocv.io/x/gocv"

	"heron/camera"
)

// capture is a camera.Device whose frames OpenCV decodes as they come.
type capture struct {
	vc            *gocv.VideoCapture
	what          string                             // for messages, without secrets
	recorded      bool                               // no frame is lost, the end is io.EOF
	again         func() (*gocv.VideoCapture, error) // opens a looping file anew; nil does not loop
	clock         bool                               // the backend has timestamps
	monotonic     bool                               // … of CLOCK_MONOTONIC, at capture
	retry         time.Duration                      // V4L2: what fails sooner than this is tried again
	width, height int                                // of the last frame: what the next one is expected to have
	frames        int                                // of this round through a recording
	total         int                                // frames that a file says it has, more or less; 0 is unknown
	missed        int                                // reads in a row that gave nothing
	seq           uint64
}

// Lossless says that a recording's frames wait for the consumer.
func (c *capture) Lossless() bool { return c.recorded }

// Read waits for the next frame; OpenCV writes it where f.Pix is.
func (c *capture) Read(f *camera.Frame) error {
	for {
		began := time.Now()
		err := fill(f, c.width, c.height, c.vc.Read)
		if err == nil {
			c.note(f)
			return nil
		}
		if err := c.failed(err, time.Since(began)); err != nil {
			return err
		}
	}
}

// readOn is how many reads in a row may give nothing before a file is taken to be at its end: FFmpeg gives up at a damaged place, and goes
// on behind it when it is asked again.
const readOn = 4

func (c *capture) note(f *camera.Frame) {
	c.frames++
	c.missed = 0
	c.seq++
	c.width, c.height, f.Seq = f.Width, f.Height, c.seq
	c.stamped(f)
}

// failed says what a read without a picture means; nil is: read again.
func (c *capture) failed(err error, took time.Duration) error {
	switch {
	case !errors.Is(err, errNoPicture):
		return fmt.Errorf("%s: %w", c.what, err)
	case c.recorded && c.total > 0 && c.missed < readOn:
		c.missed++
		return nil
	case c.recorded && c.frames == 0:
		return fmt.Errorf("%s: not one frame can be decoded", c.what)
	case c.recorded && c.frames < c.total*9/10-1:
		err := fmt.Errorf("%s: %d of about %d frames can be read, the rest is damaged or missing: %w", c.what, c.frames, c.total, camera.ErrTemporary)
		c.total = 0 // say it once; the next read ends the round
		return err
	case c.recorded && c.again != nil:
		return c.rewind()
	case c.recorded:
		return io.EOF
	case took < c.retry:
		// OpenCV's V4L2 select() gives up on the signal that Go's scheduler sends (EINTR): not the camera's fault.
		return fmt.Errorf("%s: no frame: %w", c.what, camera.ErrTemporary)
	case c.seq == 0:
		return fmt.Errorf("%s: it was opened, and not one frame came", c.what)
	default:
		return fmt.Errorf("%s: the stream has ended, or gives no more frames", c.what)
	}
}

// rewind opens a looping file anew: unlike seeking, that works with every container.
func (c *capture) rewind() error {
	vc, err := c.again()
	if err != nil {
		return err
	}
	c.vc.Close()
	c.vc, c.frames, c.missed = vc, 0, 0
	return nil
}

// Close frees the capture.
func (c *capture) Close() error { return c.vc.Close() }

// undecoded is a camera.Grabber: OpenCV hands over each JPEG as it came, and only those that are wanted are decoded.
type undecoded struct {
	*capture
	jpeg    gocv.Mat // the grabbed frame: bytes in one row
	grabbed bool
}

func newUndecoded(c *capture) *undecoded { return &undecoded{capture: c, jpeg: gocv.NewMat()} }

// Grab waits for the next JPEG.
func (u *undecoded) Grab() error {
	began := time.Now()
	u.grabbed = u.vc.Read(&u.jpeg) && !u.jpeg.Empty()
	if !u.grabbed {
		return u.failed(errNoPicture, time.Since(began))
	}
	return nil
}

// Read decodes the grabbed JPEG; without one it grabs first. A damaged JPEG costs that frame only.
func (u *undecoded) Read(f *camera.Frame) error {
	if !u.grabbed {
		if err := u.Grab(); err != nil {
			return err
		}
	}
	u.grabbed = false
	data, err := u.jpeg.DataPtrUint8()
	if err == nil {
		err = decode(f, u.width, u.height, data)
	}
	if err != nil {
		return fmt.Errorf("%s: damaged JPEG of %d bytes: %w", u.what, len(data), camera.ErrDamaged)
	}
	u.note(f)
	return nil
}

// Close frees the capture and its Mat.
func (u *undecoded) Close() error {
	return errors.Join(u.jpeg.Close(), u.capture.Close())
}

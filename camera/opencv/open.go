//go:build opencv

package opencv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"gocv.io/x/gocv"

	"heron/camera"
)

// Open opens the sources v4l2:, gstreamer:, rtsp:, rtsps:, http:, https: and file:. It may take as long as OpenTimeout.
func Open(ctx context.Context, o camera.Options) (camera.Device, error) {
	if !serves(o.Source) {
		return nil, camera.ErrNotMine
	}
	setUp()
	if o.OpenTimeout <= 0 {
		o.OpenTimeout = openTimeout
	}
	if o.ReadTimeout <= 0 {
		o.ReadTimeout = readTimeout
	}
	switch camera.Scheme(o.Source) {
	case "v4l2":
		return openV4L2(o)
	case "gstreamer":
		return openPipeline(o)
	case "file":
		return openFile(o)
	default:
		return openStream(ctx, o)
	}
}

// openV4L2 asks for MJPEG, which every USB camera has, and takes it undecoded.
func openV4L2(o camera.Options) (camera.Device, error) {
	a, err := camera.ParseAddress(o.Source)
	if err != nil {
		return nil, err
	}
	if err := probe(a.Path); err != nil {
		return nil, err
	}
	vc, err := gocv.OpenVideoCaptureWithAPI(a.Path, gocv.VideoCaptureV4L2)
	if err != nil {
		return nil, fmt.Errorf("v4l2: %s gives no pictures: it is in use by another program, or no capture device", a.Path)
	}
	vc.Set(gocv.VideoCaptureFOURCC, vc.ToCodec("MJPG"))
	vc.Set(gocv.VideoCaptureBufferSize, 1)
	for property, value := range map[gocv.VideoCaptureProperties]float64{
		gocv.VideoCaptureFrameWidth: float64(o.Width), gocv.VideoCaptureFrameHeight: float64(o.Height)} {
		if value > 0 {
			vc.Set(property, value)
		}
	}
	c := &capture{vc: vc}
	c.what, c.clock, c.monotonic = "v4l2: "+a.Path, true, true
	c.retry = v4l2Timeout / 2
	if strings.EqualFold(vc.CodecString(), "MJPG") {
		vc.Set(gocv.VideoCaptureConvertRGB, 0)
		return newUndecoded(c), nil
	}
	return c, nil
}

// probe says what OpenCV does not: whether there is a device and we may open it.
func probe(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("v4l2: %s is in use by another program (fuser %s names it): %w", path, path, syscall.EBUSY)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("v4l2: no device %s: see ls -l /dev/v4l/by-id: %w", path, fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("v4l2: no permission to open %s: add the user to the group video: %w", path, fs.ErrPermission)
	case err != nil:
		return fmt.Errorf("v4l2: %w", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return fmt.Errorf("v4l2: %s is not a camera device", path)
	}
	return nil
}

func openPipeline(o camera.Options) (camera.Device, error) {
	full, recorded, err := pipeline(strings.TrimPrefix(o.Source, "gstreamer:"))
	if err != nil {
		return nil, err
	}
	// No time limits here: OpenCV's GStreamer backend refuses to open with them.
	vc, err := gocv.OpenVideoCaptureWithAPI(full, gocv.VideoCaptureGstreamer)
	if err != nil {
		return nil, errors.New("gstreamer: the pipeline does not start: an element is missing or the source does not answer; try it with gst-launch-1.0 -v PIPELINE ! fakesink")
	}
	c := &capture{vc: vc}
	c.what, c.recorded = "gstreamer", recorded
	return c, nil
}

func openFile(o camera.Options) (camera.Device, error) {
	path, loop, err := camera.ParseRecording(o.Source)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("file: no such video file: %s: %w", path, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("file: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("file: %s is not a regular file (a folder of pictures is pictures:%s)", path, path)
	}
	again := func() (*gocv.VideoCapture, error) {
		vc, err := openFFmpeg("file:"+path, o)
		if err != nil {
			return nil, fmt.Errorf("file: %s is not a video that can be decoded", path)
		}
		return vc, nil
	}
	vc, err := again()
	if err != nil {
		return nil, err
	}
	c := &capture{vc: vc}
	c.what, c.recorded, c.clock = "file: "+path, true, true
	c.total = int(vc.Get(gocv.VideoCaptureFrameCount))
	if loop {
		c.again = again
	}
	return c, nil
}

// openFFmpeg never tells the cause of a failure; GoCV's error is not passed on because it quotes the URL with its password.
func openFFmpeg(url string, o camera.Options) (*gocv.VideoCapture, error) {
	return gocv.OpenVideoCaptureWithAPIParams(url, gocv.VideoCaptureFFmpeg, []gocv.VideoCaptureProperties{
		propOpenTimeout, gocv.VideoCaptureProperties(o.OpenTimeout.Milliseconds()),
		propReadTimeout, gocv.VideoCaptureProperties(o.ReadTimeout.Milliseconds())})
}

// Properties of OpenCV that GoCV does not name.
const (
	propOpenTimeout gocv.VideoCaptureProperties = 53
	propReadTimeout gocv.VideoCaptureProperties = 54
)

// openStream takes a JPEG stream undecoded: frames that nobody wants cost 0.06 ms then, and a change of resolution is followed, which
// OpenCV 4.6's FFmpeg backend does not (it goes on with the old size). Recordings, of which every frame is wanted, leave the decoding
// to FFmpeg: 1.4 ms a frame at 640×480 instead of 1.9.
func openStream(ctx context.Context, o camera.Options) (camera.Device, error) {
	began := time.Now()
	l, err := openLive(camera.Redact(o.Source), func(cores int) (*gocv.VideoCapture, error) { return openFor(cores, o.Source, o) })
	if err != nil {
		why := err.Error()
		if why == "" {
			why = diagnose(ctx, o, time.Since(began))
		}
		return nil, fmt.Errorf("%s: no video stream: %s", camera.Redact(o.Source), why)
	}
	codec := strings.ToUpper(l.vc.CodecString())
	if codec == "MJPG" || codec == "MJPE" {
		l.vc.Set(gocv.VideoCaptureFormat, -1)
		return newUndecoded(l.capture), nil
	}
	return l, nil
}

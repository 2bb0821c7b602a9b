//go:build opencv

package opencv

import (
	"syscall"
	"time"
	"unsafe"

	"gocv.io/x/gocv"

	"heron/camera"
)

// What OpenCV 4.6 gives as CAP_PROP_POS_MSEC, and what it is worth:
//   - V4L2: the buffer's timestamp. Drivers take it from CLOCK_MONOTONIC when the frame starts or ends (uvcvideo, vivid, bcm2835): a capture time.
//   - FFmpeg: the packet's presentation time since the stream began. Good enough to see a stream's clock jump; as a capture time
//     it lacks the moment at which the stream began (RTCP's is not given), so the frame's time is that of its arrival.
//   - GStreamer: the position of the pipeline when asked, not that of the frame. Not used.
//
// stamped notes the driver's own time of the newest frame.
func (c *capture) stamped(f *camera.Frame) {
	if !c.clock {
		return
	}
	f.Device = time.Duration(c.vc.Get(gocv.VideoCapturePosMsec) * float64(time.Millisecond))
	if c.monotonic && f.Device > 0 {
		f.At = captured(f.Device, monotonic(), time.Now())
	}
}

// captured is the capture time of a buffer with this stamp; zero, which is the time of arrival, where the stamp is of another clock, or wrong.
func captured(stamp, mono time.Duration, now time.Time) time.Time {
	age := mono - stamp
	if age < 0 || age > oldestFrame {
		return time.Time{}
	}
	return now.Add(-age)
}

// oldestFrame is the greatest age of a frame that is believed: a driver has few buffers.
const oldestFrame = 10 * time.Second

// monotonic is CLOCK_MONOTONIC; 0 where it cannot be read.
func monotonic() time.Duration { return clock(1) }

// threadTime is what this thread has had of the processor, CLOCK_THREAD_CPUTIME_ID.
func threadTime() time.Duration { return clock(3) }

func clock(id uintptr) time.Duration {
	var ts syscall.Timespec
	if _, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0); e != 0 {
		return 0
	}
	return time.Duration(ts.Nano())
}

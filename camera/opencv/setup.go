//go:build opencv

package opencv

// void heron_quieten(void);
import "C"

import (
	"math"
	"os"
	"strconv"
	"sync"
	"time"

	"gocv.io/x/gocv"
)

const (
	openTimeout = 10 * time.Second // where Options leaves them open
	readTimeout = 5 * time.Second
)

// setUp prepares the process, once, before OpenCV is first used: variables that OpenCV reads on its own. What the user has set stays.
var setUp = sync.OnceFunc(func() {
	C.heron_quieten()
	for key, value := range map[string]string{
		"OPENCV_FFMPEG_LOGLEVEL":            "-8", // AV_LOG_QUIET
		"OPENCV_FFMPEG_CAPTURE_OPTIONS":     "rtsp_flags;prefer_tcp",
		"OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": strconv.Itoa(int(math.Ceil(v4l2Timeout.Seconds()))),
	} {
		if os.Getenv(key) == "" {
			os.Setenv(key, value)
		}
	}
	gocv.SetNumThreads(1) // one resize is too small to be divided: threads would cost more than they save, and take the models' cores
})

// v4l2Timeout is how long OpenCV waits for a V4L2 frame; whole seconds.
const v4l2Timeout = 5 * time.Second

// Version is OpenCV's own.
func Version() string { return gocv.OpenCVVersion() }

// Package opencv is the camera driver on OpenCV's videoio through GoCV: V4L2, GStreamer pipelines, RTSP, MJPEG over HTTP, video files.
//
// It is built with the tag opencv; without it every source of its schemes answers errors.ErrUnsupported and the program runs on.
// A capture belongs to the one goroutine that reads it. Nothing here can cancel a call into OpenCV: a capture that hangs costs the process.
package opencv

import (
	"slices"

	"heron/camera"
)

// serves says whether a source is of this driver's schemes.
func serves(source string) bool {
	return slices.Contains([]string{"v4l2", "gstreamer", "rtsp", "rtsps", "http", "https", "file"}, camera.Scheme(source))
}

package cli

import (
	"strings"
	"testing"
)

// The next step fits what was said, and not what happens to stand in an address.
func TestCameraNext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, said, want string }{
		{"rtsp://10.0.0.7:40123/cam", "open: rtsp://10.0.0.7:40123/cam: no video stream: the server answers 405 Method Not Allowed to OPTIONS", "the address of its stream"},
		{"rtsp://silent.example/element", "open: rtsp://silent.example/element: no video stream: 401: the camera refuses the user or the password", "credentials.username"},
		{"rtsp://h/404", "open: rtsp://h/404: no video stream: the server answers 503 to DESCRIBE", "busy or still starting"},
		{"rtsp://h/", "open: rtsp://h/: no video stream: the server answers 453 Not Enough Bandwidth to SETUP", "who else looks at it"},
		{"rtsp://h/", "open: rtsp://h/: no video stream: the server answers 454 Session Not Found to PLAY", "restart"},
		{"rtsp://h/", "read: rtsp://h/: the stream has ended, or gives no more frames", "ffplay"},
		{"rtsp://h/", "the server answers but offers no video", "this one has none"},
		{"rtsp://h/", "read: rtsp://h/: its picture changes from 640×480 to 320×240", "fixed size"},
		{"http://h/", "open: http://h/: the server answers 500 Internal Server Error", "restart the camera"},
		{"http://h/", "open: http://h/: the server answers 403 Forbidden", "this user"},
		{"http://h/", "open: http://h/: what comes (text/html) is no video stream", "in a browser"},
		{"http://h/", "open: http://h/: what comes is one picture, not a stream: write snapshot+http:// to have it fetched again and again", "change source"},
		{"snapshot+http://h/", "read: http://h/: the server answers 304 Not Modified", "the address of its stream"},
		{"snapshot+http://h/", "http://h/: what comes (image/png, 12 bytes) is no JPEG: temporary read failure", "JPEG"},
		{"snapshot+https://h/", "read: https://h/: the camera's certificate is not trusted: add its authority", "openssl"},
		{"snapshot+http://h:8404/", "read: http://h:8404/: connection refused", "ping"},
		{"usb:ABC", "v4l2: /dev/video0 is in use by another program", "stop what uses it"},
		{"csi:", "GStreamer has no element libcamerasrc: install gstreamer1.0-libcamera", "install gstreamer1.0-libcamera"},
		{"gstreamer:x ! y", "GStreamer has no element h264parse: install gstreamer1.0-plugins-bad", "install gstreamer1.0-plugins-bad, or correct the pipeline"},
		{"gstreamer:x ! y", "gstreamer: the pipeline does not start: an element is missing or the source does not answer", "correct the pipeline"},
		{"v4l2:/dev/video0", "v4l2: /dev/video0 gives no pictures", "heron camera list"},
		{"file:/x.mp4", "open: file: /x.mp4 is not a video that can be decoded", "ffprobe"},
	} {
		if next := cameraNext(c.source, c.said); !strings.Contains(next, c.want) || overNetwork(c.source) && strings.Contains(next, "camera list") {
			t.Errorf("%s: %q, want %q", c.said, next, c.want)
		}
	}
}

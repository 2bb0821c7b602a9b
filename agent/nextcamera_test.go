package agent

import (
	"strings"
	"testing"

	"heron/vision"
)

// A network camera that answers has good cable and power, whatever it answers.
func TestNextForCamera(t *testing.T) {
	t.Parallel()
	cam := Camera{Name: "gate", Source: "rtsp://u:geheim@10.0.0.7:401/cam"}
	for said, want := range map[string]string{
		"open: rtsp://10.0.0.7:401/cam: no video stream: 401: the camera refuses the user or the password":                      "heron camera test gate",
		"open: rtsp://10.0.0.7:401/cam: no video stream: the server answers 453 Not Enough Bandwidth to SETUP":                  "heron camera test gate",
		"read: http://10.0.0.7/x: what comes (text/html) is no picture":                                                         "heron camera test gate",
		"open: rtsp://10.0.0.7:401/cam: no video stream: connection refused":                                                    "cable, power and address: rtsp://",
		"open: rtsp://10.0.0.7:401/cam: no video stream: the server takes the connection but does not answer as an RTSP server": "cable, power",
		"": "cable, power",
	} {
		if next := nextForCamera(cam, said); !strings.Contains(next, want) || strings.Contains(next, "geheim") {
			t.Errorf("%s: %q, want %q", said, next, want)
		}
	}
}

// A file has neither cable nor power.
func TestNextStepOfAFile(t *testing.T) {
	for _, source := range []string{"file:/belt.mp4", "pictures:/belt?loop=true"} {
		if next := nextForCamera(Camera{Name: "belt", Source: source}, "no such file"); strings.Contains(next, "cable") || !strings.Contains(next, "/belt") {
			t.Errorf("%s: %s", source, next)
		}
	}
}

// What a pipeline lacks is installed, what is no video is made anew: no word of cables. A pipeline is not shown, it may hold a password.
func TestNextStepOfPipelinesAndVideos(t *testing.T) {
	t.Parallel()
	const pipeline = "gstreamer:rtspsrc location=rtsp://u:geheim@h/x user-pw=geheim ! nonesuch ! videoconvert"
	for _, c := range []struct{ source, said, want string }{
		{pipeline, "open: GStreamer has no element avdec_h264: install gstreamer1.0-libav", "install gstreamer1.0-libav, or correct the pipeline in source"},
		{pipeline, "open: GStreamer has no element nonesuch: install the plugin that has it (gst-inspect-1.0 lists those that are there)",
			"install the plugin that has it (gst-inspect-1.0 lists those that are there), or correct the pipeline in source"},
		{"csi:0", "open: csi:0: GStreamer has no element libcamerasrc: install gstreamer1.0-libcamera", "install gstreamer1.0-libcamera"},
		{pipeline, "open: gstreamer: the pipeline does not start: an element is missing or the source does not answer; try it with gst-launch-1.0 -v PIPELINE ! fakesink",
			"correct the pipeline in source"},
		{pipeline, "read: gstreamer: it was opened, and not one frame came", "of the camera that its pipeline reads"},
		{pipeline, "", "of the camera that its pipeline reads"},
		{"file:/x.mp4", "open: file: /x.mp4 is not a video that can be decoded", "ffprobe FILE"},
		{"file:/x.mp4", "read: file: /x.mp4: not one frame can be decoded", "ffmpeg -i FILE"},
		{"file:/x.mp4", "open: file: no such video file: /x.mp4", "correct the path"},
	} {
		next := nextForCamera(Camera{Name: "belt", Source: c.source}, c.said)
		if !strings.Contains(next, c.want) || strings.Contains(next, "geheim") || strings.Contains(next, "rtspsrc") || strings.Contains(c.said, "lement") && strings.Contains(next, "cable") {
			t.Errorf("%s: %q, want %q", c.said, next, c.want)
		}
	}
}

// A camera that has fallen silent is no other.
func TestNextStepOfAStalePipeline(t *testing.T) {
	t.Parallel()
	f := facts{cameras: []Camera{{Name: "belt", Source: "gstreamer:rtspsrc user-pw=geheim"}}}
	f.vision.State = "running"
	f.vision.Cameras = []vision.CameraStats{{Name: "belt", State: "running", FrameAge: 9}}
	r, _ := assessCamera(f, f.cameras[0])
	if len(r) != 1 || r[0].Code != "camera-stale" || !strings.Contains(r[0].NextStep, "that its pipeline reads") || strings.Contains(r[0].NextStep, "rtspsrc") {
		t.Errorf("%+v", r)
	}
}

package agent

import (
	"strings"
	"testing"
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

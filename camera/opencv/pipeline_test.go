package opencv

import "testing"

func TestPipeline(t *testing.T) {
	const convert = " ! videoconvert ! video/x-raw,format=BGR ! "
	for in, c := range map[string]struct {
		want     string
		recorded bool
	}{
		"v4l2src device=/dev/video0":          {"v4l2src device=/dev/video0" + convert + "appsink drop=true max-buffers=1 sync=false", false},
		" libcamerasrc ! queue !  ":           {"libcamerasrc ! queue" + convert + "appsink drop=true max-buffers=1 sync=false", false},
		"videotestsrc":                        {"videotestsrc" + convert + "appsink drop=true max-buffers=1 sync=true", false},
		"videotestsrc is-live=true":           {"videotestsrc is-live=true" + convert + "appsink drop=true max-buffers=1 sync=false", false},
		"filesrc location=/x.avi ! decodebin": {"filesrc location=/x.avi ! decodebin" + convert + "appsink drop=false max-buffers=2 sync=false", true},
		"multifilesrc location=%d.jpg ! jpegdec ! videoconvert ! video/x-raw,format=BGR ! appsink": {"multifilesrc location=%d.jpg ! jpegdec ! videoconvert ! video/x-raw,format=BGR ! appsink", true},
		"filesrc location=/x.avi ! decodebin ! videoconvert ! appsink drop=true":                   {"filesrc location=/x.avi ! decodebin ! videoconvert ! appsink drop=true", false},
	} {
		got, recorded, err := pipeline(in)
		if err != nil || got != c.want || recorded != c.recorded {
			t.Errorf("%q:\n got %q %v %v\nwant %q %v", in, got, recorded, err, c.want, c.recorded)
		}
	}
	for _, empty := range []string{"", "  ", " ! "} {
		if _, _, err := pipeline(empty); err == nil {
			t.Errorf("%q is a pipeline", empty)
		}
	}
}

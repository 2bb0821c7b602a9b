package opencv

import (
	"errors"
	"strings"
)

// pipeline completes a GStreamer description as one gives it to gst-launch and says whether it plays a recording, which loses no frame
// and ends. Whoever writes an appsink has said how it shall be.
func pipeline(description string) (full string, recorded bool, err error) {
	p := strings.TrimRight(strings.TrimSpace(description), "! ")
	if p == "" {
		return "", false, errors.New("gstreamer: the pipeline is empty: write for example gstreamer:v4l2src ! videoconvert")
	}
	recorded = strings.Contains(p, "filesrc") || strings.Contains(p, "file://")
	if strings.Contains(p, "appsink") {
		return p, recorded && !strings.Contains(p, "drop=true"), nil
	}
	sink := "appsink drop=true max-buffers=1 sync=false" // a camera: the newest frame, at once
	switch {
	case recorded:
		sink = "appsink drop=false max-buffers=2 sync=false" // at the pace of its reader
	case strings.Contains(p, "videotestsrc") && !strings.Contains(p, "is-live=true"):
		sink = "appsink drop=true max-buffers=1 sync=true" // or it would draw as fast as the processor can
	}
	return p + " ! videoconvert ! video/x-raw,format=BGR ! " + sink, recorded, nil
}

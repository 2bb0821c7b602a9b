package agent

import (
	"regexp"
	"strings"

	"heron/camera"
)

// answered are the words of a network camera that is there and refuses: its cable and power are not at fault.
var answered = regexp.MustCompile(`\b40[134]: |the (server|camera) answers|what comes|certificate|login|sends on|picture changes`)

// nextForCamera is the next step after what a driver said of a camera that gives nothing.
func nextForCamera(cam Camera, said string) string {
	if next := NextForLocal(cam.Source, said); next != "" {
		return next
	}
	if answered.MatchString(said) {
		return "it answers, so cable and power are good; heron camera test " + cam.Name + " says what to do"
	}
	if kind, path, _ := strings.Cut(cam.Source, ":"); kind == "file" || kind == "pictures" {
		return "correct the path, or put there what this user can read: " + path
	}
	return nextForSilent(cam.Source)
}

// nextForSilent does not show a pipeline: it may hold a password in any of its words.
func nextForSilent(source string) string {
	if camera.Scheme(source) == "gstreamer" {
		return "check cable, power and address of the camera that its pipeline reads"
	}
	return "check its cable, power and address: " + redactSource(source)
}

// lacking is a driver's word about an element that GStreamer does not have, and where it comes from.
var lacking = regexp.MustCompile(`has no element \S+: (install .+)`)

// NextForLocal is the next step after what a driver said of a pipeline that cannot run, or of a video that is none: the page and `heron camera test` say
// the same. Empty: it is about something else.
func NextForLocal(source, said string) string {
	switch scheme := camera.Scheme(source); scheme {
	case "csi", "gstreamer":
		m := lacking.FindStringSubmatch(said)
		switch {
		case m != nil && scheme == "csi":
			return m[1]
		case m != nil:
			return m[1] + ", or correct the pipeline in source"
		case strings.Contains(said, "pipeline does not start"):
			return "correct the pipeline in source; what gst-launch-1.0 says of it tells where"
		}
	case "file":
		if strings.Contains(said, "can be decoded") {
			return "see what is in it: ffprobe FILE; make it anew if it is damaged, or another format of it: ffmpeg -i FILE -c:v libx264 NEW.mp4"
		}
	}
	return ""
}

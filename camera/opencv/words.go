package opencv

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// silence is how long a stream that is being opened may send nothing at all: as long as one that is read.
const silence = 5 * time.Second

// refusal is FFmpeg's line about an RTSP request that a server refused.
var refusal = regexp.MustCompile(`^method ([A-Z_]{1,20}) failed: ([0-9]{3})([ -~]{0,40})`)

// refused makes a reason of what FFmpeg said; empty: nothing was refused.
func refused(said string) string {
	m := refusal.FindStringSubmatch(said)
	if m == nil {
		return ""
	}
	reason := strings.TrimSpace(m[3])
	if reason != "" {
		reason = " " + reason
	}
	why := "the server answers " + m[2] + reason + " to " + m[1]
	if m[2] == "401" {
		why += ": look at user name and password"
	}
	return why
}

// captureOptions are the options for FFmpeg's demuxers, as OpenCV wants them written, for this major version of libavformat: TCP first, and an end when
// nothing at all has come for silence, so that a server that takes a request and sends nothing keeps no other stream out for the whole of its
// OpenTimeout. The option was renamed with version 59; before that its new name had the demuxer wait for a caller.
func captureOptions(avformat uint) string {
	const options = "rtsp_flags;prefer_tcp"
	switch {
	case avformat == 0: // a plug-in's, perhaps
		return options
	case avformat < 59:
		return options + "|stimeout;" + strconv.FormatInt(silence.Microseconds(), 10)
	}
	return options + "|timeout;" + strconv.FormatInt(silence.Microseconds(), 10)
}

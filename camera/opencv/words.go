package opencv

import (
	"regexp"
	"strings"
)

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

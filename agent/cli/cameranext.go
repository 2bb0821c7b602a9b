package cli

import (
	"regexp"
	"strings"

	"heron/agent"
	"heron/camera"
)

// hint is the next step after words that a driver said.
type hint struct{ words, next string }

// localHints are for cameras that are attached, and files.
var localHints = []hint{
	{"in use by", "stop what uses it; when that is Heron itself: systemctl stop heron, or look at its page"},
	{"permission", "run this as root, or as a user of the group video"},
	{"without OpenCV", "use a heron-vision that was built with OpenCV: make build"},
	{"no such folder or file|no such video file", "correct the path in source"},
	{"another driver|no driver", "write one of usb:, v4l2:, csi:, rtsp://, http://, snapshot+http://, gstreamer:, file:, pictures:, testcard:"},
	{"no camera connector|neither a Raspberry", "name the camera as usb:, rtsp:// or gstreamer:"},
	{"no camera|no device|no sensor|is gone", "plug it in; heron camera list shows what is attached"},
	{"", "heron camera list shows what is attached; docs/config.md tells how cameras are named"},
}

// networkHints are for cameras that have an address.
var networkHints = []hint{
	{"password file", "write the password, one line, into the file that credentials.password_file names, and let the user of the service read it"},
	{"without OpenCV", "use a heron-vision that was built with OpenCV: make build"},
	{"SHA-256|wants a way to log in", "look in the camera's settings, under security or RTSP, for how it asks for the login"},
	{`\b401\b`, "look at credentials.username and the file credentials.password_file"},
	{`\b403\b`, "see in the camera's settings whether this user may look at its video, and whether it lets this device's address in"},
	{`\b404\b`, "look up the path of its stream in the camera's manual"},
	{`\b(429|453|503)\b`, "the camera is busy or still starting: see who else looks at it (a recorder, an app: many cameras serve one or two), and try again in a minute"},
	{`answers 45[4-9]\b`, "restart the camera: its server does not know any more what it agreed to"},
	{`answers 5\d\d\b`, "restart the camera, and look at its own page and log: the fault is there"},
	{`\b461\b`, "let the camera send its video over TCP (RTP over RTSP), or over UDP to one receiver"},
	{"sends on to", "open the address in a browser: where a page to log in appears, look up the address of the stream or picture in the camera's manual"},
	{`answers [34]\d\d\b|answers 2\d\d\b`, "look up the address of its stream in the camera's manual"},
	{"write snapshot\\+|leave snapshot\\+|instead of https://", "change source as it says"},
	{"certificate is", "openssl s_client -connect HOST:PORT -showcerts </dev/null shows it; https:// and snapshot+https:// take no camera unverified"},
	{"certificate has", "set the clocks, or renew the camera's certificate on its own page"},
	{"offers no video", "look up the address of its video stream in the camera's manual: this one has none"},
	{"offers", "choose H.264 in the camera's video settings"},
	{"image/png", "set the camera to JPEG, or ask it for .jpg"},
	{"picture changes from", "nothing, if its size was just set; if it comes back, set the camera to one fixed size (no adaptive or corridor mode)"},
	{"what comes", "open the address in a browser: something else comes than pictures, such as a page or an error; look up the address of the stream or picture in the camera's manual"},
	{"DESCRIBE", "restart the camera, or look at what feeds its server: the server runs, and the stream behind it does not"},
	{"closed the connection", "look at scheme and port: http and https, rtsp and rtsps have ports of their own"},
	{"as an RTSP server", "see that it is the camera's RTSP port, often 554, and that the camera still answers: restart it"},
	{"resolved", "write the camera's IP address instead of its name, or look at this device's name server: getent hosts NAME"},
	{"refused|reached|does not answer|silent", "look at address, port, power and cable; ping it"},
	{"no picture came|not one frame|no more frames|ended|broke", "see whether it plays elsewhere: ffplay -rtsp_transport tcp ADDRESS, or VLC; if not, restart the camera; if so, look at network and cable"},
	{"damaged JPEG|broke off", "look at network and cable between it and this device; set the camera to a smaller picture"},
	{"", "see whether it plays elsewhere: ffplay ADDRESS, or VLC; look up the address of its stream in the camera's manual"},
}

var addresses = regexp.MustCompile(`[a-z+]+://\S+`)

// cameraNext is the next step after what a driver said of this source. Addresses in it are not looked at: a port may be 40123 and a host called silent.
func cameraNext(source, said string) string {
	if next := agent.NextForLocal(source, said); next != "" {
		return next
	}
	hints := localHints
	if overNetwork(source) {
		hints = networkHints
	}
	said = addresses.ReplaceAllString(said, "")
	for _, h := range hints {
		if regexp.MustCompile(h.words).MatchString(said) {
			return h.next
		}
	}
	return ""
}

// cameraAgain is the next step for a camera that hangs and gives no word.
func cameraAgain(source string) string {
	if overNetwork(source) {
		return "switch the camera off and on, or ask it for a smaller picture"
	}
	return "plug the camera out and in, or try a smaller size"
}

func overNetwork(source string) bool {
	switch strings.TrimPrefix(camera.Scheme(source), "snapshot+") {
	case "rtsp", "rtsps", "http", "https":
		return true
	}
	return false
}

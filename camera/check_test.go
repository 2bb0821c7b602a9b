package camera

import (
	"strings"
	"testing"
)

// What no driver would open is told before one tries, and no password with it.
func TestCheckSource(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, want string }{
		{"testcard:", ""}, {"testcard:?width=160&height=120&fps=50", ""}, {"pictures:/a folder", ""}, {"pictures:/x?loop=yes", ""}, {"file:/x.mp4?loop=0", ""},
		{"v4l2:/dev/video0", ""}, {"usb:Some camera? (046d:0825)", ""}, {"csi:", ""}, {"csi:imx708", ""}, {"gstreamer:videotestsrc ! x?y=1", ""},
		{"http://h/x?a=1&lop=2", ""}, {"rtsp://u:p%40ss@[fe80::1%25eth0]:8554/cam", ""}, {"rtsps://h:/x", ""}, {"snapshot+https://h:65535/x", ""},
		{"pictures:/x?lop=true", `"pictures:/x?lop=true": unknown option "lop" (known: loop)`},
		{"file:/x?loop=maybe", `"maybe": write true or false`},
		{"file:?loop=true", "no file given"}, {"pictures:?loop=true", "no folder given"},
		{"testcard:?foo=1", `unknown option "foo" (known: width, height, fps)`},
		{"testcard:?fps=0", "fps 0 is not between 1 and 1000"}, {"testcard:?width=wide", `width "wide" is not a whole number`}, {"testcard:/x", "takes no path"},
		{"v4l2:/dev/video0?x=1", "takes no options"}, {"csi:0?x=1", "csi:0?x=1: expected csi:"},
		{"http:///x", "http:///x: the URL has no host"}, {"http://:80/x", "no host"}, {"snapshot+http:///x", "no host"},
		{"http://h h/x", "http://h h/x: the URL has no host, or a character in it needs"},
		{"rtsp://u:geheim@h h/x", "rtsp://h h/x: "}, {"rtsp://u:ge%heim@h/x", "needs %-encoding"},
		{"http://h:99999/x", "http://h:99999/x: the URL's port is not between 1 and 65535"}, {"rtsp://h:0/x", "port is not"}, {"rtsp://h:cam/x", "needs %-encoding"},
		{"rtsp://u:99999/geheim@h/x", "rtsp://h/x: the URL's port"},
	} {
		err := CheckSource(c.source)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.source, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "heim") || strings.Contains(err.Error(), "99999") && strings.HasPrefix(c.source, "rtsp")) {
			t.Errorf("%s: a password in %v", c.source, err)
		}
	}
}

func TestCheckSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		source        string
		width, height int
		want          string
	}{
		{"usb:X", 0, 0, ""}, {"usb:X", 12000, 8000, ""}, {"testcard:", 0, 0, ""}, {"testcard:", 8192, 16, ""},
		{"testcard:?width=640&height=480", 8193, 9, ""}, // its own comes first
		{"usb:X", 99999, 1, "99999×1 pixels are more than the limits of 100 megapixels and 65535 pixels a side"},
		{"usb:X", 10001, 10000, "10001×10000"}, {"csi:", 1, 65536, "65535 pixels a side"},
		{"testcard:", 8193, 480, "width 8193 is not between 16 and 8192"}, {"testcard:", 640, 8, "height 8 is not"},
	} {
		err := CheckSize(c.source, c.width, c.height)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %d×%d: %v, want %q", c.source, c.width, c.height, err, c.want)
		}
	}
}

package agent

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCameraSettings(t *testing.T) {
	path := write(t, `
cameras:
  - name: front
    source: "usb:ABC123"
    rotate: 90
    flip: horizontal
    roi: {x: 0.25, y: 0, width: 0.5, height: 1}
    masks: [{x: 0, y: 0, width: 0.1, height: 0.1}]
    controls: {exposure: 8ms, gain: 10, white_balance: 4500, focus: 3, power_line: 50}
  - name: door
    source: rtsp://cam.local/stream
    credentials: {username: viewer, password_file: door.password}
  - {name: board, source: "csi:0"}
  - {name: still, source: "snapshot+http://10.0.0.4/snap.jpg", fps: 1}
`)
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, d := c.Cameras[0], c.Cameras[1]
	if f.View.Rotate != 90 || f.View.Flip != "horizontal" || f.View.ROI.Width != 0.5 || len(f.View.Masks) != 1 || f.Controls.Exposure != 8*time.Millisecond || f.Controls.PowerLine != 50 {
		t.Errorf("%+v", f)
	}
	if d.Credentials.Username != "viewer" || d.Credentials.PasswordFile != filepath.Join(filepath.Dir(path), "door.password") {
		t.Errorf("%+v", d.Credentials)
	}
	for _, x := range []struct{ text, what string }{
		{"rotate: 45", "cameras[0].rotate"},
		{"flip: over", "cameras[0].flip"},
		{"roi: {x: 0.5, y: 0, width: 0.6, height: 1}", "cameras[0].roi.width"},
		{"roi: {x: 0, y: 0, width: 1}", "cameras[0].roi.height"},
		{"masks: [{x: 0, y: 0, width: 1, height: 1}, {x: 0, y: 2, width: 1, height: 1}]", "cameras[0].masks[1].y"},
		{"controls: {exposure: 1h}", "cameras[0].controls.exposure"},
		{"controls: {power_line: 55}", "cameras[0].controls.power_line"},
		{"controls: {iris: 1}", "iris"},
		{"credentials: {username: x}", "cameras[0].credentials"},
	} {
		_, err := Load(write(t, "cameras:\n  - name: a\n    source: \"usb:X\"\n    "+x.text+"\n"), nil)
		var bad *ConfigError
		if !errors.As(err, &bad) || !strings.Contains(bad.What, x.what) || bad.Line != 4 {
			t.Errorf("%s: %+v, want line 4 and %s", x.text, err, x.what)
		}
	}
	_, err = Load(write(t, "cameras: [{name: a, source: \"rtsp://h/\", credentials: {password_file: p}}]\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "without credentials.username") {
		t.Error(err)
	}
}

// What could be opened nowhere is a fault of the configuration, told with its place, its value and what is expected.
func TestCamerasThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		source, more string
		line         int
		want         string
	}{
		{"testcard:", "size: 99999x99999", 4, "cameras[0].size: 99999x99999: testcard: width 99999 is not between 16 and 8192"},
		{"usb:X", "size: 99999x99999", 4, "cameras[0].size: 99999x99999: 99999×99999 pixels are more than the limits of 100 megapixels and 65535 pixels a side"},
		{"pictures:/x?lop=true", "fps: 1", 3, `cameras[0].source: source "pictures:/x?lop=true": unknown option "lop" (known: loop)`},
		{"file:/x?loop=maybe", "fps: 1", 3, `cameras[0].source: option loop of a file: source is "maybe": write true or false`},
		{"testcard:?foo=1", "fps: 1", 3, `unknown option "foo" (known: width, height, fps)`},
		{"v4l2:/dev/video0?x=1", "fps: 1", 3, `takes no options, got "x"`},
		{"http:///x", "fps: 1", 3, "cameras[0].source: http:///x: the URL has no host"},
		{"http://h:99999/x", "fps: 1", 3, "cameras[0].source: http://h:99999/x: the URL's port is not between 1 and 65535"},
		{"http://h h/x", "fps: 1", 3, "cameras[0].source: http://h h/x: the URL has no host, or a character in it needs %-encoding"},
		{"rtsp://u:geheim@h:0/x?token=geheim", "fps: 1", 3, "cameras[0].source: rtsp://h:0/x?…: the URL's port"},
		{"file:rtsp://u:geheim@h/x?loop=maybe&token=geheim", "fps: 1", 3, "unknown option"},
	} {
		_, err := Load(write(t, "cameras:\n  - name: a\n    source: \""+c.source+"\"\n    "+c.more+"\n"), nil)
		var bad *ConfigError
		if !errors.As(err, &bad) || !strings.Contains(bad.What, c.want) || bad.Line != c.line {
			t.Errorf("%s %s: %+v, want line %d and %s", c.source, c.more, err, c.line, c.want)
			continue
		}
		if strings.Contains(bad.Error()+bad.Excerpt, "geheim") {
			t.Errorf("%s: a password in %v\n%s", c.source, bad, bad.Excerpt)
		}
	}
}

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

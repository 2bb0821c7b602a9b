package cli

import (
	"encoding/json"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const attached = `[{"source":"usb:ABC1","serial":"ABC1","path":"1-1.4","name":"HD Pro Webcam C920","node":"/dev/video2","driver":"uvcvideo",
 "modes":[{"format":"YUYV","width":640,"height":480,"fps":[30,15]},{"format":"MJPG","width":1920,"height":1080,"fps":[30]},{"format":"MJPG","width":640,"height":480,"fps":[60]}]},
 {"source":"usb:1-1.3","path":"1-1.3","name":"USB Camera","node":"/dev/video4","reason":"v4l2: no permission to open /dev/video4"}]`

func TestCameraListTellsSourcesAndNames(t *testing.T) {
	dir := t.TempDir()
	program, conf := filepath.Join(dir, "heron-vision"), filepath.Join(dir, "heron.yaml")
	answers := func(script string) {
		t.Helper()
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(conf, []byte("cameras: [{name: front, source: \"usb:1-1.4\"}, {name: side, source: \"v4l2:/dev/video4\"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	answers("test \"$1\" = --cameras && cat <<'EOF'\n" + attached + "\nEOF")
	out, msg, code := heron(t, "camera", "list", "--json", "--vision", program, "--config", conf)
	var rows []cameraRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || len(rows) != 2 || rows[0].Configured != "front" || rows[1].Configured != "side" || len(rows[0].Modes) != 3 {
		t.Errorf("exit %d, %v: %s%s", code, err, out, msg)
	}
	out, _, _ = heron(t, "camera", "list", "--vision", program, "--config", conf)
	for _, want := range []string{"usb:ABC1", "YUYV to 640×480 at 30/s, MJPG to 1920×1080 at 30/s", "front", "no permission"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	answers("echo '[]'")
	if out, _, code = heron(t, "camera", "list", "--vision", program, "--config", "/nowhere"); code != 0 || !strings.Contains(out, "No camera is attached") || !strings.Contains(out, "testcard:") {
		t.Errorf("none: exit %d, %s", code, out)
	}
	answers("echo sysfs is broken >&2; exit 1")
	if _, msg, code = heron(t, "camera", "list", "--vision", program); code != 1 || !strings.Contains(msg, "sysfs is broken") {
		t.Errorf("a heron-vision that fails: exit %d, %s", code, msg)
	}
	oneLine(t, msg)
}

func TestCameraTestMeasuresAndSaves(t *testing.T) {
	f := newField(t, "", "testcard:?width=160&height=120&fps=50")
	save := filepath.Join(f.dir, "shot.jpg")
	out, msg, code := heron(t, "camera", "test", "front", "--config", f.conf, "--vision", os.Args[0], "--for", "1s", "--save", save, "--json")
	var r cameraReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || !r.OK || r.Width != 160 || r.FPS < 5 || r.FPS > 80 || r.Saved != save || r.FirstMS <= 0 {
		t.Errorf("exit %d, %v: %s%s", code, err, out, msg)
	}
	file, err := os.Open(save)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if c, err := jpeg.DecodeConfig(file); err != nil || c.Width != 160 || c.Height != 120 {
		t.Errorf("%+v, %v", c, err)
	}
}

// textured is a picture with which nothing is wrong.
func textured() *image.Gray {
	m := image.NewGray(image.Rect(0, 0, 64, 48))
	for i := range m.Pix {
		m.Pix[i] = byte(i * i % 251)
	}
	return m
}

// TestCameraTestOfWhatEnds: one picture is measured and saved as a camera is, and no word of a program that has ended.
func TestCameraTestOfWhatEnds(t *testing.T) {
	f := newField(t, "", "testcard:")
	f.picture(t, "one/1.png", textured())
	save := filepath.Join(f.dir, "shot.jpg")
	source := "pictures:" + f.dir + "/pictures/one"
	out, msg, code := heron(t, "camera", "test", source, "--vision", os.Args[0], "--for", "500ms", "--save", save, "--json")
	var r cameraReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Source != source || r.Saved != save || r.FPS > 500 || strings.Contains(out+msg, "not running") {
		t.Errorf("exit %d, %v: %s%s", code, err, out, msg)
	}
}

// TestCameraTestTellsWhatIsDamaged: what could not be decoded is told, and is no frame.
func TestCameraTestTellsWhatIsDamaged(t *testing.T) {
	f := newField(t, "", "testcard:")
	f.picture(t, "mixed/1.png", textured())
	dir := filepath.Join(f.dir, "pictures", "mixed")
	for _, name := range []string{"2.jpg", "3.jpg", "4.jpg", "5.jpg"} { // more than the failures after which a camera is given up
		if err := os.WriteFile(filepath.Join(dir, name), []byte("no picture"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, msg, _ := heron(t, "camera", "test", "pictures:"+dir, "--vision", os.Args[0], "--for", "1s", "--save", filepath.Join(f.dir, "x.jpg"), "--json")
	var r cameraReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Frames == 0 || r.Damaged < 4 || !strings.Contains(r.Note, "(skipped)") {
		t.Errorf("%v: %s%s", err, out, msg)
	}
	if err := os.Remove(filepath.Join(dir, "1.png")); err != nil {
		t.Fatal(err)
	}
	if out, msg, _ := heron(t, "camera", "test", "pictures:"+dir, "--vision", os.Args[0], "--save", filepath.Join(f.dir, "x.jpg")); !strings.Contains(out, "frames came, and none could be decoded: ") {
		t.Errorf("%s%s", out, msg)
	}
	for damaged, want := range map[uint64]string{0: "1 replaced by newer ones\n", 7: "1 replaced by newer ones; 7 more could not be decoded\n"} {
		if text := cameraText(cameraReport{FirstMS: 1, Dropped: 1, Damaged: damaged}); !strings.Contains(text, want) {
			t.Errorf("%s, want %q", text, want)
		}
	}
}

func TestCameraTestNamesWhatIsWrong(t *testing.T) {
	f := newField(t, "", "testcard:")
	f.picture(t, "dark/1.png", image.NewGray(image.Rect(0, 0, 64, 48)))
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"pictures:" + f.dir + "/nowhere"}, 1, "nowhere"},
		{[]string{"pictures:" + f.dir + "/pictures/dark?loop=true"}, 1, "the picture is black"},
		{[]string{"pictures:" + f.dir + "/pictures/dark"}, 1, "the picture is black"},
		{[]string{"carrier-pigeon:x"}, 1, "source is for another driver"},
		{[]string{"back"}, 2, "neither a camera of"},
		{[]string{"front", "--for", "1ms"}, 2, "expected 100ms"},
		{nil, 2, "see heron camera test --help"},
	} {
		args := append([]string{"camera", "test", "--config", f.conf, "--vision", os.Args[0], "--save", filepath.Join(f.dir, "x.jpg")}, c.args...)
		if c.code == 1 {
			args = append(args, "--for", "300ms")
		}
		out, msg, code := heron(t, args...)
		if code != c.code || !strings.Contains(out+msg, c.want) || c.code == 1 && !strings.Contains(out, "next: ") {
			t.Errorf("%v: exit %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, out, msg)
		}
	}
}

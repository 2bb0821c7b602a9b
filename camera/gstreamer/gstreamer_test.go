package gstreamer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"heron/camera"
)

const (
	pi5    = "raspberrypi,5-model-b\x00brcm,bcm2712\x00"
	jetson = "nvidia,p3768-0000+p3767-0005\x00nvidia,p3767-0005\x00nvidia,tegra234\x00"
)

// board makes the files of a board.
func board(t *testing.T, compatible string, sensors map[string]string) System {
	t.Helper()
	s := System{Root: t.TempDir(), Sysfs: t.TempDir()}
	write := func(path, text string) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if compatible != "" {
		write(filepath.Join(s.Root, "proc/device-tree/compatible"), compatible)
	}
	for sub, sensor := range sensors {
		name, of, _ := strings.Cut(sensor, "=")
		node := filepath.Join(s.Sysfs, "firmware/devicetree/base", of)
		dir := filepath.Join(s.Sysfs, "class/video4linux", sub)
		write(filepath.Join(dir, "name"), name+"\n")
		if err := errors.Join(os.MkdirAll(node, 0o755), os.MkdirAll(filepath.Join(dir, "device"), 0o755),
			os.Symlink(node, filepath.Join(dir, "device/of_node"))); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

var two = map[string]string{
	"v4l-subdev0": "rp1-cfe-csi2=axi/pcie@1000120000/rp1/csi@128000",
	"v4l-subdev1": "imx708_wide 4-001a=axi/pcie@1000120000/rp1/i2c@80000/imx708@1a",
	"v4l-subdev2": "dw9807 4-000c=axi/pcie@1000120000/rp1/i2c@80000/dw9817@c",
	"v4l-subdev3": "ov5647 6-0036=axi/pcie@1000120000/rp1/i2c@88000/ov5647@36",
}

func TestPresets(t *testing.T) {
	for _, c := range []struct {
		board, source string
		o             camera.Options
		want          string
	}{
		{pi5, "csi:", camera.Options{}, "libcamerasrc ! video/x-raw,framerate=30/1" + sink},
		{pi5, "csi", camera.Options{FPS: 10, Width: 1280, Height: 720}, "libcamerasrc ! video/x-raw,width=1280,height=720,framerate=30/1" + sink},
		{pi5, "csi:0", camera.Options{}, `libcamerasrc camera-name="/base/axi/pcie@1000120000/rp1/i2c@80000/imx708@1a" ! video/x-raw,framerate=30/1` + sink},
		{pi5, "csi:ov5647", camera.Options{FPS: 59.9}, `libcamerasrc camera-name="/base/axi/pcie@1000120000/rp1/i2c@88000/ov5647@36" ! video/x-raw,framerate=60/1` + sink},
		{jetson, "csi:1", camera.Options{Width: 1280, Height: 720}, "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1280,height=720,format=NV12,framerate=30/1 ! nvvidconv ! video/x-raw,format=BGRx" + sink},
	} {
		s := board(t, c.board, two)
		s.Has = func(context.Context, string) (bool, bool) { return true, true }
		got := ""
		c.o.Source = c.source
		_, err := New(s, func(_ context.Context, o camera.Options) (camera.Device, error) { got = o.Source; return nil, nil })(t.Context(), c.o)
		if err != nil || got != "gstreamer:"+c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", c.source, err, got, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	missing := func(name string) func(context.Context, string) (bool, bool) {
		return func(_ context.Context, e string) (bool, bool) { return e != name, true }
	}
	for _, c := range []struct{ board, source, lacks, want string }{
		{"", "csi:", "", "Raspberry Pi and Jetson have"},
		{"qemu,virt\x00", "csi:", "", "neither a Raspberry Pi nor a Jetson"},
		{pi5, "csi:2", "", "attached: csi:0 (imx708_wide), csi:1 (ov5647)"},
		{pi5, `csi:x" ! filesink location=/etc/passwd`, "", "expected csi:"},
		{jetson, "csi:imx219", "", "is no number"},
		{pi5, "csi:", "libcamerasrc", "no element libcamerasrc: install gstreamer1.0-libcamera"},
		{jetson, "csi:", "nvvidconv", "no element nvvidconv: install nvidia-l4t-gstreamer"},
		{"", "gstreamer:videotestsrc ! capsfilter caps=video/x-raw ! nosuch ! appsink", "nosuch", "no element nosuch: install the plugin"},
		{"", "gstreamer:videotestsrc", "none", "does not start"},
	} {
		s := board(t, c.board, two)
		s.Has = missing(c.lacks)
		opened := false
		_, err := New(s, func(context.Context, camera.Options) (camera.Device, error) {
			opened = true
			return nil, errors.New("does not start")
		})(t.Context(), camera.Options{Source: c.source})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.board, c.source, err, c.want)
		}
		if opened != (c.want == "does not start") {
			t.Errorf("%s %s: opened %v: a pipeline that lacks an element is not tried, it would hang", c.board, c.source, opened)
		}
	}
	if _, err := New(System{}, nil)(t.Context(), camera.Options{Source: "rtsp://x"}); !errors.Is(err, camera.ErrNotMine) {
		t.Error(err)
	}
}

func TestListNamesTheSensors(t *testing.T) {
	if got := board(t, pi5, two).List(); len(got) != 2 || got[0].Source != "csi:0" || got[1].Name != "ov5647" {
		t.Errorf("%+v", got)
	}
	if got := board(t, "", two).List(); got != nil {
		t.Errorf("a PC: %+v", got)
	}
}

func TestInspect(t *testing.T) {
	if _, err := exec.LookPath("gst-inspect-1.0"); err != nil {
		t.Skip("needs gst-inspect-1.0 (gstreamer1.0-tools)")
	}
	if has, known := inspect(t.Context(), "fakesink"); !has || !known {
		t.Error("fakesink is not found")
	}
	if has, known := inspect(t.Context(), "nosuchelement"); has || !known {
		t.Error("nosuchelement is found")
	}
}

// Package gstreamer builds the pipelines of board cameras (csi:) and names the element that a pipeline lacks. Another driver plays them.
package gstreamer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"heron/camera"
)

// System is what is looked at; a test moves it. The zero value is HERON_ROOT (before /proc and /usr), HERON_SYSFS, and the elements
// that are installed.
type System struct {
	Root, Sysfs string
	Has         func(ctx context.Context, element string) (has, known bool) // nil: ask gst-inspect-1.0
}

func (s System) root() string  { return cmp.Or(s.Root, os.Getenv("HERON_ROOT"), "/") }
func (s System) sysfs() string { return cmp.Or(s.Sysfs, os.Getenv("HERON_SYSFS"), "/sys") }

// New serves csi: and gstreamer: sources; next plays them as gstreamer:PIPELINE.
func New(s System, next camera.Opener) camera.Opener {
	if s.Has == nil {
		s.Has = inspect
	}
	return func(ctx context.Context, o camera.Options) (camera.Device, error) {
		switch scheme, rest, _ := strings.Cut(o.Source, ":"); scheme {
		case "csi":
			pipeline, err := s.preset(rest, o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.Source, err)
			}
			name := o.Source
			if err := s.lacking(ctx, pipeline); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			o.Source = "gstreamer:" + pipeline
			d, err := next(ctx, o)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			return d, err
		case "gstreamer":
			if err := s.lacking(ctx, rest); err != nil {
				return nil, err
			}
			return next(ctx, o)
		}
		return nil, camera.ErrNotMine
	}
}

// sink ends a live pipeline: the newest frame, at once.
const sink = " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"

// preset is the pipeline for a board camera: the first, one by number, or one by its sensor's name.
func (s System) preset(which string, o camera.Options) (string, error) {
	which, err := camera.ParseBoard("csi:" + which)
	if err != nil {
		return "", err
	}
	size := ""
	if o.Width > 0 && o.Height > 0 {
		size = fmt.Sprintf(",width=%d,height=%d", o.Width, o.Height)
	}
	switch board := s.board(); {
	case strings.Contains(board, "raspberrypi,"):
		source := "libcamerasrc"
		if which != "" {
			name, err := s.sensor(which)
			if err != nil {
				return "", err
			}
			source += fmt.Sprintf(` camera-name="%s"`, name)
		}
		return source + " ! video/x-raw" + size + ",framerate=" + rate(o.FPS) + sink, nil
	case strings.Contains(board, "nvidia,"):
		source := "nvarguscamerasrc"
		if which != "" {
			if strings.Trim(which, "0123456789") != "" {
				return "", fmt.Errorf("%q is no number: a Jetson's cameras are csi:0, csi:1, …", which)
			}
			source += " sensor-id=" + which
		}
		return source + " ! video/x-raw(memory:NVMM)" + size + ",format=NV12,framerate=" + rate(o.FPS) + " ! nvvidconv ! video/x-raw,format=BGRx" + sink, nil
	case board == "":
		return "", fmt.Errorf("this machine has no camera connector that Heron knows (Raspberry Pi and Jetson have): use usb:, rtsp:// or gstreamer: %w", errors.ErrUnsupported)
	default:
		return "", fmt.Errorf("the board %q is neither a Raspberry Pi nor a Jetson: write its pipeline as gstreamer:… %w", board, errors.ErrUnsupported)
	}
}

// rate is the sensor's: 30 a second, which every sensor has, unless more are wanted. Fewer would only make frames older.
func rate(fps float64) string { return fmt.Sprintf("%d/1", max(30, int(fps+0.999))) }

// board is what the device tree calls itself, commas and all; empty without one.
func (s System) board() string {
	b, err := os.ReadFile(filepath.Join(s.root(), "proc/device-tree/compatible"))
	if err != nil {
		return ""
	}
	return strings.Join(strings.FieldsFunc(string(b), func(r rune) bool { return r == 0 || r == '\n' }), " ")
}

// Sensors names the board cameras of a Raspberry Pi as libcamera does, by their place in the device tree, in that order.
func (s System) Sensors() []Sensor {
	names, _ := filepath.Glob(filepath.Join(s.sysfs(), "class/video4linux/v4l-subdev*/name")) // the pattern is good
	var out []Sensor
	for _, path := range names {
		b, err := os.ReadFile(path)
		node, lerr := filepath.EvalSymlinks(filepath.Join(filepath.Dir(path), "device/of_node"))
		if err != nil || lerr != nil {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ") // "imx708_wide 10-001a"
		_, at, ok := strings.Cut(node, "/devicetree/base")
		if !ok || !strings.Contains(at, "/i2c") || lens.MatchString(name) {
			continue
		}
		out = append(out, Sensor{Name: name, ID: "/base" + at})
	}
	slices.SortFunc(out, func(a, b Sensor) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// lens matches drivers of focus motors, which are on the same bus as the sensors.
var lens = regexp.MustCompile(`^(dw9|ad58|ad53|ak73|vcm|lm36)`)

// Sensor is a board camera.
type Sensor struct{ Name, ID string }

func (s System) sensor(which string) (string, error) {
	if strings.HasPrefix(which, "/") {
		return which, nil
	}
	all := s.Sensors()
	var known, found []string
	for i, c := range all {
		known = append(known, fmt.Sprintf("csi:%d (%s)", i, c.Name))
		if fmt.Sprint(i) == which || c.Name == which {
			found = append(found, c.ID)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(all) == 0 {
		return "", fmt.Errorf("no sensor is attached: look at the flat cable and at camera_auto_detect in config.txt: %w", fs.ErrNotExist)
	}
	return "", fmt.Errorf("there is no one sensor %s; attached: %s: %w", which, strings.Join(known, ", "), fs.ErrNotExist)
}

// List names the board cameras for `heron camera list`.
func (s System) List() []camera.Attached {
	board := s.board()
	if !strings.Contains(board, "raspberrypi,") {
		return nil // a Jetson's are known to its own daemon only
	}
	var out []camera.Attached
	for i, c := range s.Sensors() {
		out = append(out, camera.Attached{Source: fmt.Sprintf("csi:%d", i), Name: c.Name, Path: c.ID, Driver: "libcamera",
			Reason: "libcamera makes any size up to the sensor's"})
	}
	return out
}

// lacking names the element that a pipeline lacks, and the package that has it. It looks before the pipeline is opened: GStreamer makes
// one without the missing element, and OpenCV 4.6 then waits for its first frame for ever.
func (s System) lacking(ctx context.Context, pipeline string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, e := range elements(pipeline) {
		if has, known := s.Has(ctx, e); known && !has {
			return fmt.Errorf("GStreamer has no element %s: install %s", e, cmp.Or(packages[e], "the plugin that has it (gst-inspect-1.0 lists those that are there)"))
		}
	}
	return nil
}

// packages of Debian and of the boards' own systems that have an element.
var packages = map[string]string{
	"libcamerasrc": "gstreamer1.0-libcamera", "nvarguscamerasrc": "nvidia-l4t-gstreamer", "nvvidconv": "nvidia-l4t-gstreamer",
	"nvv4l2decoder": "nvidia-l4t-gstreamer", "nvjpegdec": "nvidia-l4t-gstreamer",
	"v4l2src": "gstreamer1.0-plugins-good", "jpegdec": "gstreamer1.0-plugins-good", "rtspsrc": "gstreamer1.0-plugins-good",
	"multifilesrc": "gstreamer1.0-plugins-good", "souphttpsrc": "gstreamer1.0-plugins-good", "rtph264depay": "gstreamer1.0-plugins-good",
	"videoconvert": "gstreamer1.0-plugins-base", "videoscale": "gstreamer1.0-plugins-base", "videotestsrc": "gstreamer1.0-plugins-base",
	"appsink": "gstreamer1.0-plugins-base", "decodebin": "gstreamer1.0-plugins-base", "uridecodebin": "gstreamer1.0-plugins-base",
	"h264parse": "gstreamer1.0-plugins-bad", "avdec_h264": "gstreamer1.0-libav", "avdec_h265": "gstreamer1.0-libav", "v4l2h264dec": "gstreamer1.0-plugins-good",
}

var elementName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// elements are the first words between exclamation marks that can be elements: caps have a slash, references to pads a dot.
func elements(pipeline string) []string {
	var out []string
	for part := range strings.SplitSeq(pipeline, "!") {
		if f := strings.Fields(part); len(f) > 0 && elementName.MatchString(f[0]) {
			out = append(out, f[0])
		}
	}
	return out
}

// inspect asks GStreamer's own tool; without it nothing is known.
func inspect(ctx context.Context, element string) (has, known bool) {
	tool, err := exec.LookPath("gst-inspect-1.0")
	if err != nil {
		return false, false
	}
	c := exec.CommandContext(ctx, tool, "--exists", element)
	c.WaitDelay = time.Second
	err = c.Run()
	var exit *exec.ExitError
	return err == nil, err == nil || errors.As(err, &exit) && exit.Exited()
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"heron/agent/status"
)

// list: heron camera list names the camera, its node and its modes.
func list(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	out, err := exec.Command(filepath.Join(programs, "heron"), "camera", "list", "--json").Output()
	if err != nil {
		return "", fmt.Errorf("heron camera list --json: %w: %s", err, stderr(err))
	}
	if !json.Valid(out) {
		return "", fmt.Errorf("heron camera list --json: no JSON: %.200s", out)
	}
	for _, want := range []string{cameraName, "/dev/video0", "YUYV", "320"} {
		if !strings.Contains(string(out), want) {
			return "", fmt.Errorf("heron camera list --json: no %q in %.600s", want, out)
		}
	}
	return fmt.Sprintf("names %s at /dev/video0 with its modes", cameraName), nil
}

func stderr(err error) string {
	if e, ok := err.(*exec.ExitError); ok {
		return string(e.Stderr)
	}
	return ""
}

// trial: heron camera test opens the camera, measures it and saves a picture. It judges a camera on a board; here only what it did counts.
func trial(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	conf, err := r.configure(filepath.Join(programs, "heron-vision"), camera("front", "usb:"+cameraName))
	if err != nil {
		return "", err
	}
	saved := filepath.Join(r.dir, "front.jpg")
	out, err := exec.Command(filepath.Join(programs, "heron"), "camera", "test", "front", "--config", conf, "--save", saved, "--json").Output()
	var report struct {
		Frames        uint64
		FPS           float64
		Width, Height int
	}
	if jerr := json.Unmarshal(out, &report); jerr != nil {
		return "", fmt.Errorf("heron camera test --json: %v: %w; %.200s %s", err, jerr, out, stderr(err))
	}
	picture, perr := os.Stat(saved)
	if report.Frames == 0 || fmt.Sprintf("%dx%d", report.Width, report.Height) != size || perr != nil || picture.Size() < 1000 {
		return "", fmt.Errorf("heron camera test --json: %v, picture: %v; %.600s", err, perr, out)
	}
	return fmt.Sprintf("%d frames, %.1f a second, %dx%d, a picture of %d bytes (%v)", report.Frames, report.FPS, report.Width, report.Height, picture.Size(), judged(err)), nil
}

func judged(err error) string {
	if err != nil {
		return "exit code 1: it finds fault with this slow machine"
	}
	return "exit code 0"
}

// controls: the camera's own settings are those of the configuration, and what sets them automatically is off.
func controls(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	with := strings.TrimSuffix(camera("front", "usb:"+cameraName), "}") + ", controls: {gain: 57}}"
	if err := r.start(with); err != nil {
		return "", err
	}
	out, err := exec.Command("v4l2-ctl", "-d", "/dev/video0", "-C", "gain_automatic,gain").Output()
	if got := oneLine(string(out)); err != nil || got != "gain_automatic: 0 gain: 57" {
		return "", fmt.Errorf("controls.gain is 57; the camera says %q: %v", got, err)
	}
	return "the camera's gain is 57 as configured, and no longer automatic", nil
}

// frames: size and rate are as asked for, and what is classified is what the camera shows now.
func frames(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	began := time.Now()
	if err := r.start(camera("front", "v4l2:/dev/video0")); err != nil {
		return "", err
	}
	started := time.Since(began)
	rates, err := r.rates("front", 0.9)
	if err != nil {
		return "", err
	}
	s, err := r.status()
	if err != nil {
		return "", err
	}
	c := find(s, "front")
	if got := fmt.Sprintf("%dx%d", c.Width, c.Height); got != size {
		return "", fmt.Errorf("frames of %s, %s was asked for", got, size)
	}
	if best := slices.Max(rates); best < 0.9 || best > 1.1 {
		return "", fmt.Errorf("%s of the %d results a second that were asked for; %s", percent(rates), fps, told(s, nil))
	}
	seen := time.Duration(0)
	for _, light := range []struct {
		brightness int
		label      string
	}{{250, "bright"}, {10, "dark"}} {
		took, err := r.shows("/dev/video0", "front", light.brightness, light.label)
		if err != nil {
			return "", err
		}
		seen = max(seen, took)
	}
	return fmt.Sprintf("first results after %.1f s, %s, %s of the %d results a second asked for, a change of light is classified after %.1f s",
		started.Seconds(), size, percent(rates), fps, seen.Seconds()), nil
}

// shows sets the light of the camera at node and waits until that is what camera name is classified as.
func (r *rig) shows(node, name string, brightness int, label string) (time.Duration, error) {
	if err := control(node, fmt.Sprintf("brightness=%d", brightness)); err != nil {
		return 0, err
	}
	began := time.Now()
	return r.until(fmt.Sprintf("%s is classified as %s", name, label), backWithin, func(s *status.Snapshot) bool {
		last := since(s, name, began)
		return last != nil && last.Top[0].Label == label
	})
}

// window is how long results are counted at a time.
const window = 8 * time.Second

// rates counts a camera's results, as shares of what was asked for: twice at least, and up to four times until a share is enough.
// The machine outside has other things to do, which costs one window; what goes wrong here costs them all.
func (r *rig) rates(name string, enough float64) (shares []float64, err error) {
	for len(shares) < 2 || len(shares) < 4 && slices.Max(shares) < enough {
		a, err := r.status()
		if err != nil {
			return nil, err
		}
		time.Sleep(window)
		b, err := r.status()
		if err != nil {
			return nil, err
		}
		shares = append(shares, rate(a, b, name)/fps)
	}
	return shares, nil
}

func rate(a, b *status.Snapshot, name string) float64 {
	return float64(find(b, name).Inferred-find(a, name).Inferred) / b.At.Sub(a.At).Seconds()
}

func percent(shares []float64) string {
	var out []string
	for _, s := range shares {
		out = append(out, fmt.Sprintf("%.1f", 100*s))
	}
	return strings.Join(out, " and ") + " %"
}

// stall: the camera stays open and gives no more frames.
func stall(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	if err := r.start(camera("front", "v4l2:/dev/video0")); err != nil {
		return "", err
	}
	if err := control("/dev/video0", "percentage_of_dropped_buffers=100"); err != nil {
		return "", err
	}
	noticed, err := r.until("the page says that front fails", 15*time.Second, func(s *status.Snapshot) bool {
		return s.State != "ok" && (s.Vision.Restarts > 0 || find(s, "front").State != "running" || find(s, "front").FrameAgeS > 5)
	})
	if err != nil {
		return "", err
	}
	time.Sleep(8 * time.Second) // it is opened anew meanwhile, to no avail
	if err := control("/dev/video0", "percentage_of_dropped_buffers=0"); err != nil {
		return "", err
	}
	gap, err := r.back("front", backWithin)
	if err != nil {
		return "", err
	}
	s, err := r.status()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("on the page after %.1f s; results %.1f s after frames came again (limit %v); reopened %d, heron-vision replaced %d",
		noticed.Seconds(), gap.Seconds(), backWithin, find(s, "front").Reopened, s.Vision.Restarts), nil
}

// streamError: the driver gives the stream up, as with a bad cable; opening anew mends it.
func streamError(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	if err := r.start(camera("front", "v4l2:/dev/video0")); err != nil {
		return "", err
	}
	if err := control("/dev/video0", "inject_fatal_streaming_error=1"); err != nil {
		return "", err
	}
	gap, err := r.until("front was opened anew", backWithin, func(s *status.Snapshot) bool {
		return find(s, "front").Reopened+s.Vision.Restarts > 0
	})
	if err != nil {
		return "", err
	}
	more, err := r.back("front", backWithin)
	return fmt.Sprintf("opened anew after %.1f s, results %.1f s later", gap.Seconds(), more.Seconds()), err
}

// unplug: the camera goes while it is read, and comes back under its old number.
func unplug(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	if err := r.start(camera("front", "v4l2:/dev/video0")); err != nil {
		return "", err
	}
	if err := r.unplug(); err != nil {
		return "", err
	}
	said, took, err := r.reason("front", 15*time.Second, "is gone", "no device")
	if err != nil {
		return "", err
	}
	time.Sleep(20 * time.Second) // long enough for the back-off to have grown
	if err := r.plug(0); err != nil {
		return "", err
	}
	gap, err := r.back("front", backWithin)
	return fmt.Sprintf("on the page after %.1f s (%q); away 20 s; results %.1f s after it was plugged in again", took.Seconds(), said, gap.Seconds()), err
}

// renumber: the camera comes back as /dev/video1.
func renumber(r *rig, source string) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	if err := r.start(camera("front", source)); err != nil {
		return "", err
	}
	return r.moves("front", 1)
}

// moves takes the cameras away and plugs them in under other numbers.
func (r *rig) moves(name string, numbers ...int) (string, error) {
	began := time.Now()
	if err := r.unplug(); err != nil {
		return "", err
	}
	let := time.Since(began)
	if err := r.plug(numbers...); err != nil {
		return "", err
	}
	gap, err := r.back(name, backWithin)
	return fmt.Sprintf("let go after %.1f s; results %.1f s after %s came back as %s (limit %v)", let.Seconds(), gap.Seconds(), cameraName, node(cameraName), backWithin), err
}

// decoy: the camera comes back as /dev/video1, and another one is /dev/video0 now. What is classified must be the first one's pictures.
func decoy(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	if err := r.start(camera("front", "v4l2:/dev/video0")); err != nil {
		return "", err
	}
	said, err := r.moves("front", 1, 0)
	if err != nil {
		return "", err
	}
	for _, light := range []struct {
		here, there int
		label       string
	}{{250, 10, "bright"}, {10, 250, "dark"}} {
		if err := control(node(decoyName), fmt.Sprintf("brightness=%d", light.there)); err != nil {
			return "", err
		}
		if _, err := r.shows(node(cameraName), "front", light.here, light.label); err != nil {
			return "", fmt.Errorf("front shows the other camera, which is /dev/video0 now: %w", err)
		}
	}
	return said + "; and it is that camera's pictures, not those of the new /dev/video0", nil
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	cameraName = "vivid-000-vid-cap" // what the first camera of vivid calls itself
	decoyName  = "vivid-001-vid-cap"
	driver     = "/sys/bus/platform/drivers/vivid"
	videoGroup = 44 // Debian's group video
)

// plug loads vivid with one webcam (no tuners, no outputs) a device, each at its number, and does what udev would: the group video may open the nodes.
func (r *rig) plug(numbers ...int) error { return r.plugAs(0o660, numbers...) }

// plugAs gives the nodes another mode; before that, they are root's alone.
func (r *rig) plugAs(mode os.FileMode, numbers ...int) error {
	first := make([]string, len(numbers))
	for i, n := range numbers {
		first[i] = fmt.Sprint(n)
	}
	each := func(v string) string { return strings.TrimSuffix(strings.Repeat(v+",", len(numbers)), ",") }
	if err := command("modprobe", "vivid", fmt.Sprintf("n_devs=%d", len(numbers)), "node_types="+each("1"), "num_inputs="+each("1"),
		"input_types="+each("0"), "vid_cap_nr="+strings.Join(first, ",")); err != nil {
		return err
	}
	for i, n := range numbers {
		path, name := fmt.Sprintf("/dev/video%d", n), fmt.Sprintf("vivid-%03d-vid-cap", i)
		if got := node(name); got != path {
			return fmt.Errorf("vivid put %s at %q, wanted %s", name, got, path)
		}
		if err := errors.Join(os.Chown(path, 0, videoGroup), os.Chmod(path, mode)); err != nil {
			return err
		}
	}
	return nil
}

// unplug takes the camera away under its user's hands: its node is gone, and what has it open reads errors from now on.
// (vivid's control "disconnect" would not do: the camera is back as soon as its user has closed it.)
func (r *rig) unplug() error {
	devices, _ := filepath.Glob(driver + "/vivid.*") // the pattern is good
	if len(devices) == 0 {
		return errors.New("no camera is there that could be unplugged")
	}
	for _, d := range devices {
		if err := os.WriteFile(driver+"/unbind", []byte(filepath.Base(d)), 0); err != nil {
			return err
		}
	}
	return r.unload()
}

// unload waits until nobody has a camera open any more. vivid counts its users.
func (r *rig) unload() error {
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, serr := os.Stat("/sys/module/vivid"); serr != nil {
			return nil
		}
		if err = command("rmmod", "vivid"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the camera is still held open 20 s after it was unplugged: %w", err)
}

// control sets vivid's controls; so do its faults.
func control(node, set string) error { return command("v4l2-ctl", "-d", node, "-c", set) }

// node is where the camera of that name is now; empty: nowhere.
func node(name string) string {
	files, _ := filepath.Glob("/sys/class/video4linux/video*/name") // the pattern is good
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.TrimSpace(string(b)) == name {
			return "/dev/" + filepath.Base(filepath.Dir(f))
		}
	}
	return ""
}

func command(name string, args ...string) error {
	c := exec.Command(name, args...)
	timer := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

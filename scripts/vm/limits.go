package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"heron/agent/status"
)

// keepsRate is the share of its rate that a camera keeps while another one fails.
const keepsRate = 0.95

// busy: another process streams from the camera when heron wants it; the other camera goes on meanwhile.
func busy(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	if err := r.start(camera("front", "v4l2:/dev/video0"), camera("card", "testcard:")); err != nil {
		return "", err
	}
	// Nothing can take it while heron streams: it comes back with another user.
	if err := r.unplug(); err != nil {
		return "", err
	}
	if err := r.plugBusy(); err != nil {
		return "", err
	}
	return r.beside(func() error { return r.cleanups[len(r.cleanups)-1]() }, "in use")
}

// plugBusy plugs the camera in and lets v4l2-ctl stream before heron may open the node.
func (r *rig) plugBusy() error {
	if err := r.plugAs(0, 0); err != nil { // root can, heron cannot
		return err
	}
	other := exec.Command("v4l2-ctl", "-d", "/dev/video0", "--stream-mmap=2", "--stream-count=0")
	if err := other.Start(); err != nil {
		return err
	}
	end := func() error {
		if other.ProcessState == nil {
			_ = other.Process.Kill()
			_ = other.Wait() // it was killed
		}
		return nil
	}
	r.cleanups = append(r.cleanups, end)
	time.Sleep(3 * time.Second) // it streams now, or the case fails for want of a reason
	return os.Chmod("/dev/video0", 0o660)
}

// denied: the node may not be opened any more.
func denied(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	if err := r.start(camera("front", "v4l2:/dev/video0"), camera("card", "testcard:")); err != nil {
		return "", err
	}
	if err := errors.Join(os.Chmod("/dev/video0", 0), control("/dev/video0", "inject_fatal_streaming_error=1")); err != nil {
		return "", err
	}
	return r.beside(func() error { return os.Chmod("/dev/video0", 0o660) }, "permission")
}

// beside waits for the reason, measures the other camera while the fault lasts, mends it and waits for the results.
func (r *rig) beside(mend func() error, words ...string) (string, error) {
	said, took, err := r.reason("front", 15*time.Second, words...)
	if err != nil {
		return "", err
	}
	shares, err := r.rates("card", keepsRate)
	if err != nil {
		return "", err
	}
	if err := mend(); err != nil {
		return "", err
	}
	gap, err := r.back("front", backWithin)
	if err != nil {
		return "", err
	}
	if slices.Max(shares) < keepsRate {
		s, err := r.status()
		return "", fmt.Errorf("the other camera kept %s of its rate, %.0f %% is the least; %s", percent(shares), 100*keepsRate, told(s, err))
	}
	return fmt.Sprintf("on the page after %.1f s (%q); the other camera kept %s of its rate; results %.1f s after it was mended", took.Seconds(), said, percent(shares), gap.Seconds()), nil
}

const cgroups = "/sys/fs/cgroup"

// confine starts heron and heron-vision in control groups of their own; the path is heron-vision's.
func (r *rig) confine(cameras ...string) (string, error) {
	top := filepath.Join(cgroups, r.name)
	if err := os.WriteFile(filepath.Join(cgroups, "cgroup.subtree_control"), []byte("+memory +cpu"), 0o644); err != nil {
		return "", err
	}
	for _, dir := range []string{top, filepath.Join(top, "core"), filepath.Join(top, "vision")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		if err := os.Chown(filepath.Join(dir, "cgroup.procs"), user, user); err != nil {
			return "", err
		}
		if dir == top {
			if err := os.WriteFile(filepath.Join(top, "cgroup.subtree_control"), []byte("+memory +cpu"), 0o644); err != nil {
				return "", err
			}
		}
	}
	vision := filepath.Join(top, "vision")
	starter := filepath.Join(r.dir, "confined")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%s/cgroup.procs || exit 1\nexec %s/heron-vision \"$@\"\n", vision, programs)
	if err := errors.Join(os.MkdirAll(r.dir, 0o755), os.WriteFile(starter, []byte(script), 0o755)); err != nil {
		return "", err
	}
	core, err := os.Open(filepath.Join(top, "core"))
	if err != nil {
		return "", err
	}
	defer core.Close()
	return vision, r.startIn(int(core.Fd()), starter, cameras...)
}

// outOfMemory: the kernel kills heron-vision (fault R1). heron stays, and a new heron-vision classifies.
func outOfMemory(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	group, err := r.confine(camera("front", "v4l2:/dev/video0"))
	if err != nil {
		return "", err
	}
	s, err := r.status()
	if err != nil {
		return "", err
	}
	used, err := number(group, "memory.current", "")
	if err != nil {
		return "", err
	}
	limit := filepath.Join(group, "memory.max")
	if err := os.WriteFile(limit, []byte(strconv.FormatInt(used/4, 10)), 0o644); err != nil {
		return "", err
	}
	began := time.Now()
	for killed := int64(0); killed == 0; time.Sleep(20 * time.Millisecond) {
		if killed, err = number(group, "memory.events", "oom_kill"); err != nil {
			return "", err
		}
		if time.Since(began) > 30*time.Second {
			return "", fmt.Errorf("the kernel killed nobody within 30 s of memory.max at %d of %d KiB", used>>12, used>>10)
		}
	}
	if err := os.WriteFile(limit, []byte("max"), 0o644); err != nil {
		return "", err
	}
	began = time.Now()
	if _, err := r.until("a new heron-vision runs", newWithin, func(now *status.Snapshot) bool {
		return now.Vision.Restarts > 0 && now.Vision.PID != s.Vision.PID && now.Vision.State == "running"
	}); err != nil {
		return "", err
	}
	if _, err := r.back("front", newWithin-time.Since(began)); err != nil {
		return "", err
	}
	gap := time.Since(began)
	now, err := r.status()
	if err != nil {
		return "", err
	}
	if !now.Device.Started.Equal(s.Device.Started) {
		return "", errors.New("heron was started anew")
	}
	return fmt.Sprintf("killed at memory.max %d of %d KiB; results of a new one %.1f s later (%q)", used>>12, used>>10, gap.Seconds(), now.Vision.LastReason), nil
}

// number reads a file of a control group: a number, or the one behind a key.
func number(group, file, key string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(group, file))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, key+" "); key == "" || ok {
			if key == "" {
				v = line
			}
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s/%s has no %q", group, file, key)
}

// starved: heron-vision gets a fraction of what it needs of the processor (fault R3). It classifies less, heron and its page go on, and a heron-vision
// that is late is not taken for one that hangs for ever: each time it is given longer, until one stays.
//
// The catalogue's 10 % would be less than one percent of a board's processor here. It is a quarter of the need, and as much as a new heron-vision
// must have to say hello in time: heron waits 20 s for that.
func starved(r *rig) (string, error) {
	if err := r.plug(0); err != nil {
		return "", err
	}
	group, err := r.confine(camera("front", "v4l2:/dev/video0"))
	if err != nil {
		return "", err
	}
	spent, err := number(group, "cpu.stat", "usage_usec")
	if err != nil {
		return "", err
	}
	started := float64(spent) / 1e6 // seconds that starting cost
	time.Sleep(window)
	a, before, err := r.use(group, window)
	if err != nil {
		return "", err
	}
	quota := int64(max(before/4, started/helloIn.Seconds()) * 100000) // µs in every 100 ms
	if err := os.WriteFile(filepath.Join(group, "cpu.max"), []byte(fmt.Sprintf("%d 100000", quota)), 0o644); err != nil {
		return "", err
	}
	for began := time.Now(); time.Since(began) < settles; {
		c, _, err := r.use(group, window)
		if err != nil {
			return "", err
		}
		d, used, err := r.use(group, window)
		if err != nil {
			return "", err
		}
		throttled, err := number(group, "cpu.stat", "nr_throttled")
		switch {
		case err != nil:
			return "", err
		case throttled == 0:
			return "", fmt.Errorf("%d ms of every 100 ms were enough: nothing was starved", quota/1000)
		case !d.Device.Started.Equal(a.Device.Started):
			return "", errors.New("heron was started anew")
		case d.Vision.PID == c.Vision.PID && rate(c, d, "front") > 0:
			return fmt.Sprintf("start took %.1f s of a processor; needs %.0f %% of one, gets %.0f %% (uses %.0f %%, throttled %d times): stays after %.0f s and %d replacements, %.2f results a second of %d",
				started, 100*before, float64(quota)/1000, 100*used, throttled, time.Since(began).Seconds(), d.Vision.Restarts, rate(c, d, "front"), fps), nil
		}
	}
	s, err := r.status()
	return "", fmt.Errorf("no heron-vision stays and classifies within %v; %s", settles, told(s, err))
}

// helloIn is the time in which a heron-vision must be able to start, with what it gets in the case starved.
const helloIn = 12 * time.Second

// settles is how long a heron-vision that lives on little processor time may take to be left alone.
const settles = 100 * time.Second

// use is how many processors a control group uses, measured over a time, and the status at its end.
func (r *rig) use(group string, over time.Duration) (*status.Snapshot, float64, error) {
	began := time.Now()
	from, err := number(group, "cpu.stat", "usage_usec")
	if err != nil {
		return nil, 0, err
	}
	time.Sleep(over)
	to, err := number(group, "cpu.stat", "usage_usec")
	if err != nil {
		return nil, 0, err
	}
	s, err := r.status()
	return s, float64(to-from) / float64(time.Since(began).Microseconds()), err
}

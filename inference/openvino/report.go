package openvino

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"heron/inference"
)

// Report looks at every device. It opens the libraries that it finds, 2022.3.1 only when a stick is plugged in. A driver that does not
// answer before ctx ends is reported so, and its call is left behind: the process should be replaced before that device is used.
func (r *Runtime) Report(ctx context.Context) []inference.Status {
	var out []inference.Status
	for _, d := range devices() {
		answer := make(chan inference.Status, 1)
		go func() { answer <- r.look(d) }() // waited for below as long as anything can wait for a native call
		select {
		case got := <-answer:
			out = append(out, got)
		case <-ctx.Done():
			out = append(out, inference.Status{Engine: d.engine, Device: d.info, Present: r.present(d)}.Because(inference.Unavailable(
				"look into the kernel's log for the device's driver, or plug it in again", "OpenVINO does not say whether there is one: %v", context.Cause(ctx))))
		}
	}
	return out
}

func (r *Runtime) look(d device) inference.Status {
	out := inference.Status{Engine: d.engine, Device: d.info, Present: r.present(d)}
	l, err := r.ready(d)
	if l != nil {
		out.Version = l.version()
	}
	if err == nil {
		err = d.listedBy(l)
	}
	return out.Because(err)
}

// ready opens the device's library when everything else is there: what can be known without a driver's word is said without it, at once.
// The library is also returned where it is the wrong one.
func (r *Runtime) ready(d device) (library, error) {
	if d.engine == Myriad && len(r.conf.libraries(d)) == 0 {
		return nil, r.conf.missing(d, nil, nil)
	}
	if err := r.reachable(d); err != nil {
		return nil, err
	}
	l, err := r.library(d)
	if err != nil {
		return nil, err
	}
	return l, d.knownTo(l.version())
}

// reachable says why the hardware cannot be used by anyone, or not by this user.
func (r *Runtime) reachable(d device) error {
	if !r.present(d) {
		return inference.Refuse(inference.CodeUnavailable, d.get, "%s", d.absent)
	}
	if d.engine != Myriad {
		return nil
	}
	sticks := r.Sticks()
	if len(sticks) > 0 && !slices.ContainsFunc(sticks, func(s Stick) bool { return s.allowed() == nil }) {
		return inference.Refuse(inference.CodeUnavailable, "install Heron's udev rules, or give this user the group of that file", "the stick in port %s may not be used: %s: %v", sticks[0].Port, sticks[0].Node, sticks[0].allowed())
	}
	return nil
}

// present says whether the kernel shows the hardware.
func (r *Runtime) present(d device) bool {
	switch d.engine {
	case GPU:
		return r.intel("class/drm/renderD*")
	case NPU:
		return r.intel("class/accel/accel*")
	case Myriad:
		return len(r.Sticks()) > 0
	}
	return true
}

func (r *Runtime) intel(pattern string) bool {
	nodes, _ := filepath.Glob(filepath.Join(r.conf.Sysfs, pattern)) // its only error is a bad pattern
	return slices.ContainsFunc(nodes, func(n string) bool { return sysAttribute(n, "device/vendor") == "0x8086" })
}

// knownTo refuses a release that cannot have the device, in clearer words than its own.
func (d device) knownTo(version string) error {
	if d.engine == Myriad && !strings.HasPrefix(version, "2022.") {
		return inference.Refuse(inference.CodeUnavailable, "set "+d.env+" to OpenVINO 2022.3.1", "OpenVINO %s does not know the Neural Compute Stick; 2022.3.1 was the last", version)
	}
	return nil
}

// listedBy says why OpenVINO does not list the device ("GPU", "GPU.0", "MYRIAD.1.2-ma2480"); nil: it does.
func (d device) listedBy(l library) error {
	names, err := l.devices()
	if err != nil {
		return explain(d, l.version(), err.Error())
	}
	if slices.ContainsFunc(names, func(n string) bool { return n == d.name || strings.HasPrefix(n, d.name+".") }) {
		return nil
	}
	if _, err := l.property(d.name, "FULL_DEVICE_NAME"); err != nil { // the reason is in the refusal
		return explain(d, l.version(), err.Error())
	}
	return inference.Refuse(inference.CodeUnavailable, d.mend(""), "OpenVINO %s lists no %s; it lists %s", l.version(), d.name, strings.Join(names, ", "))
}

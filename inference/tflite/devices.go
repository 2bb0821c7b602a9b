package tflite

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// sysfsEnv names the environment variable that moves /sys, for tests.
const sysfsEnv = "HERON_SYSFS"

// Device is one Edge TPU that the kernel shows.
type Device struct {
	Name  string  // "usb:2-1.4" by the port it is plugged into, "pci:0" by the number of its node; as in inference.ParseChoice
	Node  string  // "/dev/bus/usb/002/005", "/dev/apex_0"; a stick gets another one each time it is plugged in
	Ready bool    // false: a stick whose firmware is not loaded yet; the first use loads it, and the stick comes back under other numbers
	Temp  float64 // °C; 0 where the driver does not say
}

// Devices lists what is attached; HERON_SYSFS moves /sys. No library is asked.
func Devices() []Device {
	return devices(cmp.Or(os.Getenv(sysfsEnv), "/sys"))
}

func devices(sysfs string) []Device {
	var out []Device
	sticks, _ := filepath.Glob(filepath.Join(sysfs, "bus/usb/devices/*/idVendor")) // Glob's only error is a bad pattern, and its answer is sorted
	for _, at := range sticks {
		dir := filepath.Dir(at)
		id := line(at) + ":" + line(filepath.Join(dir, "idProduct"))
		if id != "1a6e:089a" && id != "18d1:9302" {
			continue
		}
		bus, _ := strconv.Atoi(line(filepath.Join(dir, "busnum")))
		dev, _ := strconv.Atoi(line(filepath.Join(dir, "devnum")))
		out = append(out, Device{Name: "usb:" + filepath.Base(dir), Node: fmt.Sprintf("/dev/bus/usb/%03d/%03d", bus, dev), Ready: id == "18d1:9302"})
	}
	cards, _ := filepath.Glob(filepath.Join(sysfs, "class/apex/apex_*"))
	for _, dir := range cards {
		milli, _ := strconv.ParseFloat(line(filepath.Join(dir, "temp")), 64)
		name := filepath.Base(dir)
		out = append(out, Device{Name: "pci:" + strings.TrimPrefix(name, "apex_"), Node: "/dev/" + name, Ready: true, Temp: milli / 1000})
	}
	return out
}

// line is a sysfs file's one line, empty where there is none.
func line(path string) string {
	b, _ := os.ReadFile(path) // absence is a state here
	return strings.TrimSpace(string(b))
}

// find picks the devices that a name means: one, or all for "".
func find(all []Device, name string) []Device {
	if name == "" {
		return all
	}
	for _, d := range all {
		if d.Name == name {
			return []Device{d}
		}
	}
	return nil
}

// option is libedgetpu's word for a device: its place in libedgetpu's own list among those of its bus. seen is that list, one path a line;
// sticks stand there as /sys/bus/usb/devices/2-1, cards as /dev/apex_0.
func option(name, seen string) (string, bool) {
	if name == "" {
		return "", true
	}
	bus, base, _ := strings.Cut(name, ":")
	if bus == "pci" {
		base = "apex_" + base
	}
	n := 0
	for path := range strings.Lines(seen) {
		path = strings.TrimSpace(path)
		if card := strings.HasPrefix(filepath.Base(path), "apex_"); card != (bus == "pci") {
			continue
		}
		if filepath.Base(path) == base {
			return bus + ":" + strconv.Itoa(n), true
		}
		n++
	}
	return "", false
}

func names(all []Device) (out []string) {
	for _, d := range all {
		out = append(out, d.Name)
	}
	return out
}

const attachNext = "plug a Coral in; a card needs the gasket and apex drivers besides"

// noDevice is the refusal where nothing is attached, or not what was asked for; nil where there is something.
func noDevice(all []Device, name string) error {
	switch {
	case len(find(all, name)) > 0:
		return nil
	case name != "" && len(all) > 0:
		return unavailable("plug it in there again, or name one that is there, or edgetpu for any", fmt.Sprintf("no Edge TPU is at %s; there is %s", name, strings.Join(names(all), ", ")))
	case name != "":
		return unavailable(attachNext, "no Edge TPU is at "+name+"; none is attached at all")
	}
	return unavailable(attachNext, "no Edge TPU is attached (looked for USB 1a6e:089a and 18d1:9302, and for PCIe cards of the apex driver)")
}

// whyNot looks for what keeps libedgetpu from a device that is there: rights, a missing node, another process. proc is /proc.
func whyNot(proc string, ds []Device) (what, next string) {
	for _, d := range ds {
		err := syscall.Access(d.Node, 6) // read and write; to open the node of a card would take the card
		switch who := holder(proc, d.Node); {
		case errors.Is(err, fs.ErrNotExist):
			return d.Name + ": " + d.Node + " does not exist", "plug it in again; in a container or a sandbox, allow the device"
		case err != nil:
			return d.Name + ": this user may not open " + d.Node, "add the user to the group of that file (plugdev, apex), or install Heron's udev rules"
		case who != "":
			return d.Name + " is in use by " + who, "stop that process, or give each its own Edge TPU"
		}
	}
	return "another process may be using it", "stop the other process, or plug the Edge TPU in again"
}

// holder names the process that has a file open, as far as this user may see.
func holder(proc, node string) string {
	links, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == node {
			dir := filepath.Dir(filepath.Dir(l))
			return fmt.Sprintf("process %s (%s)", filepath.Base(dir), line(filepath.Join(dir, "comm")))
		}
	}
	return ""
}

package openvino

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Stick is a Neural Compute Stick 2 on the USB.
type Stick struct {
	Port   string // where it is plugged in: "1-2.3"; a stick that starts may move to the same port of a faster bus
	Booted bool   // its firmware is loaded: it is 03e7:f63b instead of 03e7:2485
	Node   string // /dev/bus/usb/001/004
}

const (
	movidius      = "03e7"
	stickUnbooted = "2485"
	stickBooted   = "f63b"
)

// Sticks lists the sticks that are plugged in, by port. A folder that is not there holds none.
func (r *Runtime) Sticks() []Stick {
	dirs, _ := filepath.Glob(filepath.Join(r.conf.Sysfs, "bus/usb/devices/*")) // its only error is a bad pattern
	var out []Stick
	for _, dir := range dirs {
		product := sysAttribute(dir, "idProduct")
		if sysAttribute(dir, "idVendor") != movidius || product != stickUnbooted && product != stickBooted {
			continue
		}
		bus, _ := strconv.Atoi(sysAttribute(dir, "busnum")) // 0 for a device that goes away just now: no such node
		number, _ := strconv.Atoi(sysAttribute(dir, "devnum"))
		out = append(out, Stick{Port: filepath.Base(dir), Booted: product == stickBooted, Node: filepath.Join(r.conf.Dev, "bus/usb", fmt.Sprintf("%03d/%03d", bus, number))})
	}
	slices.SortFunc(out, func(a, b Stick) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

// sysAttribute reads a line of sysfs; what cannot be read is empty.
func sysAttribute(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// allowed says whether this user may talk to the stick.
func (s Stick) allowed() error { return unix.Access(s.Node, unix.R_OK|unix.W_OK) }

// startsWithin is how long a stick may be off the bus between its two faces: generous, since no stick was at hand to measure it.
const startsWithin = 10 * time.Second

// Presence tells an unplugged stick from one that starts or stops: when its firmware is loaded, and when the program that loaded it ends,
// a stick leaves the bus and comes back as another device. The zero Presence has seen none. One goroutine uses it.
type Presence struct{ seen time.Time }

// Update takes what is plugged in now and says whether a stick is there, or may be about to come back.
func (p *Presence) Update(now time.Time, sticks []Stick) bool {
	if len(sticks) > 0 {
		p.seen = now
	}
	return !p.seen.IsZero() && now.Sub(p.seen) < startsWithin
}

// holder names the programs that have a stick open, as far as this user may see: "heron-vision (process 812)".
func (r *Runtime) holder() string {
	var out []string
	for _, s := range r.Sticks() {
		fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // its only error is a bad pattern
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err != nil || to != s.Node {
				continue
			}
			process := filepath.Dir(filepath.Dir(fd))
			out = append(out, fmt.Sprintf("%s (process %s)", sysAttribute(process, "comm"), filepath.Base(process)))
		}
	}
	return strings.Join(slices.Compact(out), ", ")
}

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

// startsWithin is how long a stick may be off the bus while it takes its firmware; one to two seconds were reported.
const startsWithin = 10 * time.Second

// Presence tells an unplugged stick from one that starts: when its firmware is loaded, a stick leaves the bus and comes back as another
// device. The zero Presence has seen none. One goroutine uses it.
type Presence struct {
	at     time.Time // when a stick was seen last
	booted bool      // as it was then
}

// Update takes what is plugged in now and says whether a stick is there, or about to come back.
func (p *Presence) Update(now time.Time, sticks []Stick) bool {
	if len(sticks) > 0 {
		p.at, p.booted = now, slices.ContainsFunc(sticks, func(s Stick) bool { return s.Booted })
		return true
	}
	return !p.at.IsZero() && !p.booted && now.Sub(p.at) < startsWithin
}

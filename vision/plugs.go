package vision

import (
	"cmp"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// plugs notices that something was plugged in, pulled, or came back under another number: sysfs tells of no change by itself, so the names there
// are compared once a second (about 30 µs for ten devices).
type plugs struct {
	sysfs  string
	looked time.Time
	seen   uint64
}

// plugEvery is how often sysfs is looked at.
const plugEvery = time.Second

// sysfsOf is where a child with that added to its environment looks: HERON_SYSFS moves /sys.
func sysfsOf(env []string) string {
	for _, v := range slices.Backward(env) {
		if root, ok := strings.CutPrefix(v, "HERON_SYSFS="); ok {
			return root
		}
	}
	return cmp.Or(os.Getenv("HERON_SYSFS"), "/sys")
}

// changed says whether anything is different from the last look.
func (p *plugs) changed(now time.Time) bool {
	if now.Sub(p.looked) < plugEvery {
		return false
	}
	before := p.seen
	p.looked, p.seen = now, attached(p.sysfs)
	return p.seen != before
}

// attached is a checksum of what is attached: USB devices with their numbers and kinds, PCIe accelerators, render nodes.
// A stick that has loaded its firmware changes its kind and its number: one change more, and no reason to do anything but try.
func attached(sysfs string) uint64 {
	h := fnv.New64a()
	for _, dir := range []string{"bus/usb/devices", "class/apex", "class/accel", "class/drm"} {
		list, _ := os.ReadDir(filepath.Join(sysfs, dir)) // absence is a state here
		for _, e := range list {
			io.WriteString(h, dir+"/"+e.Name())
			if dir == "bus/usb/devices" {
				for _, attribute := range []string{"devnum", "idVendor", "idProduct"} {
					b, _ := os.ReadFile(filepath.Join(sysfs, dir, e.Name(), attribute))
					h.Write(append(b, 0))
				}
			}
		}
	}
	return h.Sum64()
}

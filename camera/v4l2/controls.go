package v4l2

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"heron/camera"
)

const (
	queryControl = 0xc0445624
	setControl   = 0xc008561c

	controlDisabled = 0x1 // v4l2_queryctrl flags
)

// Controls as linux/v4l2-controls.h numbers them.
const (
	autoWhiteBalance = 0x0098090c
	autoGain         = 0x00980912
	gain             = 0x00980913
	powerLine        = 0x00980918
	whiteBalance     = 0x0098091a
	autoExposure     = 0x009a0901
	exposure         = 0x009a0902 // in units of 100 µs
	focus            = 0x009a090a
	autoFocus        = 0x009a090c

	manualExposure = 1
)

// controller is an open camera's controls.
type controller interface {
	limits(id uint32) (low, high int32, ok bool)
	set(id uint32, value int32) error
}

// wish is one control to be set. What chooses its value automatically is switched off before, where the camera has that.
type wish struct {
	name      string
	id        uint32
	value     int32
	auto      uint32 // 0: nothing to switch off
	autoValue int32  // what switches it off
}

func wishes(c camera.Controls) []wish {
	var out []wish
	if c.Exposure > 0 {
		out = append(out, wish{"exposure", exposure, int32((c.Exposure + 50*time.Microsecond) / (100 * time.Microsecond)), autoExposure, manualExposure})
	}
	if c.Gain > 0 {
		out = append(out, wish{"gain", gain, int32(min(c.Gain, 1<<30)), autoGain, 0})
	}
	if c.WhiteBalance > 0 {
		out = append(out, wish{"white_balance", whiteBalance, int32(c.WhiteBalance), autoWhiteBalance, 0})
	}
	if c.Focus > 0 {
		out = append(out, wish{"focus", focus, int32(min(c.Focus, 1<<30)), autoFocus, 0})
	}
	if c.PowerLine > 0 {
		out = append(out, wish{"power_line", powerLine, int32(c.PowerLine/10 - 4), 0, 0}) // 1 is 50 Hz, 2 is 60 Hz
	}
	return out
}

// apply sets what is wished for and says what could not be; the camera runs all the same.
func apply(c controller, wanted camera.Controls) (problems []string) {
	for _, w := range wishes(wanted) {
		low, high, ok := c.limits(w.id)
		value := min(max(w.value, low), high)
		switch {
		case !ok:
			problems = append(problems, "the camera has no "+w.name)
			continue
		case value != w.value && w.id == powerLine:
			problems = append(problems, fmt.Sprintf("power_line: the camera does not know %d Hz", wanted.PowerLine))
			continue
		case value != w.value:
			problems = append(problems, fmt.Sprintf("%s %d is not within the camera's %d to %d: %d is used", w.name, w.value, low, high, value))
		}
		if w.auto != 0 {
			if _, _, has := c.limits(w.auto); has {
				_ = c.set(w.auto, w.autoValue) // if that matters, the next one fails
			}
		}
		if err := c.set(w.id, value); err != nil {
			problems = append(problems, fmt.Sprintf("the camera refuses %s %d: %v", w.name, value, err))
		}
	}
	return problems
}

// adjust applies the configured controls to a camera that was opened just now.
func adjust(o camera.Options, path string) {
	if o.Controls == (camera.Controls{}) {
		return
	}
	fd, err := openNode(path)
	if err != nil {
		o.Tell("controls: %v", named(path, err))
		return
	}
	defer unix.Close(fd)
	if problems := apply(descriptor(fd), o.Controls); len(problems) > 0 {
		o.Tell("controls: %s", strings.Join(problems, "; "))
	}
}

// descriptor is an open node's.
type descriptor int

func (d descriptor) limits(id uint32) (low, high int32, ok bool) {
	b := make([]byte, 68)
	put32(b, 0, id)
	if ask(int(d), queryControl, b) != nil || u32(b, 56)&controlDisabled != 0 {
		return 0, 0, false
	}
	return int32(u32(b, 40)), int32(u32(b, 44)), true
}

func (d descriptor) set(id uint32, value int32) error {
	b := make([]byte, 8)
	put32(b, 0, id, uint32(value))
	return ask(int(d), setControl, b)
}

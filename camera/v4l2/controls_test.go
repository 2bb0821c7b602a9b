package v4l2

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"heron/camera"
)

// box is a camera with controls; those of stuck are refused while what chooses them automatically is on.
type box struct {
	has  map[uint32][2]int32
	auto map[uint32]bool
	log  []string
}

func (b *box) limits(id uint32) (low, high int32, ok bool) {
	l, ok := b.has[id]
	return l[0], l[1], ok
}

func (b *box) set(id uint32, v int32) error {
	if id == exposure && b.auto[autoExposure] {
		return unix.EACCES
	}
	b.auto[id] = id == autoExposure && v != manualExposure
	b.log = append(b.log, fmt.Sprintf("%x=%d", id, v))
	return nil
}

func TestControls(t *testing.T) {
	all := camera.Controls{Exposure: 12340 * time.Microsecond, Gain: 300, WhiteBalance: 4500, Focus: 20, PowerLine: 60}
	b := &box{map[uint32][2]int32{autoExposure: {0, 3}, exposure: {3, 2047}, gain: {0, 255}, autoWhiteBalance: {0, 1}, whiteBalance: {2800, 6500}, powerLine: {0, 2}},
		map[uint32]bool{autoExposure: true}, nil}
	problems := apply(b, all)
	if got, want := strings.Join(b.log, " "), "9a0901=1 9a0902=123 980913=255 98090c=0 98091a=4500 980918=2"; got != want {
		t.Errorf("set %s, want %s", got, want)
	}
	if got, want := strings.Join(problems, "|"), "gain 300 is not within the camera's 0 to 255: 255 is used|the camera has no focus"; got != want {
		t.Errorf("problems %s, want %s", got, want)
	}
	stuck := &box{map[uint32][2]int32{exposure: {3, 2047}, powerLine: {0, 1}}, map[uint32]bool{autoExposure: true}, nil}
	if got := strings.Join(apply(stuck, all), "|"); !strings.Contains(got, "refuses exposure 123: permission denied") || !strings.Contains(got, "does not know 60 Hz") {
		t.Error(got)
	}
	if p := apply(stuck, camera.Controls{}); p != nil {
		t.Error(p)
	}
}

// A camera without the controls says so once, and runs.
func TestControlsThatAreMissingAreTold(t *testing.T) {
	r := newTree(t)
	r.plug(0, 0, "1-1.1:1.0", "S1", "front cam")
	var notes []string
	o := camera.Options{Source: "usb:S1", Controls: camera.Controls{Gain: 3, Focus: 4}, Note: func(s string) { notes = append(notes, s) }}
	if _, err := New(r.Roots, openStub)(t.Context(), o); err != nil || len(notes) != 1 || !strings.Contains(notes[0], "no gain; the camera has no focus") {
		t.Errorf("%v, %q", err, notes)
	}
}

package v4l2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"heron/camera"
)

// The few requests of linux/videodev2.h that are used here: number, and the size of what they exchange (in the number's bits 16 to 29).
const (
	queryCap       = 0x80685600
	enumFormats    = 0xc0405602
	requestBuffers = 0xc0145608
	enumSizes      = 0xc02c564a
	enumIntervals  = 0xc034564b

	capCapture       = 0x1 // device_caps
	capCaptureMplane = 0x1000
	capDeviceCaps    = 0x80000000

	typeCapture       = 1 // v4l2_buf_type
	typeCaptureMplane = 9
	memoryMmap        = 1

	discrete = 1 // v4l2_frmsizetypes, v4l2_frmivaltypes

	mostModes = 128 // a driver's list that does not end ends here
)

// ask does one ioctl, again after signals.
func ask(fd int, request uint, data []byte) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(unsafe.SliceData(data))))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// openNode opens without waiting; files that are no devices are refused.
func openNode(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return fd, err
	}
}

func u32(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
func put32(b []byte, at int, v ...uint32) {
	for i, x := range v {
		binary.NativeEndian.PutUint32(b[at+4*i:], x)
	}
}

// capabilities asks an open node what it is: device_caps.
func capabilities(fd int) (uint32, error) {
	b := make([]byte, 104)
	if err := ask(fd, queryCap, b); err != nil {
		return 0, err
	}
	if caps := u32(b, 84); caps&capDeviceCaps == 0 {
		return caps, nil
	}
	return u32(b, 88), nil
}

// capture says whether the node takes pictures, where it can be asked.
func capture(path string) (takes, known bool) {
	fd, err := openNode(path)
	if err != nil {
		return false, false
	}
	defer unix.Close(fd)
	caps, err := capabilities(fd)
	return caps&(capCapture|capCaptureMplane) != 0, err == nil
}

// Modes lists the camera's formats and sizes; the error says why they are not known.
func Modes(path string) ([]camera.Mode, error) {
	fd, err := openNode(path)
	if err != nil {
		return nil, named(path, err)
	}
	defer unix.Close(fd)
	caps, err := capabilities(fd)
	if err != nil {
		return nil, fmt.Errorf("v4l2: %s does not answer as a camera: %w", path, err)
	}
	kind := uint32(typeCapture)
	if caps&capCapture == 0 {
		kind = typeCaptureMplane
	}
	var out []camera.Mode
	for i := uint32(0); i < mostModes; i++ {
		b := make([]byte, 64)
		put32(b, 0, i, kind)
		if ask(fd, enumFormats, b) != nil {
			break
		}
		out = append(out, sizes(fd, u32(b, 44))...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("v4l2: %s names no picture formats", path)
	}
	return out, nil
}

// sizes of one format. One that is stepwise is told by its largest.
func sizes(fd int, format uint32) []camera.Mode {
	var out []camera.Mode
	for i := uint32(0); i < mostModes; i++ {
		b := make([]byte, 44)
		put32(b, 0, i, format)
		if ask(fd, enumSizes, b) != nil {
			break
		}
		w, h := u32(b, 12), u32(b, 16)
		if u32(b, 8) != discrete { // min, max, step of the width; of the height
			w, h = u32(b, 16), u32(b, 28)
		}
		out = append(out, camera.Mode{Format: fourcc(format), Width: int(w), Height: int(h), FPS: rates(fd, format, w, h)})
		if u32(b, 8) != discrete {
			break
		}
	}
	if len(out) == 0 {
		out = append(out, camera.Mode{Format: fourcc(format)})
	}
	return out
}

func rates(fd int, format, w, h uint32) []float64 {
	var out []float64
	for i := uint32(0); i < mostModes; i++ {
		b := make([]byte, 52)
		put32(b, 0, i, format, w, h)
		if ask(fd, enumIntervals, b) != nil {
			break
		}
		if n, d := u32(b, 20), u32(b, 24); n > 0 { // seconds a frame; of a stepwise list the shortest
			out = append(out, float64(int(100*float64(d)/float64(n)+0.5))/100)
		}
		if u32(b, 16) != discrete {
			break
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return slices.Compact(out)
}

func fourcc(v uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, v&0x7fffffff)
	return strings.TrimSpace(string(bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, b)))
}

// explain adds to a driver's failure what it did not find out itself: why this node cannot be opened, or that another program has it.
func explain(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EBUSY) || errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	fd, oerr := openNode(path)
	if oerr != nil {
		return named(path, oerr)
	}
	defer unix.Close(fd)
	if caps, cerr := capabilities(fd); cerr != nil {
		return err
	} else if caps&(capCapture|capCaptureMplane) == 0 {
		return fmt.Errorf("v4l2: %s is no camera: it takes no pictures (a camera has further nodes; heron camera list names the right one)", path)
	}
	b := make([]byte, 20)
	put32(b, 0, 1, typeCapture, memoryMmap)
	rerr := ask(fd, requestBuffers, b)
	if errors.Is(rerr, unix.EBUSY) {
		return named(path, unix.EBUSY)
	}
	if rerr == nil {
		put32(b, 0, 0, typeCapture, memoryMmap)
		_ = ask(fd, requestBuffers, b) // the descriptor goes anyway
	}
	return err
}

// named puts what the kernel answered into words, with the next step.
func named(path string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("v4l2: %s is in use by %s: end that, or give it another camera: %w", path, holder(path), unix.EBUSY)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("v4l2: no permission to open %s: add the user to the group video: %w", path, fs.ErrPermission)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("v4l2: no device %s: heron camera list shows what is attached: %w", path, fs.ErrNotExist)
	}
	return fmt.Errorf("v4l2: open %s: %w", path, err)
}

// holder names the process that has the node open, where we may see it.
func holder(path string) string {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is good
	for _, l := range links {
		if to, err := os.Readlink(l); err != nil || to != path {
			continue
		}
		pid := strings.Split(l, "/")[2]
		if pid == fmt.Sprint(os.Getpid()) {
			continue
		}
		return fmt.Sprintf("process %s (%s)", pid, line("/proc/"+pid+"/comm"))
	}
	return "another program (fuser -v " + path + " names it)"
}

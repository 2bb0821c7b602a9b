// Package camera makes frames: a Device reads one camera, a Source keeps it read, paced and reopened, and hands on the newest frame only.
//
// Drivers live in folders below (opencv, replay) and know this package, never each other.
package camera

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Frame is one picture: packed 8-bit BGR, row after row, Stride bytes a row (Stride ≥ 3·Width).
//
// The holder of a Frame owns Pix until it hands the Frame back or on; a Device writes into it only inside Read.
type Frame struct {
	Pix                   []byte
	Width, Height, Stride int
	Seq                   uint64        // number of this frame within its device, from 1
	At                    time.Time     // capture time: wall clock with Go's monotonic reading
	Device                time.Duration // the driver's own timestamp where there is one; 0 is none
	Jumps                 uint64        // how often Device had gone back or jumped before or at this frame; At has not
	Name                  string        // file name of a picture; empty for live cameras

	masked []rect // where masks made it black; never written to again
}

// Device is one open camera. One goroutine owns it: Read and Close are never called at the same time
// (closing a native capture during a blocked read crashes the process), so a Read that hangs costs the process, not the caller's sanity.
type Device interface {
	// Read fills f with the next frame, reusing f.Pix where it is large enough. It may block for ever.
	// io.EOF is the regular end of a file or folder; any other error means "open anew" unless it is Temporary.
	Read(f *Frame) error
	// Close frees the device. Only the owner calls it, once, and never during Read.
	Close() error
}

// Grabber is a Device that can take a frame in without decoding it, so that frames nobody will look at cost next to nothing.
type Grabber interface {
	Device
	// Grab waits for the next frame and keeps it undecoded in place of the one before; the next Read decodes it instead of waiting.
	// Its errors mean what Read's mean.
	Grab() error
}

// Lossless is a Device that may say that each of its frames is wanted once: a folder of pictures, a video file.
// Its frames wait for the consumer instead of being replaced by newer ones.
type Lossless interface {
	Lossless() bool
}

// ErrTemporary marks a failure that concerns one frame only: the same device is read again. (V4L2's EINTR trap, a damaged JPEG,
// a broken picture in a folder.)
var ErrTemporary = errors.New("temporary read failure")

// ErrDamaged is an ErrTemporary of a frame that came and could not be decoded: it is counted.
var ErrDamaged error = damaged{}

type damaged struct{}

func (damaged) Error() string        { return ErrTemporary.Error() }
func (damaged) Is(target error) bool { return target == ErrTemporary }

// Options say which camera to open and how.
type Options struct {
	Name          string        // the camera's name in the configuration
	Source        string        // "v4l2:/dev/video0", "rtsp://…", "pictures:/folder?loop=true", …
	Width, Height int           // wanted size; 0 is the camera's own
	FPS           float64       // how often Next hands a frame on, at most; 0 is every frame
	OpenTimeout   time.Duration // bound given to drivers that take one; 0 is the driver's default
	ReadTimeout   time.Duration

	View         View     // applied to each frame before it is handed on
	Controls     Controls // of the camera itself
	Username     string   // of a network camera
	PasswordFile string   // … read at each opening; the password is never part of Source, a message or an argument

	// Step, which may be nil, says that the opener goes on: how long a call into the driver has taken is counted anew. It is for openers that
	// make several calls, each with its own deadline, or wait for their turn.
	Step func()

	// Note tells people of something that did not keep the camera from opening: a control that it lacks, another node than before.
	// A Source shows it as its LastError; it may be nil: use Tell.
	Note func(what string)
}

// Tell passes what on to Note, where there is one.
func (o Options) Tell(format string, args ...any) {
	if o.Note != nil {
		o.Note(fmt.Sprintf(format, args...))
	}
}

// Opener opens the device an Options names. A driver returns ErrNotMine for a source scheme that it does not serve.
type Opener func(ctx context.Context, o Options) (Device, error)

// ErrNotMine is a driver's answer to a source scheme of another driver.
var ErrNotMine = errors.New("source is for another driver")

//go:build !opencv

package opencv

import (
	"context"
	"errors"
	"fmt"

	"heron/camera"
)

// Version is empty: this program was built without OpenCV.
func Version() string { return "" }

// Open refuses the sources that need OpenCV.
func Open(_ context.Context, o camera.Options) (camera.Device, error) {
	if !serves(o.Source) {
		return nil, camera.ErrNotMine
	}
	return nil, fmt.Errorf("source %s: this heron-vision was built without OpenCV; make one with it: make build: %w",
		camera.Redact(o.Source), errors.ErrUnsupported)
}

// Decoder is nil: pictures are decoded by Go.
func Decoder() func(data []byte, f *camera.Frame) error { return nil }

// Encoder is the one that needs nothing but Go.
func Encoder() camera.Encoder { return camera.EncodeJPEG }

// Resizer is nil: frames are resized by Go.
func Resizer() func(dst []byte, dw, dh int, src []byte, sw, sh, stride int) bool { return nil }

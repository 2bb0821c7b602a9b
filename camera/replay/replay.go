// Package replay is the camera driver that needs no camera: folders of pictures and a test card, in pure Go.
package replay

import (
	"context"

	"heron/camera"
)

// Decoder turns the bytes of one picture file into a packed BGR frame, reusing f.Pix where it is large enough. It fails on whatever
// is not a picture; size limits were checked before it is called.
type Decoder func(data []byte, f *camera.Frame) error

// New makes the opener for "pictures:" and "testcard:". A nil decode is Go's own decoders; a program with OpenCV passes OpenCV's,
// so that pixels equal those of cv2.imread.
func New(decode Decoder) camera.Opener {
	files := Files{Decode: decode}
	return func(_ context.Context, o camera.Options) (camera.Device, error) {
		switch camera.Scheme(o.Source) {
		case "pictures":
			return openPictures(o, files)
		case "testcard":
			return openCard(o)
		default:
			return nil, camera.ErrNotMine
		}
	}
}

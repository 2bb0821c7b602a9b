//go:build opencv

package opencv

// #include <stddef.h>
// int heron_decode(void *into, const unsigned char *data, size_t n);
import "C"

import (
	"unsafe"

	"gocv.io/x/gocv"

	"heron/camera"
)

// decode makes f the picture in data; width and height are the size expected. What is no picture, or damaged so that its pixels cannot be made,
// is errNoPicture, and f has no use then.
func decode(f *camera.Frame, width, height int, data []byte) error {
	return fill(f, width, height, func(m *gocv.Mat) bool {
		return len(data) > 0 && C.heron_decode(unsafe.Pointer(m.Ptr()), (*C.uchar)(unsafe.SliceData(data)), C.size_t(len(data))) != 0
	})
}

//go:build opencv

package opencv

// #include <stddef.h>
// int heron_resize(unsigned char *dst, int dw, int dh, const unsigned char *src, int sw, int sh, size_t stride);
import "C"

import "unsafe"

// Resizer is cv::resize with INTER_LINEAR for 8-bit BGR: of the sw × sh pixels that src starts with, whose rows lie stride bytes apart,
// to a packed picture of dw × dh. It keeps nothing, may be called from several goroutines at once, and says false when it could not.
func Resizer() func(dst []byte, dw, dh int, src []byte, sw, sh, stride int) bool {
	setUp()
	return resize
}

func resize(dst []byte, dw, dh int, src []byte, sw, sh, stride int) bool {
	if dw < 1 || dh < 1 || sw < 1 || sh < 1 || len(dst) < 3*dw*dh || stride < 3*sw || len(src) < (sh-1)*stride+3*sw {
		return false
	}
	return C.heron_resize((*C.uchar)(unsafe.SliceData(dst)), C.int(dw), C.int(dh),
		(*C.uchar)(unsafe.SliceData(src)), C.int(sw), C.int(sh), C.size_t(stride)) != 0
}

//go:build opencv

package opencv

import (
	"errors"
	"fmt"
	"image"
	"runtime"
	"unsafe"

	"gocv.io/x/gocv"

	"heron/camera"
)

// fill lets write put a picture into a Mat that lies over f.Pix, so that OpenCV writes where the consumer will read: no copy.
// Width and height are those expected; when the picture has others, OpenCV takes memory of its own and it is copied from there.
// write says false, or leaves the Mat empty, when there is no picture. The Go memory is pinned for as long as C++ knows it.
func fill(f *camera.Frame, width, height int, write func(m *gocv.Mat) bool) error {
	n := 3 * width * height
	if cap(f.Pix) < n {
		f.Pix = make([]byte, n)
	}
	f.Pix = f.Pix[:n]
	m := gocv.Mat{}
	var pin runtime.Pinner
	if n > 0 {
		pin.Pin(unsafe.SliceData(f.Pix))
		defer pin.Unpin()
		var err error
		if m, err = gocv.NewMatFromBytes(height, width, gocv.MatTypeCV8UC3, f.Pix); err != nil {
			return err
		}
	} else {
		m = gocv.NewMat()
	}
	defer m.Close()
	if !write(&m) || m.Empty() {
		return errNoPicture
	}
	return take(f, &m)
}

// errNoPicture is what OpenCV's "false" and its empty Mat become; callers say what it means for them.
var errNoPicture = errors.New("no picture")

// take makes f the picture in m, which may lie in f.Pix already.
func take(f *camera.Frame, m *gocv.Mat) error {
	switch {
	case m.Type() == gocv.MatTypeCV8UC3:
	case m.Type() == gocv.MatTypeCV8UC1 && m.Rows() == 1: // a pipeline that ends in image/jpeg
		data, err := m.DataPtrUint8()
		if err != nil {
			return err
		}
		return decode(f, f.Width, f.Height, data)
	case m.Type() == gocv.MatTypeCV8UC1:
		return converted(f, m, gocv.ColorGrayToBGR)
	case m.Type() == gocv.MatTypeCV8UC4:
		return converted(f, m, gocv.ColorBGRAToBGR)
	default:
		return fmt.Errorf("pixels of type %v are not 8-bit colour or grey", m.Type())
	}
	src, err := m.DataPtrUint8()
	if err != nil {
		return err
	}
	f.Width, f.Height, f.Stride = m.Cols(), m.Rows(), 3*m.Cols()
	if len(f.Pix) == len(src) && unsafe.SliceData(f.Pix) == unsafe.SliceData(src) {
		return nil
	}
	f.Pix = append(f.Pix[:0], src...)
	return nil
}

func converted(f *camera.Frame, m *gocv.Mat, code gocv.ColorConversionCode) error {
	bgr := gocv.NewMat()
	defer bgr.Close()
	if err := gocv.CvtColor(*m, &bgr, code); err != nil {
		return err
	}
	return take(f, &bgr)
}

// Decoder decodes a picture file's bytes as cv2.imread does: three channels, turned as EXIF says. A size in f is the one expected.
func Decoder() func(data []byte, f *camera.Frame) error {
	setUp()
	return func(data []byte, f *camera.Frame) error {
		err := decode(f, f.Width, f.Height, data)
		if errors.Is(err, errNoPicture) {
			return errors.New("OpenCV cannot decode it")
		}
		return err
	}
}

// Encoder makes JPEGs with OpenCV.
func Encoder() camera.Encoder {
	setUp()
	return encode
}

func encode(f *camera.Frame, maxWidth, quality int) ([]byte, error) {
	if f.Stride != 3*f.Width || len(f.Pix) < f.Stride*f.Height {
		return camera.EncodeJPEG(f, maxWidth, quality)
	}
	var pin runtime.Pinner
	pin.Pin(unsafe.SliceData(f.Pix))
	defer pin.Unpin()
	m, err := gocv.NewMatFromBytes(f.Height, f.Width, gocv.MatTypeCV8UC3, f.Pix)
	if err != nil {
		return nil, fmt.Errorf("encode JPEG: %w", err)
	}
	defer m.Close()
	small := &m
	if maxWidth > 0 && f.Width > maxWidth {
		s := gocv.NewMat()
		defer s.Close()
		size := image.Pt(maxWidth, max(1, f.Height*maxWidth/f.Width))
		if err := gocv.Resize(m, &s, size, 0, 0, gocv.InterpolationArea); err != nil {
			return nil, fmt.Errorf("encode JPEG: %w", err)
		}
		small = &s
	}
	b, err := gocv.IMEncodeWithParams(gocv.JPEGFileExt, *small, []int{gocv.IMWriteJpegQuality, quality})
	if err != nil {
		return nil, fmt.Errorf("encode JPEG: %w", err)
	}
	defer b.Close()
	return append([]byte(nil), b.GetBytes()...), nil
}

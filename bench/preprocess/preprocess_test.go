//go:build opencv && cgo

// Package preprocess compares Heron's preprocessing with the calls that people use for it in OpenCV.
package preprocess

import (
	"fmt"
	"hash/crc32"
	"image"
	"testing"

	"gocv.io/x/gocv"

	"heron/inference"
)

const width, height = 640, 480

func picture() []byte {
	s, out := uint32(1), make([]byte, width*height*3)
	for i := range out {
		s = s*1664525 + 1013904223
		out[i] = byte(s >> 24)
	}
	return out
}

func input(side int, t inference.DType, layout string) inference.Input {
	in := inference.Input{Width: side, Height: side, Layout: layout, DType: t, Color: "RGB"}
	if t == inference.Float32 {
		in.Mean, in.Std = []float64{128, 128, 128}, []float64{128, 128, 128}
	}
	return in
}

func heron(tb testing.TB, in inference.Input) (*inference.Preprocessor, *inference.Tensor) {
	tb.Helper()
	s := in.Shape()
	n := s[1] * s[2] * s[3]
	t := &inference.Tensor{Name: "input", DType: in.DType, Shape: s}
	if in.DType == inference.Float32 {
		t.F32 = make([]float32, n)
	} else {
		t.U8 = make([]uint8, n)
	}
	p, err := inference.NewPreprocessor(in, t)
	if err != nil {
		tb.Fatal(err)
	}
	return p, t
}

// BenchmarkHeron is the whole way from a BGR frame to the engine's tensor.
func BenchmarkHeron(b *testing.B) {
	for _, side := range []int{96, 128, 192, 224, 320} {
		for _, in := range []inference.Input{input(side, inference.Float32, "NCHW"), input(side, inference.Float32, "NHWC"), input(side, inference.Uint8, "NHWC")} {
			b.Run(fmt.Sprintf("%d/%s/%s", side, in.DType, in.Layout), func(b *testing.B) {
				p, _ := heron(b, in)
				pix := picture()
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Run(pix, width, height, 3*width); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkOpenCV is cv::resize + cvtColor, and for float32 the work of blobFromImage in as few passes as OpenCV has for it
// (convertTo with scale and offset, then one plane a channel; blobFromImage itself, in a module that Heron does not link, takes more).
// One thread, every Mat reused.
func BenchmarkOpenCV(b *testing.B) {
	gocv.SetNumThreads(1)
	src, err := gocv.NewMatFromBytes(height, width, gocv.MatTypeCV8UC3, picture())
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	for _, side := range []int{96, 128, 192, 224, 320} {
		for _, kind := range []string{"float32/NCHW", "uint8/NHWC"} {
			b.Run(fmt.Sprintf("%d/%s", side, kind), func(b *testing.B) {
				var m mats
				m.open()
				defer m.close()
				for b.Loop() {
					if err := m.run(src, side, kind == "float32/NCHW"); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// mats are OpenCV's stations.
type mats struct {
	small, rgb, real gocv.Mat
	planes           [3]gocv.Mat
}

func (m *mats) all() []*gocv.Mat {
	return []*gocv.Mat{&m.small, &m.rgb, &m.real, &m.planes[0], &m.planes[1], &m.planes[2]}
}

func (m *mats) open() {
	for _, x := range m.all() {
		*x = gocv.NewMat()
	}
}

func (m *mats) close() {
	for _, x := range m.all() {
		x.Close()
	}
}

func (m *mats) run(src gocv.Mat, side int, real bool) error {
	if err := gocv.Resize(src, &m.small, image.Pt(side, side), 0, 0, gocv.InterpolationLinear); err != nil {
		return err
	}
	if err := gocv.CvtColor(m.small, &m.rgb, gocv.ColorBGRToRGB); err != nil || !real {
		return err
	}
	if err := m.rgb.ConvertToWithParams(&m.real, gocv.MatTypeCV32FC3, 1.0/128, -1); err != nil {
		return err
	}
	for c := range m.planes {
		if err := gocv.ExtractChannel(m.real, &m.planes[c], c); err != nil {
			return err
		}
	}
	return nil
}

// TestSameBytes: Heron's tensor is OpenCV's, byte for byte, with the OpenCV that is linked here.
func TestSameBytes(t *testing.T) {
	src, err := gocv.NewMatFromBytes(height, width, gocv.MatTypeCV8UC3, picture())
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, side := range []int{96, 128, 192, 224, 320, 700} {
		var m mats
		m.open()
		defer m.close()
		if err := m.run(src, side, true); err != nil {
			t.Fatal(err)
		}
		p, out := heron(t, input(side, inference.Uint8, "NHWC"))
		if err := p.Run(picture(), width, height, 3*width); err != nil {
			t.Fatal(err)
		}
		if want := m.rgb.ToBytes(); crc32.ChecksumIEEE(want) != crc32.ChecksumIEEE(out.U8) {
			t.Errorf("%d: differs from OpenCV %s", side, gocv.OpenCVVersion())
		}
		q, real := heron(t, input(side, inference.Float32, "NCHW"))
		if err := q.Run(picture(), width, height, 3*width); err != nil {
			t.Fatal(err)
		}
		for c := range m.planes {
			want, err := m.planes[c].DataPtrFloat32()
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range want {
				if got := real.F32[c*side*side+i]; got != w {
					t.Fatalf("%d: channel %d at %d is %v, OpenCV says %v", side, c, i, got, w)
				}
			}
		}
	}
}

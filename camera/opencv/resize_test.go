//go:build opencv

package opencv

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"heron/inference"
)

// speckled is a picture of noise whose rows lie stride bytes apart, as short as it may be.
func speckled(w, h, stride int) []byte {
	s, out := uint32(w*65536+h), make([]byte, (h-1)*stride+3*w)
	for i := range out {
		s = s*1664525 + 1013904223
		out[i] = byte(s >> 24)
	}
	return out
}

func bytesOf(tb testing.TB, in inference.Input, r inference.Resizer) (*inference.Preprocessor, []byte) {
	tb.Helper()
	in.Layout, in.DType, in.Color = "NHWC", inference.Uint8, "BGR"
	dst := make([]byte, 3*in.Width*in.Height)
	p, err := inference.NewPreprocessor(in, &inference.Tensor{Name: "input", DType: in.DType, Shape: in.Shape(), U8: dst})
	if err != nil {
		tb.Fatal(err)
	}
	p.ResizeWith(r)
	return p, dst
}

var shapes = struct{ frames, tensors [][2]int }{
	[][2]int{{640, 480}, {641, 479}, {480, 640}, {1280, 720}, {320, 240}, {448, 448}, {224, 224}, {100, 75}, {17, 5}, {2, 2}, {1, 1}, {1, 300}, {300, 1}},
	[][2]int{{224, 224}, {320, 320}, {300, 300}, {96, 96}, {640, 384}, {33, 7}, {1, 1}, {5, 64}},
}

// TestResizerIsGoPath: both ways of resizing make the same tensor, to the byte, whatever the part of the frame and its stride,
// and it is OpenCV that is used from the second frame of a size on.
func TestResizerIsGoPath(t *testing.T) {
	for _, how := range []string{"stretch", "crop", "letterbox"} {
		for _, to := range shapes.tensors {
			calls, took := 0, 0
			counted := func(dst []byte, dw, dh int, src []byte, sw, sh, stride int) bool {
				calls++
				ok := resize(dst, dw, dh, src, sw, sh, stride)
				if ok {
					took++
				}
				return ok
			}
			in := inference.Input{Width: to[0], Height: to[1], Resize: how}
			ours, want := bytesOf(t, in, nil)
			theirs, got := bytesOf(t, in, counted)
			for _, from := range shapes.frames {
				w, h := from[0], from[1]
				first := calls
				for i, stride := range []int{3 * w, 3*w + 1, 3*w + 61} {
					pix := speckled(w, h, stride)
					if i == 2 {
						pix[0] ^= 0xff
					}
					if err := ours.Run(pix, w, h, stride); err != nil {
						t.Fatal(err)
					}
					if err := theirs.Run(pix, w, h, stride); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(want, got) {
						t.Errorf("%s %v to %v, stride %d: other bytes", how, from, to, stride)
					}
				}
				if n := calls - first; n != 0 && n != 3 {
					t.Errorf("%s %v to %v: OpenCV was asked %d times of 3: its bytes differed", how, from, to, n)
				}
			}
			if calls == 0 || took != calls {
				t.Errorf("%s to %v: OpenCV resized %d of %d", how, to, took, calls)
			}
		}
	}
}

// TestResizerDirectly: no first frame decides here.
func TestResizerDirectly(t *testing.T) {
	r := Resizer()
	for _, to := range shapes.tensors {
		p, want := bytesOf(t, inference.Input{Width: to[0], Height: to[1]}, nil)
		for _, from := range shapes.frames {
			stride := 3*from[0] + 7
			pix, got := speckled(from[0], from[1], stride), make([]byte, len(want))
			if err := p.Run(pix, from[0], from[1], stride); err != nil {
				t.Fatal(err)
			}
			if !r(got, to[0], to[1], pix, from[0], from[1], stride) || !bytes.Equal(want, got) {
				t.Errorf("%v to %v: refused, or other bytes", from, to)
			}
		}
	}
}

func TestResizerRefuses(t *testing.T) {
	r, pix := Resizer(), make([]byte, 300)
	for _, c := range []struct{ n, dw, dh, m, sw, sh, stride int }{
		{299, 10, 10, 300, 10, 10, 30}, {300, 10, 10, 299, 10, 10, 30}, {300, 10, 10, 300, 10, 10, 29}, {300, 0, 10, 300, 10, 10, 30},
		{300, 10, -1, 300, 10, 10, 30}, {300, 10, 10, 300, 0, 10, 30}, {300, 10, 10, 300, 10, 0, 30}, {0, 1, 1, 300, 10, 10, 30}, {300, 10, 10, 0, 1, 1, 3},
	} {
		if r(pix[:c.n], c.dw, c.dh, pix[:c.m], c.sw, c.sh, c.stride) {
			t.Errorf("%+v was resized", c)
		}
	}
}

// TestResizerForSeveral: one Resizer serves all slots at the same time.
func TestResizerForSeveral(t *testing.T) {
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			w, h := 200+31*i, 150+17*i
			in := inference.Input{Width: 96 + i, Height: 90}
			ours, want := bytesOf(t, in, nil)
			theirs, got := bytesOf(t, in, Resizer())
			pix := speckled(w, h, 3*w)
			for range 20 {
				pix[3*i+400]++
				if ours.Run(pix, w, h, 3*w) != nil || theirs.Run(pix, w, h, 3*w) != nil || !bytes.Equal(want, got) {
					t.Errorf("slot %d: refused, or other bytes", i)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkResizer(b *testing.B) {
	for name, r := range map[string]inference.Resizer{"Go": nil, "OpenCV": Resizer()} {
		for _, side := range []int{96, 224, 320} {
			b.Run(fmt.Sprintf("%s/%d", name, side), func(b *testing.B) {
				p, _ := bytesOf(b, inference.Input{Width: side, Height: side}, r)
				pix := speckled(640, 480, 1920)
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Run(pix, 640, 480, 1920); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

package inference

import (
	"bytes"
	"testing"
)

// goResizer is a Resizer by the Go path; calls counts how often it was asked. change may spoil what it made.
func goResizer(t *testing.T, calls *int, change func(dst []byte) bool) Resizer {
	return func(dst []byte, dw, dh int, src []byte, sw, sh, stride int) bool {
		*calls++
		if len(dst) != 3*dw*dh || len(src) < (sh-1)*stride+3*sw || stride < 3*sw {
			t.Errorf("asked for %d × %d of %d × %d with %d and %d bytes", dw, dh, sw, sh, len(dst), len(src))
			return false
		}
		l := newLinear(sw, sh, dw, dh, false)
		for y := range dh {
			l.line(dst[3*dw*y:][:3*dw], src, stride, y)
		}
		return change(dst)
	}
}

// TestResizerIsTrustedOnlyWhereItIsTheSame: whatever a Resizer makes or refuses, the tensor is the one without it; one that is right is
// asked for every frame, one that is not for the first of each size, and none where the manifest asks for something else.
func TestResizerIsTrustedOnlyWhereItIsTheSame(t *testing.T) {
	right := func([]byte) bool { return true }
	asked := 0
	everySecond := func(dst []byte) bool {
		if asked++; asked%2 == 0 {
			clear(dst)
			return false
		}
		return true
	}
	for name, c := range map[string]struct {
		resize, filter string
		change         func(dst []byte) bool
		calls          int // of 3 frames of each of 2 sizes
	}{
		"right":            {"stretch", "", right, 6},
		"right, crop":      {"crop", "bilinear", right, 6},
		"right, letterbox": {"letterbox", "", right, 6},
		"area":             {"stretch", "area", right, 0},
		"one bit is wrong": {"stretch", "", func(dst []byte) bool { dst[len(dst)-1] ^= 1; return true }, 2},
		"cannot":           {"crop", "", func(dst []byte) bool { clear(dst); return false }, 2},
		"fails later":      {"stretch", "", everySecond, 4},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Width: 31, Height: 20, Layout: "NHWC", DType: Uint8, Color: "RGB", Resize: c.resize, Filter: c.filter}
			want, got, calls := tensorFor(in), tensorFor(in), 0
			plain, err := NewPreprocessor(in, want)
			if err != nil {
				t.Fatal(err)
			}
			p, err := NewPreprocessor(in, got)
			if err != nil {
				t.Fatal(err)
			}
			p.ResizeWith(goResizer(t, &calls, c.change))
			for _, size := range [][2]int{{100, 75}, {17, 90}} {
				w, h := size[0], size[1]
				for i := range 3 {
					pix := noise(w+1, h+i)[:3*(w+1)*(h-1)+3*w] // one pixel more a row than is seen
					if plain.Run(pix, w, h, 3*w+3) != nil || p.Run(pix, w, h, 3*w+3) != nil {
						t.Fatal("refused")
					}
					if !bytes.Equal(want.U8, got.U8) {
						t.Errorf("frame %d of %v: another tensor", i, size)
					}
				}
			}
			if calls != c.calls {
				t.Errorf("asked %d times, want %d", calls, c.calls)
			}
		})
	}
}

// TestResizerLeavesFramesOfTheRightSize: there is nothing to resize.
func TestResizerLeavesFramesOfTheRightSize(t *testing.T) {
	in := Input{Width: 16, Height: 9, Layout: "NHWC", DType: Uint8, Color: "BGR"}
	dst, calls := tensorFor(in), 0
	p, err := NewPreprocessor(in, dst)
	if err != nil {
		t.Fatal(err)
	}
	p.ResizeWith(goResizer(t, &calls, func([]byte) bool { return true }))
	pix := noise(16, 9)
	if err := p.Run(pix, 16, 9, 48); err != nil || !bytes.Equal(dst.U8, pix) || calls != 0 {
		t.Errorf("%v, or other bytes, or asked %d times", err, calls)
	}
}

// TestSlotHandsOnItsResizer: to frames of live cameras and to those prepared ahead.
func TestSlotHandsOnItsResizer(t *testing.T) {
	open, _ := fakes(bright)
	s, err := OpenSlot(t.Context(), bundle(t, nil), map[string]Opener{"a": open}, Opening{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	calls, pix := 0, noise(50, 40)
	s.ResizeWith(goResizer(t, &calls, func([]byte) bool { return true }))
	if _, err := s.Classify(t.Context(), pix, 50, 40, 150); err != nil || calls != 1 {
		t.Errorf("%v, asked %d times", err, calls)
	}
	a, err := s.NewAhead()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Prepare(pix, 50, 40, 150); err != nil || calls != 2 {
		t.Errorf("ahead: %v, asked %d times", err, calls)
	}
}

package inference

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"testing"
)

// noise draws the picture that testdata/golden.py draws.
func noise(w, h int) []byte {
	s, out := uint32(w*65536+h), make([]byte, w*h*3)
	for i := range out {
		s = s*1664525 + 1013904223
		out[i] = byte(s >> 24)
	}
	return out
}

type resizeCase struct {
	SW, SH, DW, DH int
	Filter         string
	CRC, Gray      uint32
	BGR            string
}

func goldenResizes(t *testing.T) []resizeCase {
	t.Helper()
	b, err := os.ReadFile("testdata/resize.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		OpenCV string
		Cases  []resizeCase
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 40 {
		t.Fatalf("only %d cases", len(file.Cases))
	}
	return file.Cases
}

func newU8(in Input) *Tensor {
	s := in.Shape()
	return &Tensor{Name: "input", DType: Uint8, Shape: s, U8: make([]uint8, s[1]*s[2]*s[3])}
}

// TestResizeIsOpenCV: every byte as cv::resize makes it, both filters, up and down, odd sizes and single pixels; and the grey of it.
func TestResizeIsOpenCV(t *testing.T) {
	for _, c := range goldenResizes(t) {
		t.Run(fmt.Sprintf("%dx%d-%dx%d-%s", c.SW, c.SH, c.DW, c.DH, c.Filter), func(t *testing.T) {
			for _, color := range []string{"BGR", "GRAY"} {
				in := Input{Width: c.DW, Height: c.DH, Layout: "NHWC", DType: Uint8, Color: color, Filter: c.Filter}
				dst := newU8(in)
				p, err := NewPreprocessor(in, dst)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Run(noise(c.SW, c.SH), c.SW, c.SH, 3*c.SW); err != nil {
					t.Fatal(err)
				}
				want := map[string]uint32{"BGR": c.CRC, "GRAY": c.Gray}[color]
				if crc32.ChecksumIEEE(dst.U8) != want {
					t.Errorf("%s differs from OpenCV's%s", color, firstDifference(t, c, dst.U8, color))
				}
			}
		})
	}
}

func firstDifference(t *testing.T, c resizeCase, got []byte, color string) string {
	t.Helper()
	want, err := base64.StdEncoding.DecodeString(c.BGR)
	if err != nil {
		t.Fatal(err)
	}
	n, worst := 0, 0
	for i := range want {
		if color == "BGR" && want[i] != got[i] {
			n++
			worst = max(worst, int(want[i])-int(got[i]), int(got[i])-int(want[i]))
		}
	}
	return fmt.Sprintf(": %d of %d bytes, by %d at most", n, len(want), worst)
}

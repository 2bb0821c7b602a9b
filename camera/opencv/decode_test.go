//go:build opencv

package opencv

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"image/png"
	"testing"

	"heron/camera"
)

// TestFault_V9_UndecodablePicture: a picture whose header is good and whose pixels cannot be made is damaged. It is not black, nor the one before it.
func TestFault_V9_UndecodablePicture(t *testing.T) {
	setUp()
	m := image.NewGray(image.Rect(0, 0, 64, 48))
	for i := range m.Pix {
		m.Pix[i] = byte(i * i % 251)
	}
	var j, p bytes.Buffer
	if err := errors.Join(jpeg.Encode(&j, m, nil), png.Encode(&p, m)); err != nil {
		t.Fatal(err)
	}
	changed := func(data, from, to []byte) []byte {
		t.Helper()
		out := bytes.Replace(data, from, to, 1)
		if bytes.Equal(out, data) {
			t.Fatalf("% x is not in it", from)
		}
		return out
	}
	good := j.Bytes()
	for name, bad := range map[string][]byte{
		"12 bits a pixel":     changed(good, []byte{0xff, 0xc0, 0, 11, 8}, []byte{0xff, 0xc1, 0, 11, 12}),
		"no tables":           changed(good, []byte{0xff, 0xdb}, []byte{0xff, 0xfe}),
		"arithmetic, damaged": changed(good, []byte{0xff, 0xc0}, []byte{0xff, 0xcb}),
		"PNG cut short":       p.Bytes()[:p.Len()/2],
		"nothing":             {},
	} {
		t.Run(name, func(t *testing.T) {
			var f camera.Frame
			if err := decode(&f, 0, 0, good); err != nil {
				t.Fatal(err)
			}
			if err := decode(&f, f.Width, f.Height, bad); !errors.Is(err, errNoPicture) {
				t.Errorf("%v, and a picture of %d×%d", err, f.Width, f.Height)
			}
		})
	}
}

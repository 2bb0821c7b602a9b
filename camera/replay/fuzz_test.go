package replay

import (
	"encoding/binary"
	"strings"
	"testing"

	"heron/camera"
)

// FuzzDecode: hostile files must give an error or a whole frame (V9).
func FuzzDecode(f *testing.F) {
	for _, format := range []string{"jpg", "png", "bmp", "gif"} {
		f.Add(encoded(f, format))
	}
	f.Add(withOrientation(encoded(f, "jpg"), binary.BigEndian, 6))
	f.Fuzz(func(t *testing.T, data []byte) {
		format, w, h, err := header(data)
		if err != nil || w*h > 1<<20 { // large ones are as good, but slow
			return
		}
		var frame camera.Frame
		if err := (Files{}).decode(data, &frame); err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of more than one line: %q", err)
			}
			return
		}
		if len(frame.Pix) != frame.Stride*frame.Height || frame.Stride != 3*frame.Width || frame.Width*frame.Height != w*h && format != "gif" {
			t.Errorf("%s %d×%d became %d×%d, %d bytes", format, w, h, frame.Width, frame.Height, len(frame.Pix))
		}
	})
}

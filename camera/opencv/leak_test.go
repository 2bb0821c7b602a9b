//go:build opencv && matprofile

package opencv

import (
	"path/filepath"
	"testing"

	"gocv.io/x/gocv"

	"heron/camera"
)

// Run with the tag matprofile: no Mat stays behind, neither of frames, nor of failures, nor of devices.
func TestNoMatIsLeaked(t *testing.T) {
	before := gocv.MatProfile.Count()
	path := filepath.Join(t.TempDir(), "v.avi")
	video(t, path, 20, 320, 240)
	for range 3 {
		d, err := Open(t.Context(), camera.Options{Source: "file:" + path})
		if err != nil {
			t.Fatal(err)
		}
		var f camera.Frame
		for d.Read(&f) == nil {
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		decode := Decoder()
		_ = decode([]byte("junk"), &f)
		if err := decode(turned(t, 6), &f); err != nil {
			t.Error(err)
		}
		if _, err := Encoder()(&f, 20, 80); err != nil {
			t.Error(err)
		}
		u := newUndecoded(&capture{})
		u.jpeg.Close()
	}
	if after := gocv.MatProfile.Count(); after != before {
		t.Errorf("%d Mats before, %d after", before, after)
	}
}

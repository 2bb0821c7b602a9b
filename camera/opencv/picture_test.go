//go:build opencv

package opencv

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gocv.io/x/gocv"

	"heron/camera"
)

// turned is a JPEG of a gradient with an EXIF orientation.
func turned(t *testing.T, turn byte) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 60, 40))
	for y := range 40 {
		for x := range 60 {
			m.Set(x, y, color.RGBA{uint8(4 * x), uint8(6 * y), 90, 255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	exif := append([]byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00"), turn, 0, 0, 0, 0, 0, 0)
	out := binary.BigEndian.AppendUint16([]byte{0xff, 0xd8, 0xff, 0xe1}, uint16(len(exif)+2))
	return append(append(out, exif...), b.Bytes()[2:]...)
}

// The decoder given to the replay driver must see what cv2.imread sees, orientation included.
func TestDecoderIsIMRead(t *testing.T) {
	decode := Decoder()
	var f camera.Frame
	for turn := byte(1); turn <= 8; turn++ {
		data := turned(t, turn)
		path := filepath.Join(t.TempDir(), "p.jpg")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		want := gocv.IMRead(path, gocv.IMReadColor)
		if err := decode(data, &f); err != nil {
			t.Fatal(err)
		}
		pix, err := want.DataPtrUint8()
		if err != nil || f.Width != want.Cols() || f.Height != want.Rows() || !bytes.Equal(pix, f.Pix) {
			t.Errorf("orientation %d: %d×%d, want %d×%d, or other pixels; %v", turn, f.Width, f.Height, want.Cols(), want.Rows(), err)
		}
		want.Close()
	}
}

func TestDecoderOnJunk(t *testing.T) {
	decode := Decoder()
	for _, data := range [][]byte{nil, {1}, []byte("no picture at all"), turned(t, 1)[:150], {0xff, 0xd8, 0xff, 0xe0, 0, 4, 0, 0, 0xff, 0xd9}} {
		if err := decode(data, &camera.Frame{}); err == nil {
			t.Errorf("%d bytes of junk became a picture", len(data))
		}
	}
}

func TestEncoder(t *testing.T) {
	encode := Encoder()
	f := &camera.Frame{Width: 640, Height: 480, Stride: 1920, Pix: bytes.Repeat([]byte{200, 100, 50}, 640*480)}
	for _, c := range []struct{ maxWidth, w, h int }{{0, 640, 480}, {320, 320, 240}, {5000, 640, 480}, {1, 1, 1}} {
		b, err := encode(f, c.maxWidth, 85)
		if err != nil {
			t.Fatal(err)
		}
		m, err := jpeg.Decode(bytes.NewReader(b))
		if err != nil || m.Bounds().Dx() != c.w || m.Bounds().Dy() != c.h {
			t.Fatalf("%v: %v", c, err)
		}
		if r, g, b, _ := m.At(0, 0).RGBA(); near(r>>8, 50) || near(g>>8, 100) || near(b>>8, 200) {
			t.Errorf("%v: colour %d %d %d", c, r>>8, g>>8, b>>8)
		}
	}
	if _, err := encode(&camera.Frame{Width: 5, Height: 5, Stride: 15}, 0, 85); err == nil {
		t.Error("a frame without pixels was encoded")
	}
}

func near(got, want uint32) bool { return got > want+4 || got+4 < want }

// OpenCV writes where the consumer reads: the buffer stays the same from frame to frame.
func TestFramesAreWrittenInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.avi")
	video(t, path, 20, 320, 240)
	d, err := Open(t.Context(), camera.Options{Source: "file:" + path})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var f camera.Frame
	if err := d.Read(&f); err != nil {
		t.Fatal(err)
	}
	at := &f.Pix[0]
	for i := 1; i < 20; i++ {
		if err := d.Read(&f); err != nil || &f.Pix[0] != at || number(&f) != i%12 {
			t.Fatalf("frame %d shows %d in another buffer, or %v", i, number(&f), err)
		}
	}
}

// scene is a 640×480 video like a camera's: texture and gradients.
func scene(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "scene.avi")
	vw, err := gocv.VideoWriterFileWithAPI(path, gocv.VideoCaptureFFmpeg, "MJPG", 30, 640, 480, true)
	if err != nil {
		b.Fatal(err)
	}
	defer vw.Close()
	m := gocv.NewMatWithSize(480, 640, gocv.MatTypeCV8UC3)
	defer m.Close()
	for range 100 {
		gocv.RandU(&m, gocv.NewScalar(60, 60, 60, 0), gocv.NewScalar(200, 200, 200, 0))
		gocv.GaussianBlur(m, &m, image.Pt(7, 7), 1.2, 1.2, gocv.BorderDefault)
		if err := vw.Write(m); err != nil {
			b.Fatal(err)
		}
	}
	return path
}

func BenchmarkFile(b *testing.B) {
	d, err := Open(b.Context(), camera.Options{Source: "file:" + scene(b) + "?loop=true"})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	b.ReportAllocs()
	benchmarkReads(b, d)
}

func benchmarkReads(b *testing.B, d camera.Device) {
	var f camera.Frame
	for b.Loop() {
		if err := d.Read(&f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUndecodedGrab(b *testing.B) { benchmarkUndecoded(b, camera.Grabber.Grab) }

func BenchmarkUndecodedRead(b *testing.B) {
	var f camera.Frame
	benchmarkUndecoded(b, func(g camera.Grabber) error { return g.Read(&f) })
}

// benchmarkUndecoded takes the file's JPEGs as those of a stream.
func benchmarkUndecoded(b *testing.B, do func(camera.Grabber) error) {
	path := scene(b)
	var u *undecoded
	b.ReportAllocs()
	for b.Loop() {
		if u != nil && do(u) == nil {
			continue
		}
		if u != nil {
			u.Close()
		}
		vc, err := openFFmpeg("file:"+path, camera.Options{OpenTimeout: time.Second, ReadTimeout: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		vc.Set(gocv.VideoCaptureFormat, -1)
		u = newUndecoded(&capture{vc: vc})
	}
	u.Close()
}

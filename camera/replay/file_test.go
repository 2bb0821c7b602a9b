package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/image/bmp"

	"heron/camera"
)

// quarters is a picture whose corners have the colours red, green, blue, white (left to right, top to bottom); 48×32.
func quarters() *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, 48, 32))
	for y := range 32 {
		for x := range 48 {
			c := [4]color.NRGBA{{250, 0, 0, 255}, {0, 250, 0, 255}, {0, 0, 250, 255}, {250, 250, 250, 255}}[b2i(x >= 24)+2*b2i(y >= 16)]
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// corners names the four corners of a frame by their colours.
func corners(f *camera.Frame) string {
	var s strings.Builder
	for _, at := range [4][2]int{{2, 2}, {f.Width - 3, 2}, {2, f.Height - 3}, {f.Width - 3, f.Height - 3}} {
		p := f.Pix[at[1]*f.Stride+3*at[0]:]
		b, g, r := p[0] > 125, p[1] > 125, p[2] > 125
		switch {
		case r && g && b:
			s.WriteByte('W')
		case r && !g && !b:
			s.WriteByte('R')
		case g && !r && !b:
			s.WriteByte('G')
		case b && !r && !g:
			s.WriteByte('B')
		default:
			s.WriteByte('?')
		}
	}
	return s.String()
}

func encoded(t testing.TB, format string) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch format {
	case "jpg":
		err = jpeg.Encode(&b, quarters(), &jpeg.Options{Quality: 95})
	case "png":
		err = png.Encode(&b, quarters())
	case "bmp":
		err = bmp.Encode(&b, quarters())
	case "gif":
		err = gif.Encode(&b, quarters(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withOrientation puts an EXIF segment behind a JPEG's first marker.
func withOrientation(jpg []byte, order binary.AppendByteOrder, turn uint16) []byte {
	tiff := []byte("II*\x00")
	if order == binary.BigEndian {
		tiff = []byte("MM\x00*")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 2)
	tiff = append(order.AppendUint16(order.AppendUint16(tiff, 0x010f), 2), 0, 0, 0, 4, 'a', 'b', 'c', 0) // maker, to be passed over
	tiff = order.AppendUint32(order.AppendUint16(order.AppendUint16(tiff, 0x0112), 3), 1)
	tiff = order.AppendUint16(order.AppendUint16(tiff, turn), 0)
	tiff = order.AppendUint32(tiff, 0)
	segment := append([]byte("Exif\x00\x00"), tiff...)
	out := append([]byte{0xff, 0xd8, 0xff, 0xe1}, binary.BigEndian.AppendUint16(nil, uint16(len(segment)+2))...)
	return append(append(out, segment...), jpg[2:]...)
}

func write(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFormats(t *testing.T) {
	dir := t.TempDir()
	for _, format := range []string{"jpg", "png", "bmp", "gif"} {
		var f camera.Frame
		if err := (Files{}).Read(write(t, dir, "a."+format, encoded(t, format)), &f); err != nil {
			t.Fatal(err)
		}
		if f.Width != 48 || f.Height != 32 || f.Stride != 144 || len(f.Pix) != 48*32*3 || corners(&f) != "RGBW" || f.Name != "a."+format {
			t.Errorf("%s: %d×%d %s %q", format, f.Width, f.Height, corners(&f), f.Name)
		}
	}
}

func TestOrientation(t *testing.T) {
	jpg := encoded(t, "jpg")
	want := [9]string{"RGBW", "RGBW", "GRWB", "WBGR", "BWRG", "RBGW", "BRWG", "WGBR", "GWRB"} // 0 makes no sense: upright
	for turn, corner := range want {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			var f camera.Frame
			if err := Decode(withOrientation(jpg, order, uint16(turn)), &f); err != nil {
				t.Fatal(err)
			}
			w, h := 48, 32
			if turn >= 5 {
				w, h = h, w
			}
			if corners(&f) != corner || f.Width != w || f.Height != h {
				t.Errorf("orientation %d, %v: %s %d×%d, want %s", turn, order, corners(&f), f.Width, f.Height, corner)
			}
		}
	}
}

func TestPixelKinds(t *testing.T) {
	palette := color.Palette{color.NRGBA{250, 0, 0, 255}, color.NRGBA{0, 250, 0, 255}, color.NRGBA{0, 0, 250, 255}, color.NRGBA{250, 250, 250, 255}}
	src := quarters()
	for name, m := range map[string]interface {
		image.Image
		Set(x, y int, c color.Color)
	}{
		"paletted": image.NewPaletted(src.Rect, palette), "16 bit": image.NewRGBA64(src.Rect), "16 bit with alpha": image.NewNRGBA64(src.Rect),
		"8 bit": image.NewRGBA(src.Rect), "8 bit with alpha": image.NewNRGBA(src.Rect),
	} {
		for y := range 32 {
			for x := range 48 {
				c := src.NRGBAAt(x, y)
				if strings.Contains(name, "alpha") {
					c.A = 128 // dropped without mixing
				}
				m.Set(x, y, c)
			}
		}
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		var f camera.Frame
		if err := Decode(b.Bytes(), &f); err != nil || corners(&f) != "RGBW" {
			t.Errorf("%s: %s %v", name, corners(&f), err)
		}
	}
	grey := image.NewGray(image.Rect(0, 0, 9, 7))
	grey.SetGray(8, 6, color.Gray{77})
	var b bytes.Buffer
	if err := png.Encode(&b, grey); err != nil {
		t.Fatal(err)
	}
	var f camera.Frame
	if err := Decode(b.Bytes(), &f); err != nil || !slices.Equal(f.Pix[len(f.Pix)-6:], []byte{0, 0, 0, 77, 77, 77}) {
		t.Errorf("grey: %v %v", f.Pix[len(f.Pix)-6:], err)
	}
}

func TestBadFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	huge := bytes.Clone(encoded(t, "png"))
	binary.BigEndian.PutUint32(huge[16:], 60000) // the header's width and height; its checksum too
	binary.BigEndian.PutUint32(huge[20:], 60000)
	binary.BigEndian.PutUint32(huge[29:], crc(huge[12:29]))
	hugeBMP := bytes.Clone(encoded(t, "bmp"))
	binary.LittleEndian.PutUint32(hugeBMP[18:], 1<<30)
	pipe := filepath.Join(dir, "pipe.jpg")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	big := write(t, dir, "big.jpg", nil)
	if err := os.Truncate(big, MaxFileBytes+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.jpg"):  "no such file",
		dir:                             "is a folder",
		write(t, dir, "empty.jpg", nil): "is empty",
		write(t, dir, "text.jpg", []byte("hello, I am no picture")): "not a picture",
		write(t, dir, "cut.jpg", encoded(t, "jpg")[:300]):           "damaged jpeg",
		write(t, dir, "cut.png", encoded(t, "png")[:60]):            "damaged png",
		write(t, dir, "cut.bmp", encoded(t, "bmp")[:30]):            "damaged",
		write(t, dir, "huge.png", huge):                             "100 megapixels",
		write(t, dir, "huge.bmp", hugeBMP):                          "100 megapixels",
		big:                                                         "limit of 64 MiB",
		pipe:                                                        "not a regular file",
	} {
		var f camera.Frame
		err := (Files{}).Read(path, &f)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", filepath.Base(path), err, want)
		}
	}
	if err := (Files{}).Read(filepath.Join(dir, "none.jpg"), &camera.Frame{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A header is a stranger's. A height below zero, which says that the top row comes first, is no error.
func TestSizesOfBMPHeaders(t *testing.T) {
	const damaged, large = "damaged bmp header: its width or height is zero or below", " pixels are more than the limits of 100 megapixels and 65535 pixels a side"
	for _, c := range []struct {
		w, h int32
		says string // empty: it is read
	}{
		{48, 32, ""}, {48, -32, ""},
		{-48, 32, damaged}, {math.MinInt32, 32, damaged}, {-48, -32, damaged}, {0, 32, damaged}, {48, 0, damaged},
		{48, math.MinInt32, "48×2147483648" + large}, {math.MaxInt32, math.MaxInt32, "2147483647×2147483647" + large},
		{60000, -60000, "60000×60000" + large}, {65535, 65535, "65535×65535" + large}, {65536, 1, "65536×1" + large},
	} {
		data := bytes.Clone(encoded(t, "bmp"))
		binary.LittleEndian.PutUint32(data[18:], uint32(c.w))
		binary.LittleEndian.PutUint32(data[22:], uint32(c.h))
		if err := (Files{}).decode(data, &camera.Frame{}); (err == nil) != (c.says == "") || err != nil && err.Error() != c.says {
			t.Errorf("%d×%d: %v, want %q", c.w, c.h, err, c.says)
		}
	}
}

func crc(b []byte) uint32 {
	c := ^uint32(0)
	for _, v := range b {
		c ^= uint32(v)
		for range 8 {
			c = c>>1 ^ 0xedb88320*(c&1)
		}
	}
	return ^c
}

func TestInjectedDecoder(t *testing.T) {
	dir := t.TempDir()
	calls := 0
	files := Files{Decode: func(data []byte, f *camera.Frame) error { calls++; return Decode(data, f) }}
	for _, format := range []string{"jpg", "png", "bmp", "gif"} {
		if err := files.Read(write(t, dir, "a."+format, encoded(t, format)), &camera.Frame{}); err != nil {
			t.Error(err)
		}
	}
	if calls != 3 {
		t.Errorf("%d calls, want 3: all but the gif", calls)
	}
}

// OpenCV makes grey of what a JPEG lacks and says nothing: no decoder is given one that was cut short.
func TestACutJPEGIsForNoDecoder(t *testing.T) {
	lenient := Files{Decode: func(data []byte, f *camera.Frame) error { return nil }}
	dir, whole := t.TempDir(), withOrientation(encoded(t, "jpg"), binary.BigEndian, 6)
	for _, c := range []struct {
		name string
		data []byte
		good bool
	}{
		{"whole", whole, true},
		{"with something after it", append(bytes.Clone(whole), 0xff, 0xda, 1, 2), true},
		{"with something between its segments", slices.Concat(whole[:2], []byte{0, 0}, whole[2:]), true}, // the decoder's own affair
		{"without its last two bytes", whole[:len(whole)-2], false},
		{"half its pixels", whole[:len(whole)-(len(whole)-bytes.Index(whole, []byte{0xff, 0xda}))/2], false},
	} {
		err := lenient.Read(write(t, dir, "a.jpg", c.data), &camera.Frame{})
		if good := err == nil; good != c.good || !good && !strings.Contains(err.Error(), "cut short") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

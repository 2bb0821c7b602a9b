package replay

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // formats of image.Decode
	_ "image/jpeg"
	_ "image/png"

	_ "golang.org/x/image/bmp"

	"heron/camera"
)

// Decode is the Decoder that needs nothing but Go; it turns the picture upright.
func Decode(data []byte, f *camera.Frame) error {
	m, format, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("damaged %s: %w", format, err)
	}
	turn := 1
	if format == "jpeg" {
		turn = orientation(data)
	}
	b := m.Bounds()
	put := place(f, b.Dx(), b.Dy(), turn)
	switch m := m.(type) {
	case *image.YCbCr:
		putYCbCr(m, put)
	case *image.Gray:
		for y := range b.Dy() {
			for x, v := range m.Pix[y*m.Stride:][:b.Dx()] {
				put(x, y, v, v, v)
			}
		}
	case *image.NRGBA:
		put4(m.Pix, m.Stride, b, put)
	case *image.RGBA: // opaque: bmp and png without alpha
		put4(m.Pix, m.Stride, b, put)
	default:
		for y := range b.Dy() {
			for x := range b.Dx() {
				// The colour under a transparent pixel is kept, as OpenCV does when it drops the alpha channel.
				c := color.NRGBAModel.Convert(m.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
				put(x, y, c.R, c.G, c.B)
			}
		}
	}
	return nil
}

type putter func(x, y int, r, g, b byte)

func put4(pix []byte, stride int, b image.Rectangle, put putter) {
	for y := range b.Dy() {
		row := pix[y*stride:][:4*b.Dx()]
		for x := range b.Dx() {
			put(x, y, row[4*x], row[4*x+1], row[4*x+2])
		}
	}
}

func putYCbCr(m *image.YCbCr, put putter) {
	b := m.Bounds()
	for y := range b.Dy() {
		for x := range b.Dx() {
			c := m.COffset(b.Min.X+x, b.Min.Y+y)
			r, g, bl := color.YCbCrToRGB(m.Y[m.YOffset(b.Min.X+x, b.Min.Y+y)], m.Cb[c], m.Cr[c])
			put(x, y, r, g, bl)
		}
	}
}

// place sizes f for a w×h picture turned as EXIF orientation turn says, and returns a func that puts a pixel where it belongs.
func place(f *camera.Frame, w, h, turn int) putter {
	f.Width, f.Height = w, h
	if turn >= 5 {
		f.Width, f.Height = h, w
	}
	f.Stride = 3 * f.Width
	if n := f.Stride * f.Height; cap(f.Pix) >= n {
		f.Pix = f.Pix[:n]
	} else {
		f.Pix = make([]byte, n)
	}
	// Offset of pixel (0,0) and the steps of x and y, in bytes of the upright picture.
	at, dx, dy := 0, 3, f.Stride
	right, bottom := 3*(f.Width-1), f.Stride*(f.Height-1)
	switch turn {
	case 2: // mirrored
		at, dx = right, -3
	case 3: // upside down
		at, dx, dy = right+bottom, -3, -f.Stride
	case 4: // mirrored and upside down
		at, dy = bottom, -f.Stride
	case 5: // transposed
		dx, dy = f.Stride, 3
	case 6: // to be turned 90° clockwise
		at, dx, dy = right, f.Stride, -3
	case 7: // transposed over the other diagonal
		at, dx, dy = right+bottom, -f.Stride, -3
	case 8: // to be turned 90° anticlockwise
		at, dx, dy = bottom, -f.Stride, 3
	}
	pix := f.Pix
	return func(x, y int, r, g, b byte) {
		p := pix[at+x*dx+y*dy:][:3]
		p[0], p[1], p[2] = b, g, r
	}
}

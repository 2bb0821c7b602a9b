package line

import (
	"image"
	"image/draw"
	"image/png"
	"os"
	"testing"
)

func TestSheet(t *testing.T) {
	out := os.Getenv("SHEET")
	if out == "" {
		t.Skip("SHEET unset")
	}
	sheet := image.NewRGBA(image.Rect(0, 0, 4*Width, 4*Height))
	p := NewPicture()
	for i := range 16 {
		Draw(uint64(i/4+100), Class(i%4), p)
		draw.Draw(sheet, image.Rect(0, 0, Width, Height).Add(image.Pt(i%4*Width, i/4*Height)), p, image.Point{}, draw.Src)
	}
	f, _ := os.Create(out)
	png.Encode(f, sheet)
	f.Close()
}
func BenchmarkDraw(b *testing.B) {
	p := NewPicture()
	for i := range b.N {
		Draw(uint64(i), OK, p)
	}
}
func BenchmarkRender(b *testing.B) {
	p := NewPicture()
	s := NewStation(1)
	bt := NewBottle(2, OK)
	for i := range b.N {
		s.Render(p, View{Light: 1, Noise: uint64(i), Bottles: []Placed{{bt, 320}}})
	}
}

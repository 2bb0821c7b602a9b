package camera

import (
	"bytes"
	"flag"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden pictures anew (then look at them)")

// guarded is a frame between two walls that nobody may touch.
func guarded(w, h, stride int, fill byte) (*Frame, func() bool) {
	const wall = 4096
	all := bytes.Repeat([]byte{0xA5}, wall+stride*(h-1)+3*w+wall)
	pix := all[wall : len(all)-wall]
	for y := range h {
		for x := range 3 * w {
			pix[y*stride+x] = fill
		}
	}
	return &Frame{Pix: pix, Width: w, Height: h, Stride: stride}, func() bool {
		for i, b := range all {
			inRow := i >= wall && i < len(all)-wall && (i-wall)%stride < 3*w
			if !inRow && b != 0xA5 {
				return false
			}
		}
		return true
	}
}

func TestDrawingStaysInsideTheBuffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 400).Draw(t, "w"), rapid.IntRange(1, 300).Draw(t, "h")
		f, whole := guarded(w, h, 3*w+rapid.IntRange(0, 9).Draw(t, "pad"), 128)
		o := Overlay{Label: rapid.String().Draw(t, "label"), Score: rapid.Float64().Draw(t, "score"), Note: rapid.String().Draw(t, "note"),
			Detail: rapid.String().Draw(t, "detail"), Facts: rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "facts"),
			Age: time.Duration(rapid.Int64Range(0, 1<<60).Draw(t, "age"))}
		o.Draw(f)
		if !whole() {
			t.Fatal("a byte outside the picture was written")
		}
		if err := Shrink(f, rapid.IntRange(1, 500).Draw(t, "to")); err != nil || f.check() != nil {
			t.Fatalf("shrunk: %v %v", err, f.check())
		}
		if c := Card(w, h, o.Label, o.Note, o.Detail); c.check() != nil || c.Width != w || c.Height != h {
			t.Fatal("the card is malformed")
		}
	})
}

func TestDrawingLeavesAFalseFrameAlone(t *testing.T) {
	f := &Frame{Pix: make([]byte, 10), Width: 640, Height: 480, Stride: 1920}
	Overlay{Label: "ok", Age: time.Hour}.Draw(f)
	if !bytes.Equal(f.Pix, make([]byte, 10)) {
		t.Error("it was drawn on")
	}
	if Shrink(f, 10) == nil {
		t.Error("it was shrunk")
	}
}

// Legible is a contrast of 4.5 to 1 (WCAG AA) or more, on the worst of all pictures: a white one.
func TestTextStandsOutOnAnyPicture(t *testing.T) {
	for _, level := range []byte{0, 90, 128, 255} {
		f, _ := guarded(640, 480, 1920, level)
		(canvas{f, 2}).shade(0, 0, 640, 480)
		behind := luminance(ink{f.Pix[0], f.Pix[1], f.Pix[2]})
		for name, c := range map[string]ink{"paper": paper, "faint": faint, "amber": amber} {
			if ratio := (luminance(c) + 0.05) / (behind + 0.05); ratio < 4.5 {
				t.Errorf("%s on %d: contrast %.1f", name, level, ratio)
			}
		}
	}
}

// luminance as WCAG defines it, with the power 2.2 in place of its two branches.
func luminance(c ink) float64 {
	lin := func(v byte) float64 { return math.Pow(float64(v)/255, 2.2) }
	return 0.2126*lin(c.r) + 0.7152*lin(c.g) + 0.0722*lin(c.b)
}

func TestEveryCharacterHasItsOwnGlyph(t *testing.T) {
	if len(glyphs) != '~'-' '+1 {
		t.Fatalf("%d glyphs", len(glyphs))
	}
	seen := map[string]byte{}
	for i, g := range glyphs {
		c := byte(i + ' ')
		if twin, ok := seen[g]; ok {
			t.Errorf("%q looks like %q", c, twin)
		}
		seen[g] = c
		for j, r := range g {
			if gap := j%(glyphWidth+1) == glyphWidth; gap && r != ' ' || !gap && r != '.' && r != '#' {
				t.Errorf("%q: %q at %d", c, r, j)
			}
		}
		if c != ' ' && (len(g)+1)%(glyphWidth+1) != 0 || len(g) > glyphHeight*(glyphWidth+1)-1 {
			t.Errorf("%q has %d points", c, len(g))
		}
	}
	if string(plain("größer\n✓")) != "gr??er??" {
		t.Errorf("%s", plain("größer\n✓"))
	}
}

func TestGoldenPictures(t *testing.T) {
	scene := func(w, h int) *Frame {
		f := &Frame{Width: w, Height: h, Stride: 3 * w, Pix: make([]byte, 3*w*h)}
		for y := range h {
			for x := range w {
				p := f.Pix[y*f.Stride+3*x:]
				p[0], p[1], p[2] = byte(x*255/w), byte(y*255/h), byte(255*((x/16+y/16)%2))
			}
		}
		return f
	}
	now := "onnx 3.1 ms, 12:00:01.2, frame 7"
	for name, f := range map[string]*Frame{
		"result": over(scene(640, 480), Overlay{Label: "größer jg{}", Score: 0.734, Detail: now, Facts: []string{"overexposed"}}),
		"none":   over(scene(320, 240), Overlay{Note: "not classified", Detail: now, Age: 75 * time.Second}),
		"tiny":   over(scene(48, 36), Overlay{Label: "scratched", Score: 1, Detail: now}),
		"card":   Card(640, 360, "No picture of front", "The vision process is replaced (crash-loop): camera front gave no frame for 5.0 s.", "12:00:01, for 7 s"),
		"font":   Card(640, 240, "!\"#$%&'()*+,-./0123456789:;<=>?@", "ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`", "abcdefghijklmnopqrstuvwxyz{|}~"),
	} {
		same(t, filepath.Join("testdata", "draw-"+name+".png"), f)
	}
}

func over(f *Frame, o Overlay) *Frame {
	o.Draw(f)
	return f
}

// same compares f with a picture on disk, point by point.
func same(t *testing.T, path string, f *Frame) {
	t.Helper()
	got := shrunk(f, 0)
	if *update {
		var b bytes.Buffer
		if err := png.Encode(&b, got); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if want.Bounds() != got.Bounds() {
		t.Fatalf("%s: %v, want %v", path, got.Bounds(), want.Bounds())
	}
	n := 0
	for y := range got.Rect.Dy() {
		for x := range got.Rect.Dx() {
			r, g, b, _ := want.At(x, y).RGBA()
			if c := got.RGBAAt(x, y); uint32(c.R) != r>>8 || uint32(c.G) != g>>8 || uint32(c.B) != b>>8 {
				n++
			}
		}
	}
	if n > 0 {
		t.Errorf("%s: %d points differ; look at both, and if the new one is right: go test ./camera -run Golden -update", path, n)
	}
}

func BenchmarkDraw640(b *testing.B) {
	f := &Frame{Width: 640, Height: 480, Stride: 1920, Pix: make([]byte, 1920*480)}
	o := Overlay{Label: "scratched", Score: 0.9, Detail: "onnx 3.1 ms, 12:00:01.2, frame 7"}
	for b.Loop() {
		o.Draw(f)
	}
}

package line

import (
	"image"
	"math"
	"testing"
)

// grid is a picture in 8 × 6 cells of mean red, green and blue.
func grid(p *image.RGBA) [8 * 6 * 3]float64 {
	var g [8 * 6 * 3]float64
	for y := range Height {
		for x := range Width {
			at := 3 * (y*6/Height*8 + x*8/Width)
			for c := range 3 {
				g[at+c] += float64(p.Pix[y*p.Stride+4*x+c]) / (Width / 8 * Height / 6)
			}
		}
	}
	return g
}

// worst is the largest difference of two grids.
func worst(a, b [8 * 6 * 3]float64) float64 {
	w := 0.
	for i := range a {
		w = max(w, math.Abs(a[i]-b[i]))
	}
	return w
}

func drawn(seed uint64, c Class) *image.RGBA {
	p := NewPicture()
	Draw(seed, c, p)
	return p
}

func TestSameSeedSamePicture(t *testing.T) {
	a, b := drawn(7, Scratched), drawn(7, Scratched)
	for i := range a.Pix {
		if a.Pix[i] != b.Pix[i] {
			t.Fatalf("byte %d is %d, then %d", i, a.Pix[i], b.Pix[i])
		}
	}
	if w := worst(grid(a), grid(drawn(8, Scratched))); w < 10 {
		t.Errorf("seeds 7 and 8 differ by %.1f at most: they look alike", w)
	}
}

// The model was trained on these very pictures: a change to the generator must be seen, and the model made anew.
// The tolerance is for machines that fuse multiplication and addition.
func TestPicturesAreThoseOfTheTraining(t *testing.T) {
	g := grid(drawn(42, OK))
	got := [6]float64{g[0], g[60], g[61], g[62], g[90], g[143]}
	for i, want := range golden {
		if math.Abs(got[i]-want) > 1 {
			t.Errorf("seed 42, ok: cells are %.1f, they were %.1f when the model was trained", got, golden)
			break
		}
	}
}

var golden = [6]float64{112.8, 161.3, 187.0, 170.4, 155.4, 112.0}

func TestEveryPixelIsOpaque(t *testing.T) {
	p := drawn(3, OK)
	for i := 3; i < len(p.Pix); i += 4 {
		if p.Pix[i] != 255 {
			t.Fatalf("pixel %d has alpha %d", i/4, p.Pix[i])
		}
	}
}

// Of one seed, the classes share station, light and bottle, so what differs is what the class says.
func TestClassesDifferVisibly(t *testing.T) {
	for seed := uint64(20); seed < 22; seed++ {
		ok := drawn(seed, OK)
		for class, least := range map[Class]int{Scratched: 400, NoLabel: 2500, Empty: 15000} {
			other, changed := drawn(seed, class), 0
			for i := 0; i < len(ok.Pix); i += 4 {
				d := 0
				for c := range 3 {
					d += max(int(ok.Pix[i+c]), int(other.Pix[i+c])) - min(int(ok.Pix[i+c]), int(other.Pix[i+c]))
				}
				if d > 60 {
					changed++
				}
			}
			if changed < least {
				t.Errorf("seed %d: ok and %v differ in %d pixels, at least %d would be visible", seed, class, changed, least)
			}
		}
	}
}

// A bottle that is partly or wholly outside the picture must not be drawn outside it.
func TestBottlesMayStandAnywhere(t *testing.T) {
	s, b, p := NewStation(5), NewBottle(6, OK), NewPicture()
	for x := -300; x <= Width+300; x += 37 {
		s.Render(p, View{Light: 1, Belt: x, Bottles: []Placed{{b, x}}})
	}
	s.Render(p, View{Light: 1})
	empty := grid(p)
	s.Render(p, View{Light: 1, Bottles: []Placed{{b, -300}}})
	if w := worst(empty, grid(p)); w > 0 {
		t.Errorf("a bottle outside changes the picture by %.1f", w)
	}
}

func TestClassNames(t *testing.T) {
	want := []string{"ok", "scratched", "no_label", "empty"}
	for i, c := range Classes() {
		if c.String() != want[i] {
			t.Errorf("class %d is %q, the model's label is %q", i, c, want[i])
		}
	}
}

func BenchmarkDraw(b *testing.B) {
	p := NewPicture()
	for i := range b.N {
		Draw(uint64(i), OK, p)
	}
}

func BenchmarkRender(b *testing.B) {
	p, s, bottle := NewPicture(), NewStation(1), NewBottle(2, OK)
	for i := range b.N {
		s.Render(p, View{Light: 1, Noise: uint64(i), Bottles: []Placed{{bottle, 320}}})
	}
}

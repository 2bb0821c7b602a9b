package camera

import (
	"image"
	_ "image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestFactsDoNotFlapOnWhatever: light, focus, place and noise wander at random; a fact that ends must not be back at once for no more than noise:
// seen over minutes, no fact changes more often than what was done to the scene.
func TestFactsDoNotFlapOnWhatever(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() { // under the race detector each takes a minute on a small machine
		seeds = 1
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 5))
		light, dx, blur, done := 1.0, 0, 0, 0
		m := &film{w: 64, h: 48, fps: 10, sigma: 0.3 + 4*rng.Float64(),
			light: func(float64) float64 { return light }, place: func(float64) (int, int) { return dx, 0 }}
		m.ready(seed, yard(seed))
		var q Quality
		var was []string
		changes := map[string]int{}
		for range 4000 {
			if rng.IntN(200) == 0 { // something happens every 20 seconds or so
				done++
				switch rng.IntN(3) {
				case 0:
					light = []float64{0.03, 0.08, 0.11, 0.15, 0.2, 0.3, 1, 1.6, 2.2, 3, 6}[rng.IntN(11)]
				case 1:
					dx = rng.IntN(40)
				case 2:
					blur = max(0, rng.IntN(5)-1)
				}
			}
			f := m.next(t)
			if blur > 0 {
				unfocused(f, blur)
			}
			facts := q.Assess(f, true)
			for _, name := range factNames {
				if slices.Contains(facts, name) != slices.Contains(was, name) {
					changes[name]++
				}
			}
			was = facts
		}
		for name, n := range changes {
			if n > done+2 {
				t.Errorf("seed %d: %s changed %d times while %d things happened; noise %.1f", seed, name, n, done, m.sigma)
			}
		}
	}
}

// TestFacts_Photographs: real photographs have nothing wrong with them, alone or as the scene of a live camera.
func TestFacts_Photographs(t *testing.T) {
	arithmetic(t)
	files, _ := filepath.Glob("../../shared/testdata/pictures/*.jpg")
	if len(files) == 0 {
		t.Skip("no pictures in ../shared/testdata/pictures")
	}
	for _, path := range files {
		picture := photograph(t, path)
		var q Quality
		if facts := q.Assess(picture, false); facts != nil {
			t.Errorf("%s: %v", path, facts)
		}
		m := &film{w: 160, h: 120, fps: 10, sigma: 1.5}
		m.ready(1, func(x, y int) int {
			px, py := min(max(x, 0), 159)*(picture.Width-1)/159, min(max(y, 0), 119)*(picture.Height-1)/119
			return int(picture.Pix[py*picture.Stride+3*px+1])
		})
		q = Quality{}
		mustBeFine(t, &q, m, 3*time.Minute)
		unfocused(picture, picture.Width/100)
		if facts := q.Assess(picture, false); !slices.Contains(facts, Blurred) {
			t.Errorf("%s, blurred: %v %+v", path, facts, q.sharp)
		}
	}
}

func photograph(t *testing.T, path string) *Frame {
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, _, err := image.Decode(r)
	if err != nil {
		t.Fatal(err)
	}
	b := m.Bounds()
	f := &Frame{Width: b.Dx(), Height: b.Dy(), Stride: 3 * b.Dx(), Pix: make([]byte, 3*b.Dx()*b.Dy()), At: time.Now()}
	for y := range f.Height {
		for x := range f.Width {
			r, g, bl, _ := m.At(b.Min.X+x, b.Min.Y+y).RGBA()
			copy(f.Pix[y*f.Stride+3*x:], []byte{byte(bl >> 8), byte(g >> 8), byte(r >> 8)})
		}
	}
	return f
}

// arithmetic skips what one goroutine computes, where the race detector would make minutes of it and could find nothing.
func arithmetic(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("one goroutine that computes: not with -short, which is for the race detector")
	}
}

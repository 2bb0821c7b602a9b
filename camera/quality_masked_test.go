package camera

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// maskedFilm is a film seen through a view's masks.
type maskedFilm struct {
	*film
	view viewer
	f    Frame
}

func (m *maskedFilm) next(t *testing.T) *Frame {
	m.f = *m.film.next(t)
	m.f.Pix = slices.Clone(m.f.Pix)
	m.view.apply(&m.f)
	return &m.f
}

// someMasks are what people hide: a street at the edge, two windows, half of the picture, nearly all, a frame about it, slivers.
var someMasks = map[string][]Area{
	"edge":    {{X: 0, Y: .85, Width: 1, Height: .15}},
	"windows": {{X: 0, Y: 0, Width: .3, Height: .3}, {X: .6, Y: .5, Width: .4, Height: .5}},
	"half":    {{X: 0, Y: 0, Width: .5, Height: 1}},
	"most":    {{X: 0, Y: 0, Width: 1, Height: .4}, {X: 0, Y: .35, Width: .3, Height: .65}},
	"frame":   {{X: 0, Y: 0, Width: 1, Height: .12}, {X: 0, Y: .88, Width: 1, Height: .12}, {X: 0, Y: 0, Width: .12, Height: 1}, {X: .88, Y: 0, Width: .12, Height: 1}},
	"slivers": {{X: .2, Y: 0, Width: .004, Height: 1}, {X: 0, Y: .5, Width: 1, Height: .004}, {X: .7, Y: 0, Width: .004, Height: 1}},
}

// TestFault_V4_WithMasks: what a mask hides neither keeps a fault from being told nor makes one up.
func TestFault_V4_WithMasks(t *testing.T) {
	arithmetic(t)
	const w, h = 160, 120
	hand := shade(w, h)
	for fact, level := range map[string]func(x, y int) int{
		Black: flat(4), Covered: flat(110), Covered + " by a hand": hand, Overexposed: flat(262), Underexposed: func(x, y int) int { return 20 + 12*(x/8%2) },
	} {
		want, _, _ := strings.Cut(fact, " ")
		for name, masks := range someMasks {
			t.Run(fmt.Sprintf("%s/%s", fact, name), func(t *testing.T) {
				on := false
				m := &maskedFilm{film: &film{w: w, h: h, fps: 5, sigma: 2, over: func(_ float64, x, y int) int {
					if on {
						return level(x, y)
					}
					return -1
				}}, view: newViewer(View{Masks: masks})}
				m.ready(3, yard(5))
				var q Quality
				for range 2 {
					for range 200 {
						if facts := q.Assess(m.next(t), true); facts != nil {
							t.Fatalf("nothing is wrong, and it is %v", facts)
						}
					}
					on = true
					told := func() bool { return slices.Contains(q.Assess(m.next(t), true), want) }
					frames := 0
					for ; !told(); frames++ {
						if frames > 50 {
							t.Fatalf("not told within ten seconds: %v", q.facts)
						}
					}
					if on = false; fact == Covered+" by a hand" || fact == Covered {
						for frames = 0; told(); frames++ {
							if frames > 20 {
								t.Fatal("not over within four seconds")
							}
						}
					} else {
						q.Assess(m.next(t), true)
					}
				}
			})
		}
	}
}

// TestFault_V4_BlurredAndMovedWithMasks: the border of a mask is no edge of the scene and no landmark of it.
func TestFault_V4_BlurredAndMovedWithMasks(t *testing.T) {
	arithmetic(t)
	for name, masks := range someMasks {
		if name == "most" { // no 24 landmarks are left
			continue
		}
		t.Run(name, func(t *testing.T) {
			turned := 0
			m := &maskedFilm{film: &film{w: 160, h: 120, fps: 5, sigma: 1, place: func(float64) (int, int) { return turned, turned }}, view: newViewer(View{Masks: masks})}
			m.ready(11, yard(4))
			var q Quality
			until := func(want string, d time.Duration, prepare func(f *Frame)) {
				t.Helper()
				for range int(d.Seconds() * m.fps) {
					f := *m.film.next(t)
					f.Pix = slices.Clone(f.Pix)
					prepare(&f)
					m.view.apply(&f)
					if facts := q.Assess(&f, true); slices.Contains(facts, want) {
						return
					} else if want == "" && facts != nil {
						t.Fatalf("nothing is wrong, and it is %v", facts)
					}
				}
				if want != "" {
					t.Fatalf("not %s within %v: edges %.3f, steep %.2f of %.2f", want, d, q.sharp.edges, q.sharp.steep, q.sharp.best)
				}
			}
			asItIs := func(*Frame) {}
			until("", 75*time.Second, asItIs)
			until(Blurred, 8*time.Second, func(f *Frame) { unfocused(f, 4) })
			until("", 0, asItIs)
			for range 30 {
				q.Assess(m.next(t), true)
			}
			turned = 40
			until(Moved, 20*time.Second, asItIs)
		})
	}
}

// TestEverythingMasked: what is left of such a frame is black, and that is told.
func TestEverythingMasked(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 40}, {2, 2}, {3, 2}, {33, 25}, {64, 48}, {641, 479}} {
		for _, masks := range [][]Area{{{Width: 1, Height: 1}}, {{Width: .5, Height: 1}}, {{X: .4, Y: .4, Width: .2, Height: .2}}} {
			m := &maskedFilm{film: &film{w: size[0], h: size[1], fps: 5, sigma: 2}, view: newViewer(View{Masks: masks})}
			m.ready(3, yard(5))
			var q Quality
			for range 20 {
				facts := q.Assess(m.next(t), true)
				if masks[0].Width == 1 && !slices.Contains(facts, Black) {
					t.Errorf("%v: all black, and it is %v", size, facts)
				}
			}
		}
	}
}

// TestPictureOfAMaskedView: a picture that was encoded and decoded is judged as the frame was.
func TestPictureOfAMaskedView(t *testing.T) {
	for _, v := range []View{
		{Masks: someMasks["edge"]}, {Masks: someMasks["windows"], ROI: &Area{X: .2, Y: .1, Width: .6, Height: .8}}, {Masks: someMasks["half"], Rotate: 90},
	} {
		m := &maskedFilm{film: &film{w: 320, h: 240, fps: 5, sigma: 1}, view: newViewer(v)}
		m.ready(3, flat(110))
		f := m.next(t)
		recode(t, f, 80)
		f.masked = nil
		if facts := new(Quality).Assess(f, false); slices.Contains(facts, Covered) {
			t.Fatalf("%+v: the mask's border is no structure: %v", v, facts) // else this test shows nothing
		}
		v.Hide(f)
		if facts := new(Quality).Assess(f, false); !slices.Equal(facts, []string{Covered}) {
			t.Errorf("%+v: %v", v, facts)
		}
	}
}

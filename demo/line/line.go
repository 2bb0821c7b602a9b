// Package line is a bottling line that exists only as pictures: stations and bottles drawn from a seed,
// and a camera that shows them over HTTP and knows what it showed.
package line

import (
	"image"
	"math/rand/v2"
)

// Size of every picture, in pixels.
const (
	Width  = 640
	Height = 480
)

// Class is what stands in front of the camera.
type Class uint8

// The four classes, in the order of the model's labels.
const (
	OK        Class = iota // a bottle with its label, unharmed
	Scratched              // a bottle with its label, scratched
	NoLabel                // a bottle without a label
	Empty                  // no bottle at all
)

// Classes lists them in the order of the model's labels.
func Classes() []Class { return []Class{OK, Scratched, NoLabel, Empty} }

// String is the class's label.
func (c Class) String() string {
	switch c {
	case OK:
		return "ok"
	case Scratched:
		return "scratched"
	case NoLabel:
		return "no_label"
	case Empty:
		return "empty"
	}
	return "?"
}

// Draw draws the scene of a seed into dst, which must be Width × Height: one station, one bottle (or none), the light, focus and
// noise of that seed. The same seed and class give the same picture on every machine, but for a rounding here and there.
func Draw(seed uint64, class Class, dst *image.RGBA) {
	d := newDice(seed, 1)
	station := NewStation(d.Uint64())
	bottle := NewBottle(d.Uint64(), class)
	x := Width * d.in(.38, .62)
	station.Render(dst, View{Belt: int(d.in(0, 1000)), Noise: d.Uint64(), Light: d.f(.82, 1.15), Bottles: []Placed{{bottle, int(x)}}})
}

// NewPicture allocates a picture of the right size.
func NewPicture() *image.RGBA { return image.NewRGBA(image.Rect(0, 0, Width, Height)) }

// dice are the random numbers of one thing that is drawn. PCG's sequence is part of Go's promises, so a seed means the same for ever.
type dice struct{ *rand.Rand }

func newDice(seed, use uint64) dice { return dice{rand.New(rand.NewPCG(seed, use))} }

// in is uniform in [lo, hi).
func (d dice) in(lo, hi float64) float64 { return lo + (hi-lo)*d.Float64() }

// f is in as a float32, which the canvas uses.
func (d dice) f(lo, hi float64) float32 { return float32(d.in(lo, hi)) }

// one is true with probability p.
func (d dice) one(p float64) bool { return d.Float64() < p }

package camera

// No signal: a picture that no lens makes. Three kinds, each far from any scene, because such a frame is not classified:
//   - a decoder's empty buffer: pixels of pure green, alike to one level, over 30 % of the frame or more. (YUV 0,0,0 is B 0, G 77…154, R 0
//     by the usual matrices. A frame of which the first rows arrived is green below them.)
//   - the flat blue or other colour that a frame grabber shows without an input: colour without structure or noise;
//   - snow: neighbouring pixels differ as much as far ones, and much. A lens, be it sharp, makes neighbours alike.
const (
	deadShare, deadShareEnd = 0.30, 0.20
	plainSpread             = 1.5 // of luma
	plainColour             = 48  // mean distance between the strongest and the weakest channel
	snowFine, snowFineEnd   = 25, 20
	snowLeast, snowLeastEnd = 0.85, 0.75 // neighbours' difference to that of far pixels
	snowMost                = 1.25       // above it is a pattern
)

// input judges whether there is a signal.
type input struct {
	dead, plain, snow bool
	none              bool
}

func (s *input) judge(m *Measures, f *Frame, sharp *sharpness, looked bool) {
	s.dead = m.Dead > pick(s.dead, deadShare, deadShareEnd)
	s.plain = m.Spread < pick(s.plain, plainSpread, 2*plainSpread) && colour(f) > pick(s.plain, plainColour, plainColour*3/4)
	if looked {
		s.snow = sharp.fine > pick(s.snow, snowFine, snowFineEnd) && sharp.fine > sharp.coarse*pick(s.snow, snowLeast, snowLeastEnd) &&
			sharp.fine < sharp.coarse*snowMost
	}
	s.none = s.dead || s.plain || s.snow
}

// colour is the distance between the strongest and the weakest channel, averaged over a few hundred pixels.
func colour(f *Frame) float64 {
	var sum [3]int
	n := 0
	for y := 0; y < f.Height; y += max(1, f.Height/16) {
		row := f.Pix[y*f.Stride:][:3*f.Width]
		for x := 0; x < f.Width; x += max(1, f.Width/16) {
			if f.hides(rect{x, y, x + 1, y + 1}) {
				continue
			}
			for c := range sum {
				sum[c] += int(row[3*x+c])
			}
			n++
		}
	}
	return float64(max(sum[0], sum[1], sum[2])-min(sum[0], sum[1], sum[2])) / float64(max(1, n))
}

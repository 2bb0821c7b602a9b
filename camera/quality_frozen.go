package camera

import (
	"hash/maphash"
	"time"
)

// Frozen: the camera, or what encodes for it, repeats a picture. Three witnesses, any of which is enough:
//
//   - same: the frames' pixels (every fourth row, whole) are identical for longer than 5 s. No sensor does that.
//   - again: while the perceptual hash (the mean luma of 16×12 cells) stands still, the very same pixels come back after frames in
//     between that differed widely. So an encoder betrays itself that is fed one picture for ever: its key frames, or its few qualities, recur;
//     a sensor's noise never does. What changes in a few places only does not count as having been away: with almost no noise and
//     coarse JPEG, a handful of blocks flip between two values each, and their patterns come back by chance.
//   - quiet: the temporal noise (difference of a pixel to the frame before, per cell, over a second) has fallen under 40 % of what this
//     camera showed before, in nine of ten cells at once, and stays there for 5 s, while those cells show what they showed. Only cells
//     whose noise was steady over the last half minute are asked: leaves, water and people are not noise. If the light changed as well,
//     it is the sensor's gain that changed: the noise is learned anew and nothing is told.
//
// What the rule cannot know: a picture looped through an encoder that never repeats itself, from the first frame on (there is no noise of
// before, and no recurrence); and a live scene so clean that the decoder gives identical frames for 5 s (a test pattern, a dark
// scene behind strong noise reduction) is told as frozen by the first witness, and ends with the first changed pixel. Between the two,
// where the second and third witness see less than they need, nothing is told.
//
// It ends when the pixels are new again (same), the hash moves or no recurrence came for 15 s (again), the noise is back or the hash moved (quiet).
const (
	sameAfter  = 5 * time.Second
	stillAfter = 5 * time.Second  // the hash has stood still so long before a recurrence counts
	againKeeps = 15 * time.Second // after the last recurrence
	stillAll   = 0.5              // … and all together: flicker moves them all one way, an encoder does not
	wide       = 0.25             // share of points that changed by 1 or more: a frame that differs widely
	stillCell  = 3.5              // levels by which a cell may waver and stand still: what an encoder does to it
	keptHashes = 512

	secondLong  = time.Second
	secondLeast = 4    // differences in a "second" at low frame rates
	steadyAfter = 20   // seconds, before a cell is asked
	steadySpan  = 30   // seconds over which noise is averaged
	steadyShare = 0.25 // mean deviation, of the mean
	noiseLeast  = 0.25 // mean difference, levels: below it a fall proves nothing
	quietShare  = 0.40
	loudShare   = 0.60
	askLeast    = 32 // cells
	quietAfter  = 5  // seconds
)

// frozen judges whether a picture repeats itself.
type frozen struct {
	same  repeats
	again recurs
	quiet hush
}

// judge takes in the next frame; fit says whether there is light and structure enough for more than the first witness.
func (z *frozen) judge(f *Frame, g, before *grid, fit bool) bool {
	repeated := z.same.judge(f)
	if !g.celled() || !g.alike(before) || !fit {
		z.again.forget()
		z.quiet.skip()
		return repeated
	}
	changed := z.quiet.differ(g, before)
	recurred := z.again.judge(f.At, g, z.same.hash, changed > wide)
	quietened := z.quiet.judge(f.At, g)
	return repeated || recurred || quietened
}

// repeats is the first witness.
type repeats struct {
	seed  maphash.Seed
	hash  uint64
	since time.Time // capture of the first frame with this hash
	seen  bool
}

func (s *repeats) judge(f *Frame) bool {
	if !s.seen {
		s.seed = maphash.MakeSeed()
	}
	h := uint64(f.Width)
	for y := 0; y < f.Height; y += 4 {
		row := f.Pix[y*f.Stride:][:3*f.Width]
		h = h*0x9e3779b97f4a7c15 + maphash.Bytes(s.seed, row)
	}
	if !s.seen || h != s.hash || f.At.Before(s.since) {
		s.seen, s.hash, s.since = true, h, f.At
	}
	return f.At.Sub(s.since) > sameAfter
}

// recurs is the second witness.
type recurs struct {
	still [cells]float32 // the perceptual hash that stands still
	since time.Time      // since when
	last  time.Time      // of the newest recurrence
	on    bool

	hashes [keptHashes]uint64 // of the frames since then, a ring
	n      int                // frames taken in
	widely int                // number of the newest frame that differed widely from the one before it
}

func (a *recurs) forget() { a.since, a.last, a.n, a.on = time.Time{}, time.Time{}, 0, false }

func (a *recurs) judge(at time.Time, g *grid, hash uint64, widely bool) bool {
	if a.n == 0 || at.Before(a.since) || !g.shows(&a.still) {
		a.forget()
		a.still, a.since, a.widely = g.mean, at, 0
	}
	if widely {
		a.widely = a.n
	}
	for i := max(a.n-keptHashes, 0); i < a.widely; i++ { // only what was there before a wide change can come back
		if a.hashes[i%keptHashes] == hash {
			a.last = at
			break
		}
	}
	a.hashes[a.n%keptHashes] = hash
	a.n++
	a.on = !a.last.IsZero() && at.Sub(a.last) <= againKeeps && at.Sub(a.since) >= stillAfter
	return a.on
}

// shows says whether the picture is, coarsely, the one of these cells: all but one in twenty-five, and their mean, within what an encoder changes.
func (g *grid) shows(still *[cells]float32) bool {
	off, all := 0, float32(0)
	for c, m := range g.mean {
		d := m - still[c]
		all += d
		if d > stillCell || d < -stillCell {
			off++
		}
	}
	return off <= cells/25 && all < stillAll*cells && all > -stillAll*cells
}

// hush is the third witness.
type hush struct {
	sums  [cells]uint32  // differences of this second
	lumas [cells]float32 // means of this second
	n     int            // frames of this second
	began time.Time

	noise   [cells]float32 // mean difference per point, averaged over seconds
	waver   [cells]float32 // mean deviation from it
	shown   [cells]float32 // luma of the last second that was live
	seconds int            // averaged in noise
	fallen  int            // seconds in a row in which the noise was gone
	on      bool
}

// differ adds the differences of each cell's points to the frame before and answers the share of points that changed.
func (q *hush) differ(g, before *grid) float64 {
	changed := 0
	cols := g.cols
	for j := range g.rows {
		sums := q.sums[j*cellRows/g.rows*cellCols:][:cellCols]
		row, old := g.green[j*cols:][:cols], before.green[j*cols:][:cols]
		for i, v := range row {
			d := abs(int(v) - int(old[i]))
			sums[g.place[i]&(cellCols-1)] += uint32(d)
			changed += (d + 255) >> 8
		}
	}
	return float64(changed) / float64(cols*g.rows)
}

// skip drops a second of which a part cannot be used.
func (q *hush) skip() {
	q.n, q.began, q.on, q.fallen = 0, time.Time{}, false, 0
	clear(q.sums[:])
	clear(q.lumas[:])
}

// judge takes in the differences of the frame that differ has added.
func (q *hush) judge(at time.Time, g *grid) bool {
	if d := at.Sub(q.began); q.began.IsZero() || d < 0 || d > time.Minute {
		q.skip()
		q.began = at
		return q.on
	}
	q.n++
	for c, m := range g.mean {
		q.lumas[c] += m
	}
	if at.Sub(q.began) < secondLong || q.n < secondLeast {
		return q.on
	}
	q.second(g)
	q.n, q.began = 0, at
	clear(q.sums[:])
	clear(q.lumas[:])
	return q.on
}

// second judges a whole second, and learns from it if it was live.
func (q *hush) second(g *grid) {
	var asked, gone, loud, kept int
	for c := range cells {
		noise := q.sum(g, c)
		if q.seconds < steadyAfter || q.noise[c] < noiseLeast || q.waver[c] > steadyShare*q.noise[c] {
			continue
		}
		asked++
		if noise < quietShare*q.noise[c] {
			gone++
		}
		if noise > loudShare*q.noise[c] {
			loud++
		}
		if d := q.lumas[c]/float32(q.n) - q.shown[c]; d < 2+q.noise[c]/2 && d > -2-q.noise[c]/2 {
			kept++
		}
	}
	switch {
	case q.on:
		q.on = kept*10 >= asked*8 && loud*2 < asked
		if !q.on {
			q.seconds, q.fallen = 0, 0
		}
	case asked < askLeast || gone*10 < asked*9:
		q.fallen = 0
		q.learn(g)
	case kept*20 < asked*19: // the light changed too
		q.seconds, q.fallen = 0, 0
	default:
		q.fallen++
		q.on = q.fallen >= quietAfter
	}
}

// sum is the mean difference per point of a cell in this second.
func (q *hush) sum(g *grid, c int) float32 {
	return float32(q.sums[c]) / float32(int(g.perCell[c])*q.n)
}

func (q *hush) learn(g *grid) {
	q.seconds++
	k := 1 / float32(min(q.seconds, steadySpan))
	for c := range cells {
		noise := q.sum(g, c)
		off := noise - q.noise[c]
		if q.seconds == 1 {
			q.noise[c], q.waver[c] = noise, 0
		} else {
			q.noise[c] += off * k
			q.waver[c] += (max(off, -off) - q.waver[c]) * k
		}
		q.shown[c] = q.lumas[c] / float32(q.n)
	}
}

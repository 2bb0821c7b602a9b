package camera

import (
	"math"
	"slices"
	"time"
)

// Covered by something with shades of its own: a hand, a glove, a leaf lit from one side. Its spread is that of a scene, but nothing in it has an
// edge, and light runs over it evenly: the means of 16×12 cells, over a second, hardly differ from the mean of their neighbours' (the second
// difference). Of a shade of ±20 % over the picture that is less than a level; of a scene, be it out of focus, ten and more.
//
// It is told after 3 seconds, and only of a camera that has always shown more lately: an empty belt between two boxes, a wall lit from
// the side and fog that stays are such pictures, too.
const (
	smoothShade, smoothShadeEnd = 2, 4 // levels
	shadeOfScene                = 8    // what the smoothest second of a scene has to have had
	shadeSeconds                = 20   // of a scene, before there is an opinion
	shadeForget                 = 600  // seconds, until a smooth one no longer counts
	roughLeast                  = 20   // cells, or masks leave too little to say
	roughUnknown                = 255
	shadeLate                   = 4 // seconds, after which one is learned: a hand on its way halves the shades of a second or two
	coveredAfter                = 3 * time.Second
	coveredEndAfter             = time.Second
)

// cover judges what has no edges.
type cover struct {
	now     second
	seconds int
	least   float64   // second difference of the smoothest second lately, levels
	passing float64   // … since it has been smooth, before that is told
	late    []float64 // of the seconds before this one, not learned yet
	told    lasting
}

// judge takes in a frame; edges is the share of its runs that cross one. While the frame is not fit to be judged nothing is told or learned.
func (c *cover) judge(f *Frame, g *grid, edges float64, fit bool) bool {
	full, ok := c.now.add(f.At, g, fit)
	if !ok {
		c.told.since = time.Time{}
		return c.told.on && fit
	}
	if full {
		c.second(f.At, edges, g.veil)
		c.now.begin(f.At)
	}
	return c.told.on
}

func (c *cover) second(at time.Time, edges float64, v *veil) {
	rough := c.rough(v)
	smooth := edges < fewEdges && rough < pick(c.told.on, smoothShade, smoothShadeEnd)
	switch {
	case smooth && c.seconds >= shadeSeconds && c.least >= shadeOfScene:
		if c.told.since.IsZero() {
			c.passing = rough
			c.late = c.late[:0] // it was on its way
		}
		c.passing = min(c.passing, rough)
		c.told.step(true, at, coveredAfter, coveredEndAfter)
	case c.told.on:
		c.told.step(smooth, at, coveredAfter, coveredEndAfter)
	default:
		if !c.told.since.IsZero() { // it passed, and will again
			c.learn(c.passing)
		}
		c.told.step(false, at, coveredAfter, coveredEndAfter)
		c.late = append(c.late, rough)
		if len(c.late) > shadeLate {
			c.learn(c.late[0])
			c.late = slices.Delete(c.late, 0, 1)
		}
	}
}

// learn follows the smoothest second: down at once, up over ten minutes.
func (c *cover) learn(rough float64) {
	c.seconds++
	if c.seconds == 1 || rough < c.least {
		c.least = rough
		return
	}
	c.least += (rough - c.least) / shadeForget
}

// rough is the root mean square of the second differences, across and down, of this second's cells that are seen, as their neighbours are.
func (c *cover) rough(v *veil) float64 {
	var sum float32
	n := 0
	lumas := &c.now.lumas
	for y := 1; y < cellRows-1; y++ {
		for x := 1; x < cellCols-1; x++ {
			i := y*cellCols + x
			if !v.sees(i) || !v.sees(i-1) || !v.sees(i+1) || !v.sees(i-cellCols) || !v.sees(i+cellCols) {
				continue
			}
			n++
			d := lumas[i] - (lumas[i-1]+lumas[i+1]+lumas[i-cellCols]+lumas[i+cellCols])/4
			sum += d * d
		}
	}
	if n < roughLeast {
		return roughUnknown
	}
	return math.Sqrt(float64(sum)/float64(n)) / float64(c.now.n)
}

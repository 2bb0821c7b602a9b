package board

import (
	"fmt"
	"time"
)

// Rules of a lever.
const (
	calmFor  = 30 * time.Second // quiet before each step up
	calmMost = 10 * time.Minute // … at most, after relapses; so long at full rate forgets them
	enough   = 2 * time.Second  // strain before the first step down
)

// lever is one slow-down: quickly down, slowly and stepwise up. Each relapse soon after a step up doubles the quiet that the next
// step up takes, so that a load that the board cannot bear is tried less and less often instead of back and forth.
type lever struct {
	further time.Duration // strain must last so long after a step down for the next

	level   int
	most    int           // halvings that make a difference
	charge  time.Duration // strain so far: grows while there is some, falls half as fast while there is none
	at      time.Time     // of the last finding
	calm    time.Time     // since when there is no strain and the next step up could be borne
	lowered time.Time     // the last step down
	raised  time.Time     // the last step up
	hold    time.Duration // quiet that the next step up takes
}

// step takes a second's finding. room says whether one step up could be borne, as far as can be told beforehand.
func (l *lever) step(now time.Time, strain, room bool) {
	if l.hold == 0 {
		l.hold = calmFor
	}
	d := time.Second
	if !l.at.IsZero() {
		d = min(max(now.Sub(l.at), 0), enough)
	}
	l.at = now
	if strain {
		l.calm = time.Time{}
		l.charge = min(l.charge+d, enough)
		l.down(now)
		return
	}
	l.charge = max(l.charge-d/2, 0)
	switch {
	case l.level == 0:
		if !l.raised.IsZero() && now.Sub(l.raised) >= calmMost {
			l.hold, l.raised = calmFor, time.Time{}
		}
	case !room:
		l.calm = time.Time{}
	case l.calm.IsZero():
		l.calm = now
	case now.Sub(l.calm) >= l.hold:
		l.level--
		l.raised, l.calm = now, now
	}
}

func (l *lever) down(now time.Time) {
	if l.level >= l.most || l.charge < enough || l.level > 0 && now.Sub(l.lowered) < l.further {
		return
	}
	if !l.raised.IsZero() && now.Sub(l.raised) < 2*l.hold { // a relapse
		l.hold = min(2*l.hold, calmMost)
		l.raised = time.Time{}
	}
	l.level++
	l.lowered = now
}

// slotJudge knows how long inference takes in a slot when all is well.
type slotJudge struct {
	lever
	engine string
	normal time.Duration    // 0: not known yet
	heard  int              // seconds with results so far
	last   time.Duration    // latency judged last
	slowed [2]time.Duration // latency and normal when it was too slow last
}

// learnFor is how many seconds with results it takes to know what is normal.
const learnFor = 5

func (g *Governor) judgeSlot(now time.Time, s SlotLoad, cameras []CameraLoad) {
	j := g.slots[s.Slot]
	if j == nil || j.engine != s.Engine && s.Engine != "" {
		j = &slotJudge{lever: lever{further: 3 * time.Second}, engine: s.Engine}
		g.slots[s.Slot] = j
	}
	j.most = g.halvings(cameras, s.Slot)
	if s.Latency <= 0 {
		return // nothing was classified: nothing is known
	}
	j.last = s.Latency
	j.learn(s.Latency)
	strain := j.slow(s.Latency, g.busy(s, cameras, max(j.level, g.board.level)))
	if strain {
		j.slowed = [2]time.Duration{s.Latency, j.normal}
	}
	if g.adapt {
		more := time.Duration(margin * float64(s.Latency))
		room := !j.slow(more, margin*g.busy(s, cameras, max(j.level-1, g.board.level, 0)))
		j.step(now, strain, room)
		return
	}
	g.note(now, strain, CodeSlow, "model slot %s: %s", s.Slot, j.why())
}

// learn follows the normal latency: down at once, up over minutes and only while nothing is slow.
func (j *slotJudge) learn(latency time.Duration) {
	j.heard++
	switch {
	case j.heard <= learnFor:
		if j.heard == 1 || latency < j.normal || j.normal == 0 {
			j.normal = latency
		}
	case latency < j.normal:
		j.normal += (latency - j.normal) / 8
	case j.level == 0:
		j.normal += (latency - j.normal) / 600
	}
}

// slow says whether latency is out of the ordinary and harms, when the model is at work for the given share of its time.
// A model that was too slow for its cameras from the start is none of the Governor's business: the newest frame wins as ever.
func (j *slotJudge) slow(latency time.Duration, busy float64) bool {
	if j.heard < learnFor {
		return false
	}
	times := float64(latency) / float64(j.normal)
	return times >= muchSlower && busy >= nearlyFull || times >= slowBy && busy >= fullAt
}

// busy is the share of its time that the slot's model is at work when its cameras are slowed to level.
func (g *Governor) busy(s SlotLoad, cameras []CameraLoad, level int) (share float64) {
	for _, c := range cameras {
		if c.Slot == s.Slot && c.Live {
			want := g.wanted[c.Name]
			if want == 0 {
				want = g.want(c)
			}
			share += slowed(want, level) * s.Latency.Seconds()
		}
	}
	return share
}

func (j *slotJudge) why() string {
	if !j.calm.IsZero() {
		return fmt.Sprintf("recovering: classifying took %s instead of %s", inMS(j.slowed[0]), inMS(j.slowed[1]))
	}
	return fmt.Sprintf("classifying takes %s instead of %s", inMS(j.last), inMS(j.normal))
}

func inMS(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

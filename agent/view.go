package agent

import (
	"time"

	"heron/agent/status"
	"heron/vision"
)

// view is what the page shows of one camera.
type view struct {
	last   vision.Observation
	recent [10]int            // observations in each of the last ten seconds
	second int64              // the second that recent[second%10] counts
	count  vision.CameraStats // counters since the agent started
	now    vision.CameraStats // of the present heron-vision

	reopenedAt time.Time // when the source was last opened anew
	readThen   uint64    // frames it had given by then
	relapses   int       // how often in a row it gave frames and failed again, with less than grace between
}

// reopen notes that the source is opened anew. A try after one that gave no frame is no relapse.
func (v *view) reopen(now time.Time) {
	if now.Sub(v.reopenedAt) >= grace {
		v.relapses = 0
	}
	if v.count.Read > v.readThen {
		v.relapses++
	}
	v.reopenedAt, v.readThen = now, v.count.Read
}

// counted takes a beat's counters. A new heron-vision counts from zero; what its predecessor counted stays.
func (v *view) counted(s vision.CameraStats) {
	if s.Read < v.now.Read || s.Errors < v.now.Errors {
		v.now = vision.CameraStats{}
	}
	v.count.Read += s.Read - v.now.Read
	v.count.Dropped += s.Dropped - min(s.Dropped, v.now.Dropped)
	v.count.Inferred += s.Inferred - min(s.Inferred, v.now.Inferred)
	v.count.Reopened += s.Reopened - min(s.Reopened, v.now.Reopened)
	v.count.Errors += s.Errors - v.now.Errors
	v.count.ClockJumps += s.ClockJumps - min(s.ClockJumps, v.now.ClockJumps)
	v.now = s
}

func (v *view) add(now time.Time, obs vision.Observation) {
	v.last = obs
	v.forward(now)
	v.recent[v.second%10]++
}

// forward empties the seconds that passed without an observation.
func (v *view) forward(now time.Time) {
	s := now.Unix()
	if s < v.second || s-v.second > 10 { // the clock went back, or a long silence
		v.recent, v.second = [10]int{}, s
	}
	for v.second < s {
		v.second++
		v.recent[v.second%10] = 0
	}
}

// fps is the mean over the last nine full seconds.
func (v *view) fps(now time.Time) float64 {
	v.forward(now)
	n := 0
	for i, c := range v.recent {
		if int64(i) != v.second%10 {
			n += c
		}
	}
	return float64(n) / 9
}

// slotView is what the page shows of one model slot.
type slotView struct {
	latency status.Histogram
	errors  uint64
}

func (v *slotView) add(obs vision.Observation) {
	switch {
	case obs.Error != "":
		v.errors++
	case len(obs.Top) > 0:
		v.latency.Observe(obs.LatMS / 1000)
	}
}

package demo

import (
	"slices"
	"sync"
	"time"

	"heron/demo/cloud"
	"heron/demo/line"
	"heron/inference"
)

// A frame is captured, as heron sees it, when it arrives: after JPEG, HTTP and the decoder, which may hold one or two frames back.
// Only results whose whole interval [capture − pipeline, capture + slack] showed one thing are judged.
const (
	pipeline = 450 * time.Millisecond
	slack    = 20 * time.Millisecond
)

// judge compares results with what the camera showed.
type judge struct {
	truth func(from, to time.Time) (line.Truth, bool)

	mu    sync.Mutex
	score score
}

// score is a copy of the judge's counters.
type score struct {
	judged, right     uint64
	covered, mistaken uint64 // frames under the hand, and those of them that were classified all the same; both are within judged
	wrong             map[string]uint64
}

// take judges one result.
func (j *judge) take(r cloud.Result) {
	truth, ok := j.truth(r.At.Add(-pipeline), r.At.Add(slack))
	if !ok {
		return
	}
	said := answer(r)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.score.judged++
	if truth.Covered {
		j.score.covered++
		if said == "" || said == inference.Unknown {
			j.score.right++
		} else {
			j.score.mistaken++
		}
		return
	}
	if said == truth.Class.String() {
		j.score.right++
		return
	}
	if said == "" {
		said = "nothing"
	}
	if j.score.wrong == nil {
		j.score.wrong = map[string]uint64{}
	}
	j.score.wrong[truth.Class.String()+" taken for "+said]++
}

// answer is the label a result gives, empty where the frame was found unfit.
func answer(r cloud.Result) string {
	if len(r.Top) == 0 {
		return ""
	}
	return r.Top[0].Label
}

// copy returns the counters.
func (j *judge) copy() score {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.score
	s.wrong = make(map[string]uint64, len(j.score.wrong))
	for k, n := range j.score.wrong {
		s.wrong[k] = n
	}
	return s
}

// mistakes lists the wrong answers, most frequent first.
func (s score) mistakes() []string {
	names := make([]string, 0, len(s.wrong))
	for k := range s.wrong {
		names = append(names, k)
	}
	slices.SortFunc(names, func(a, b string) int {
		if s.wrong[a] != s.wrong[b] {
			return int(s.wrong[b]) - int(s.wrong[a])
		}
		if a < b {
			return -1
		}
		return 1
	})
	return names
}

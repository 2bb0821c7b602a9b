package events

import (
	"slices"
	"time"

	"heron/inference"
	"heron/sync/message"
	"heron/vision"
)

const (
	// Minute is the length of a rollup's window; windows begin at full minutes of the wall clock.
	Minute = time.Minute
	// Other takes the labels, facts and reasons beyond the bound.
	Other = "other"

	maxKeys   = 64  // (camera, model, engine) in one window
	maxLabels = 128 // labels in one rollup: a record must fit into a group
	maxNames  = 32  // facts and drop reasons in one rollup
	confBins  = 10
)

// Rollup sums up observations for each camera, model and engine, a wall-clock minute at a time.
//
// An observation belongs to the minute in which it arrived: nothing is ever late, and a wrong capture stamp spoils nothing.
// In each record n = Σ labels + unknown = Σ conf.n; frames without an answer are in quality, failed inferences in dropped.
type Rollup struct {
	from    time.Time     // wall time at which the window began
	fromAt  time.Duration // the same on the clock that never steps
	sums    map[rollupKey]*sum
	dropped map[string]map[string]int // camera → reason
	refused uint64
}

type rollupKey struct{ camera, model, engine string }

type sum struct {
	n, unknown int
	lat        spread
	conf       [confBins]int
	labels     map[string]int
	quality    map[string]int
	dropped    map[string]int
}

// NewRollup returns an empty Rollup; its first window begins with the first call.
func NewRollup() *Rollup {
	return &Rollup{sums: map[rollupKey]*sum{}, dropped: map[string]map[string]int{}}
}

// Refused counts observations that were not summed because there were too many cameras, models and engines in one minute.
func (r *Rollup) Refused() uint64 { return r.refused }

// Add takes one observation. Where now lies in another minute than the window, the window's records are returned first, as Flush does.
func (r *Rollup) Add(now message.Stamp, obs vision.Observation) []message.RollupRecord {
	done := r.Flush(now)
	key := rollupKey{obs.Camera, obs.Model, obs.Engine}
	s := r.sums[key]
	if s == nil {
		if len(r.sums) >= maxKeys {
			r.refused++
			return done
		}
		s = &sum{labels: map[string]int{}, quality: map[string]int{}, dropped: map[string]int{}}
		r.sums[key] = s
	}
	s.add(&obs)
	return done
}

// Drop counts n frames or results of a camera that were lost for a reason since the last call; it is told with the camera's first record of the window.
func (r *Rollup) Drop(camera, reason string, n int) {
	if n <= 0 {
		return
	}
	by := r.dropped[camera]
	if by == nil {
		if len(r.dropped) >= maxKeys {
			r.refused++
			return
		}
		by = map[string]int{}
		r.dropped[camera] = by
	}
	count(by, reason, n, maxNames)
}

// Flush returns the window's records, ordered by camera, model and engine, when its minute is over or the wall clock went back before it; nil otherwise.
// Call it every second or so, for a camera that died sends no observations.
func (r *Rollup) Flush(now message.Stamp) []message.RollupRecord {
	end := r.from.Truncate(Minute).Add(Minute)
	switch {
	case r.from.IsZero():
		r.begin(now.T, now)
	case now.T.Before(r.from): // the clock was set back: the window is as long as it was
		done := r.take(now, r.from.Add(min(max(0, now.Mono-r.fromAt), end.Sub(r.from))))
		r.begin(now.T, now)
		return done
	case !now.T.Before(end):
		done := r.take(now, end)
		from := now.T.Truncate(Minute)
		if from.After(end) { // minutes are missing: suspended, or the clock was set forward
			from = now.T
		}
		r.begin(from, now)
		return done
	}
	return nil
}

// Close returns what the unfinished window holds, for a regular end.
func (r *Rollup) Close(now message.Stamp) []message.RollupRecord {
	done := r.Flush(now)
	if now.T.After(r.from) {
		done = append(done, r.take(now, now.T)...)
	}
	r.begin(now.T, now)
	return done
}

func (r *Rollup) begin(from time.Time, now message.Stamp) {
	r.from, r.fromAt = from.Round(0), now.Mono
}

func (r *Rollup) take(now message.Stamp, to time.Time) []message.RollupRecord {
	for camera := range r.dropped { // losses of a camera without a single answer are told, too
		if !r.seen(camera) {
			r.sums[rollupKey{camera: camera}] = &sum{dropped: map[string]int{}}
		}
	}
	keys := make([]rollupKey, 0, len(r.sums))
	for k := range r.sums {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b rollupKey) int {
		return slices.Compare([]string{a.camera, a.model, a.engine}, []string{b.camera, b.model, b.engine})
	})
	out := make([]message.RollupRecord, 0, len(keys))
	for _, k := range keys {
		s := r.sums[k]
		for reason, n := range r.dropped[k.camera] {
			count(s.dropped, reason, n, maxNames)
		}
		delete(r.dropped, k.camera)
		out = append(out, s.record(now, k, r.from, to.Round(0)))
	}
	clear(r.sums)
	return out
}

func (r *Rollup) seen(camera string) bool {
	for k := range r.sums {
		if k.camera == camera {
			return true
		}
	}
	return false
}

func (s *sum) add(obs *vision.Observation) {
	for _, f := range obs.Facts {
		count(s.quality, f, 1, maxNames)
	}
	switch {
	case obs.Error != "":
		count(s.dropped, "inference-error", 1, maxNames)
		return
	case len(obs.Top) == 0 || !(obs.Top[0].Score >= 0 && obs.Top[0].Score <= 1):
		if len(obs.Facts) == 0 {
			count(s.quality, "unfit", 1, maxNames)
		}
		return
	}
	best := obs.Top[0]
	s.n++
	s.lat.add(obs.LatMS)
	s.conf[min(int(best.Score*confBins), confBins-1)]++
	if best.Label == inference.Unknown {
		s.unknown++
	} else {
		count(s.labels, best.Label, 1, maxLabels)
	}
}

// count adds n to m[name], or to m["other"] when m has its bound of names.
func count(m map[string]int, name string, n, bound int) {
	names := len(m)
	if _, ok := m[Other]; ok {
		names--
	}
	if _, ok := m[name]; !ok && names >= bound-1 {
		name = Other
	}
	m[name] += n
}

func (s *sum) record(now message.Stamp, k rollupKey, from, to time.Time) message.RollupRecord {
	edges := make([]float64, confBins+1)
	for i := range edges {
		edges[i] = float64(i) / confBins
	}
	if s.labels == nil {
		s.labels = map[string]int{} // {} in JSON, not null
	}
	return message.RollupRecord{
		Stamp: now, Camera: k.camera, Model: k.model, Engine: k.engine, From: from, To: to,
		N: s.n, Lat: s.lat.latency(), Labels: s.labels, Conf: message.Histogram{Edges: edges, N: slices.Clone(s.conf[:])},
		Unknown: s.unknown, Quality: s.quality, Dropped: s.dropped,
	}
}

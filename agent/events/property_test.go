package events

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"heron/inference"
	"heron/sync/message"
	"heron/vision"

	"pgregory.net/rapid"
)

var labels = []string{"a", "b", "c", inference.Unknown, ""}

func anyObservation(t *rapid.T, mono time.Duration) vision.Observation {
	o := vision.Observation{
		Camera: rapid.SampledFrom([]string{"front", "back"}).Draw(t, "cam"), Slot: "main",
		Model:  rapid.SampledFrom([]string{"m@1", "m@1", "m@1", "m@2"}).Draw(t, "model"),
		Engine: "scripted", At: start.Add(mono), MonoMS: mono.Milliseconds(),
		LatMS: rapid.SampledFrom([]float64{0, 0.5, 3, 3.1, 80, 1e9, -1, math.NaN(), math.Inf(1)}).Draw(t, "lat"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "tops") {
		o.Top = append(o.Top, inference.Score{
			Label: rapid.SampledFrom(labels).Draw(t, "label"),
			Score: rapid.SampledFrom([]float64{0, 0.3, 0.59, 0.6, 0.7, 0.8, 0.95, 1, 7, math.NaN()}).Draw(t, "score"),
		})
	}
	if rapid.IntRange(0, 4).Draw(t, "bad") == 0 {
		o.Facts = []string{rapid.SampledFrom([]string{"covered", "black", "blurred"}).Draw(t, "fact")}
	}
	if rapid.IntRange(0, 9).Draw(t, "fail") == 0 {
		o.Error = "engine said no"
	}
	return o
}

// ledger checks what must hold for any run of events.
type ledger struct {
	in     map[string]string // camera → label that is entered
	exited map[string]time.Duration
	cfg    Config
}

func (l *ledger) check(t *rapid.T, out []message.EventRecord) {
	for _, e := range out {
		open := l.in[e.Camera]
		switch {
		case e.Label == inference.Unknown || e.Label == "":
			t.Fatalf("event of label %q", e.Label)
		case e.DwellMS < 0 || e.Frames < l.cfg.Rule(e.Label).Dwell:
			t.Fatalf("%s with dwell %d ms and %d frames", e.State, e.DwellMS, e.Frames)
		case e.State == Enter && open != "":
			t.Fatalf("entered %q while in %q", e.Label, open)
		case e.State != Enter && open != e.Label:
			t.Fatalf("%s of %q while in %q", e.State, e.Label, open)
		case e.State == Enter && e.Score < l.cfg.Rule(e.Label).Enter:
			t.Fatalf("entered with %v", e.Score)
		}
		id := e.Camera + "/" + e.Label
		if at, ok := l.exited[id]; ok && e.State == Enter && e.Mono >= at && e.Mono-at < l.cfg.Rule(e.Label).Cooldown {
			t.Fatalf("entered %v after its exit, cooldown is %v", e.Mono-at, l.cfg.Rule(e.Label).Cooldown)
		}
		switch e.State {
		case Enter:
			l.in[e.Camera] = e.Label
		case Exit:
			l.in[e.Camera], l.exited[id] = "", e.Mono
		}
		if b := e.AppendJSON(nil); !json.Valid(b) {
			t.Fatalf("not JSON: %s", b)
		}
	}
}

func TestEnterAndExitAlternate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := DefaultConfig()
		cfg.Default.Dwell = rapid.IntRange(1, 3).Draw(t, "dwell")
		cfg.Default.Cooldown = time.Duration(rapid.IntRange(0, 3).Draw(t, "cooldown")) * time.Second
		tr, err := NewTracker(cfg)
		if err != nil {
			t.Fatal(err)
		}
		l := ledger{in: map[string]string{}, exited: map[string]time.Duration{}, cfg: cfg}
		mono := time.Minute
		for range rapid.IntRange(1, 80).Draw(t, "n") {
			mono += time.Duration(rapid.SampledFrom([]int{0, 100, 100, 900, 40_000}).Draw(t, "step")) * time.Millisecond
			now := message.Stamp{T: start.Add(mono), Mono: mono}
			if rapid.IntRange(0, 9).Draw(t, "tick") == 0 {
				l.check(t, tr.Tick(now))
			}
			l.check(t, tr.Step(now, anyObservation(t, mono)))
		}
		l.check(t, tr.Close(message.Stamp{T: start.Add(mono), Mono: mono}))
		if s := tr.Stats(); s.Entered != s.Exited {
			t.Fatalf("entered %d, left %d", s.Entered, s.Exited)
		}
		for cam, label := range l.in {
			if label != "" {
				t.Fatalf("%s is in %s for ever", cam, label)
			}
		}
	})
}

func TestRollupSumsEqualCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRollup()
		var all []message.RollupRecord
		var answered, failed, dropped int
		at := time.Duration(0)
		for range rapid.IntRange(1, 80).Draw(t, "n") {
			at += time.Duration(rapid.SampledFrom([]int{0, 1, 5, 61, -30, 4000}).Draw(t, "step")) * time.Second
			now := message.Stamp{T: start.Add(at), Mono: at}
			o := anyObservation(t, time.Hour)
			switch {
			case o.Error != "":
				failed++
			case len(o.Top) > 0 && o.Top[0].Score <= 1:
				answered++
			}
			n := rapid.IntRange(0, 2).Draw(t, "dropped")
			dropped += n
			r.Drop(o.Camera, "newer", n)
			all = append(all, r.Add(now, o)...)
		}
		all = append(all, r.Close(message.Stamp{T: start.Add(at + time.Second), Mono: at + time.Second})...)
		var n, told, lost int
		for _, rec := range all {
			if err := consistent(rec); err != nil {
				t.Fatal(err)
			}
			n, told, lost = n+rec.N, told+rec.Dropped["inference-error"], lost+rec.Dropped["newer"]
		}
		if n != answered || told != failed || lost != dropped {
			t.Fatalf("told %d answers of %d, %d failures of %d, %d drops of %d", n, answered, told, failed, lost, dropped)
		}
	})
}

// consistent checks what must hold in every rollup.
func consistent(r message.RollupRecord) error {
	sum := r.Unknown
	for n := range maps.Values(r.Labels) {
		sum += n
	}
	var conf int
	for _, n := range r.Conf.N {
		conf += n
	}
	order := []float64{r.Lat.Min, r.Lat.P50, r.Lat.P95, r.Lat.P99, r.Lat.Max}
	switch {
	case sum != r.N || conf != r.N:
		return fmt.Errorf("n %d, labels %d, conf %d", r.N, sum, conf)
	case !slices.IsSorted(order) || r.Lat.Mean < r.Lat.Min || r.Lat.Mean > r.Lat.Max*(1+1e-12):
		return fmt.Errorf("latency out of order: %+v", r.Lat)
	case r.To.Before(r.From) || r.To.After(r.From.Truncate(Minute).Add(Minute)):
		return fmt.Errorf("window %v to %v", r.From, r.To)
	case len(r.Labels) > maxLabels || len(r.Quality) > maxNames || len(r.Dropped) > maxNames:
		return fmt.Errorf("%d labels, %d facts, %d reasons", len(r.Labels), len(r.Quality), len(r.Dropped))
	}
	if b := r.AppendJSON(nil); !json.Valid(b) {
		return fmt.Errorf("not JSON: %s", b)
	}
	return nil
}

// FuzzStep feeds observations as heron-vision could send them, however broken it is.
func FuzzStep(f *testing.F) {
	f.Add([]byte(`[{"cam":"a","mono_ms":1,"top":[{"label":"x","score":0.9}]},{"cam":"a","mono_ms":2,"top":[{"label":"x","score":0.9}]}]`))
	f.Add([]byte(`[{"mono_ms":-9223372036854775808},{"mono_ms":9223372036854775807,"top":[{"label":"x","score":1e308}]}]`))
	f.Add([]byte(`[{"at":"0001-01-01T00:00:00Z","facts":["covered"],"error":"x"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []vision.Observation
		if json.Unmarshal(b, &all) != nil {
			return
		}
		tr, r := tracker(t), NewRollup()
		in := map[string]string{}
		check := func(out []message.EventRecord) {
			for _, e := range out {
				if (e.State == Enter) != (in[e.Camera] == "") || e.DwellMS < 0 {
					t.Fatalf("%+v while in %q", e, in[e.Camera])
				}
				in[e.Camera] = e.Label
				if e.State == Exit {
					in[e.Camera] = ""
				}
			}
		}
		var sums []message.RollupRecord
		for i, o := range all {
			o.Slot = ""
			check(tr.Step(stamp(int64(i)), o))
			sums = append(sums, r.Add(stamp(int64(i*7000)), o)...)
		}
		check(tr.Close(stamp(int64(len(all)))))
		for _, rec := range append(sums, r.Close(stamp(int64(len(all)*7000)))...) {
			if err := consistent(rec); err != nil {
				t.Fatal(err)
			}
		}
	})
}

package events

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"heron/sync/message"
	"heron/vision"
)

func TestRollupOfAMinute(t *testing.T) {
	r := NewRollup()
	for i := range int64(600) { // 10 frames/s
		o := seen(i*100, "ok", 0.95)
		o.LatMS = float64(i%100) + 1
		switch {
		case i%10 == 0:
			o = with(seen(i*100), fact("covered"))
		case i%10 == 1:
			o.Top[0].Label, o.Top[0].Score = "unknown", 0.4
		case i == 2:
			o.Error = "NaN in the output"
		}
		if out := r.Add(stamp(i*100), o); out != nil {
			t.Fatalf("a record in the middle of the minute: %v", out)
		}
	}
	r.Drop("front", "newer", 3)
	r.Drop("front", "newer", 4)
	out := r.Flush(stamp(60_000))
	if len(out) != 1 {
		t.Fatalf("%d records", len(out))
	}
	got := out[0]
	if err := consistent(got); err != nil {
		t.Error(err)
	}
	if got.N != 539 || got.Unknown != 60 || got.Labels["ok"] != 479 || got.Quality["covered"] != 60 || got.Dropped["newer"] != 7 || got.Dropped["inference-error"] != 1 {
		t.Errorf("%+v", got)
	}
	if got.Conf.N[9] != 479 || got.Conf.N[4] != 60 || len(got.Conf.Edges) != 11 {
		t.Errorf("%+v", got.Conf)
	}
	if !got.From.Equal(start) || !got.To.Equal(start.Add(time.Minute)) {
		t.Errorf("from %v to %v", got.From, got.To)
	}
	if out := r.Flush(stamp(120_000)); len(out) != 0 {
		t.Errorf("an empty minute was told: %v", out)
	}
}

func TestRollupWindowsFollowTheWallMinute(t *testing.T) {
	r := NewRollup()
	span := func(out []message.RollupRecord) string {
		s := ""
		for _, o := range out {
			s += fmt.Sprintf("%d@%.0f-%.0f ", o.N, o.From.Sub(start).Seconds(), o.To.Sub(start).Seconds())
		}
		return s
	}
	steps := []struct {
		wall, mono int64 // seconds
		want       string
	}{
		{20, 20, ""}, // the window begins now, not at the minute
		{59, 59, ""},
		{60, 60, "2@20-60 "},
		{121, 121, "1@60-120 "},
		{3700, 3700, "1@120-180 "}, // suspended
		{3710, 3710, ""},
		{100, 3720, "2@3700-3720 "}, // the clock was set back
		{119, 3739, ""},
		{120, 3740, "2@100-120 "},
	}
	for _, s := range steps {
		now := message.Stamp{T: start.Add(time.Duration(s.wall) * time.Second), Mono: time.Duration(s.mono) * time.Second}
		if got := span(r.Add(now, seen(0, "ok", 0.9))); got != s.want {
			t.Errorf("at %d s: got %q, want %q", s.wall, got, s.want)
		}
	}
	now := message.Stamp{T: start.Add(130 * time.Second), Mono: 3750 * time.Second}
	if got := span(r.Close(now)); got != "1@120-130 " {
		t.Errorf("at the end: %q", got)
	}
}

func TestRollupTellsLossesOfASilentCamera(t *testing.T) {
	r := NewRollup()
	r.Flush(stamp(0))
	r.Drop("front", "newer", 5)
	out := r.Flush(stamp(60_000))
	if len(out) != 1 || out[0].Camera != "front" || out[0].N != 0 || out[0].Dropped["newer"] != 5 {
		t.Fatalf("got %+v", out)
	}
	if err := consistent(out[0]); err != nil {
		t.Error(err)
	}
}

func TestRollupIsBounded(t *testing.T) {
	r := NewRollup()
	for i := range 3000 {
		name := fmt.Sprint("n", i)
		r.Add(stamp(0), with(seen(0, name, 0.9), fact(name)))
		r.Add(stamp(0), with(seen(0, "ok", 0.9), func(o *vision.Observation) { o.Camera = name }))
		r.Drop("front", name, 1)
		r.Drop(name, "newer", 1)
	}
	var front message.RollupRecord
	out := r.Flush(stamp(60_000))
	for _, rec := range out {
		if err := consistent(rec); err != nil {
			t.Error(err)
		}
		if rec.Camera == "front" {
			front = rec
		}
	}
	if front.N != 3000 || front.Labels[Other] != 3000-maxLabels+1 || front.Quality[Other] != 3000-maxNames+1 || front.Dropped[Other] != 3000-maxNames+1 {
		t.Errorf("n %d, other labels %d, other facts %d, other reasons %d", front.N, front.Labels[Other], front.Quality[Other], front.Dropped[Other])
	}
	if len(out) > 2*maxKeys || r.Refused() == 0 {
		t.Errorf("%d records, %d refused", len(out), r.Refused())
	}
	if n := len(front.AppendJSON(nil)); n > 16<<10 {
		t.Errorf("a record of %d bytes", n)
	}
}

func TestQuantilesAreWithinOnePercent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func() float64{
		"constant":  func() float64 { return 3.1 },
		"even":      func() float64 { return 1 + 99*rng.Float64() },
		"long tail": func() float64 { return 0.5 * math.Exp(2*rng.NormFloat64()) },
		"two humps": func() float64 { return []float64{3, 250}[rng.IntN(2)] + rng.Float64() },
	}
	for name, draw := range shapes {
		var s spread
		all := make([]float64, 14_400) // 240 frames/s
		for i := range all {
			all[i] = draw()
			s.add(all[i])
		}
		slices.Sort(all)
		for _, q := range []float64{0.5, 0.95, 0.99} {
			exact := all[int(math.Ceil(q*float64(len(all))))-1]
			if got := s.quantile(q); math.Abs(got-exact) > 0.0101*exact {
				t.Errorf("%s: p%.0f is %v, exactly %v", name, q*100, got, exact)
			}
		}
		if l := s.latency(); l.Min != all[0] || l.Max != all[len(all)-1] {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

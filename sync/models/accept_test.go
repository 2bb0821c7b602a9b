package models

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	a := Acceptance{}.orStandard()
	labels := func(ok, bad int) map[string]int { return map[string]int{"ok": ok, "scratched": bad} }
	good := Sample{Frames: 300, Confidence: 0.9, P95MS: 20, Labels: labels(270, 30)}
	with := func(fn func(*Sample)) Sample { s := good; fn(&s); return s }
	base := &baseline{N: 2000, Confidence: 0.95, Labels: labels(1000, 1000)}
	for name, c := range map[string]struct {
		s    Sample
		by   against
		want string // empty: nothing speaks against it
	}{
		"as before":                     {good, against{ref: &good, same: true}, ""},
		"no model before":               {good, against{base: base}, ""},
		"few frames, all wrong":         {Sample{Frames: 19, Errors: 19}, against{}, ""},
		"errors":                        {with(func(s *Sample) { s.Errors = 7 }), against{ref: &good}, "errors: 7 of 300 frames failed; 2.0 % may"},
		"errors, as many as before":     {with(func(s *Sample) { s.Errors = 7 }), against{ref: &Sample{Frames: 100, Errors: 2, Confidence: 0.9, P95MS: 20}}, ""},
		"NaN":                           {with(func(s *Sample) { s.Errors, s.NotFinite = 300, 300 }), against{}, "not-finite: 300 of 300 frames failed, 300 of them with answers that are no numbers"},
		"hanging":                       {with(func(s *Sample) { s.Errors, s.Hung = 30, 29 }), against{}, "hang: 30 of 300 frames failed, 29 of them without an answer in time"},
		"hanging, and NaN":              {with(func(s *Sample) { s.Errors, s.Hung, s.NotFinite = 30, 3, 27 }), against{}, "not-finite: 30 of 300 frames failed, 3 of them without an answer in time, 27 of them with answers that are no numbers"},
		"in its budget, slower":         {with(func(s *Sample) { s.P95MS = 90 }), against{ref: &good, budgetMS: 100}, ""},
		"over its budget, as before":    {with(func(s *Sample) { s.P95MS = 30 }), against{ref: &good, budgetMS: 10}, ""},
		"over both":                     {with(func(s *Sample) { s.P95MS = 36 }), against{ref: &good, budgetMS: 10}, "too slow: p95 latency is 36.0 ms, at most 35.0 ms may be (1.5 times"},
		"over its budget alone":         {with(func(s *Sample) { s.P95MS = 36 }), against{budgetMS: 10}, "latency: too slow: p95 latency is 36.0 ms, at most 10.0 ms may be (its budget)"},
		"no budget, nothing before":     {with(func(s *Sample) { s.P95MS = 9000 }), against{}, ""},
		"collapse from before":          {with(func(s *Sample) { s.Confidence = 0.6 }), against{ref: &good, same: true}, "confidence: its confidence collapsed: 0.60 on average instead of 0.90"},
		"collapse from the baseline":    {with(func(s *Sample) { s.Confidence = 0.6 }), against{base: base}, "instead of 0.95"},
		"other labels, no baseline":     {with(func(s *Sample) { s.Confidence = 0.3 }), against{ref: &good}, ""},
		"unknown":                       {with(func(s *Sample) { s.Unknown = 80 }), against{ref: &good, same: true}, "unknown: 27 % of its answers are unknown"},
		"landslide":                     {with(func(s *Sample) { s.Labels = labels(30, 270) }), against{ref: &good, same: true}, "drift: its answers are others than those of the model before: drift (PSI) 3.4"},
		"a shift":                       {with(func(s *Sample) { s.Labels = labels(220, 80) }), against{ref: &good, same: true}, ""},
		"not as in training":            {with(func(s *Sample) { s.Labels = labels(300, 0) }), against{base: base}, ""},
		"few frames for the histogram":  {Sample{Frames: 150, Confidence: 0.9, P95MS: 20, Labels: labels(0, 150)}, against{ref: &good, same: true}, ""},
		"landslide with another labels": {with(func(s *Sample) { s.Labels = map[string]int{"bottle": 300} }), against{ref: &good}, ""},
	} {
		got := said(a.judge(c.s, c.by))
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	strict := a
	strict.BaselinePSI = 0.5
	if got := said(strict.judge(with(func(s *Sample) { s.Labels = labels(300, 0) }), against{base: base})); !strings.Contains(got, "than in training") {
		t.Errorf("%q", got)
	}
}

// said is a verdict with its check; empty: there is none.
func said(no *Refusal) string {
	if no == nil {
		return ""
	}
	return no.Check + ": " + no.Reason
}

func TestVigil(t *testing.T) {
	v := vigil{accept: Acceptance{Agreement: 0.8}.orStandard(), length: 10 * time.Minute, by: against{same: true}}
	stats := func(n, agreed int) ShadowStats {
		s := Sample{Frames: n, Confidence: 0.9, P95MS: 10, Labels: map[string]int{"ok": n}}
		return ShadowStats{Live: s, Candidate: s, Agreed: agreed}
	}
	for name, c := range map[string]struct {
		st    ShadowStats
		spent time.Duration
		done  bool
		err   string
	}{
		"at first":               {stats(10, 10), time.Second, false, ""},
		"enough, but too early":  {stats(800, 800), 29 * time.Second, false, ""},
		"enough":                 {stats(800, 790), 30 * time.Second, true, ""},
		"they differ":            {stats(800, 700), time.Minute, false, ""},
		"they differ, at last":   {stats(9000, 8000), 10 * time.Minute, true, ""},
		"they differ too much":   {stats(9000, 7000), 10 * time.Minute, false, "agrees with the live model on 77.8 % of 9000 frames; at least 80.0 %"},
		"no frames":              {stats(0, 0), 39 * time.Minute, false, ""},
		"no frames for too long": {stats(0, 0), 40 * time.Minute, true, ""},
	} {
		done, err := v.look(c.st, c.spent)
		if done != c.done || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %t %v", name, done, err)
		}
	}
}

// For equal distributions the index stays near 0, however many classes there are.
func TestPSIWithoutDrift(t *testing.T) {
	for _, k := range []int{2, 10, 1000} {
		a, b := map[string]int{}, map[string]int{}
		for i := range 400 {
			a[string(rune('a'+(i*7)%k))]++
			b[string(rune('a'+(i*13+5)%k))]++
		}
		if v := psi(a, b); v > 1 {
			t.Errorf("%d classes: %.2f", k, v)
		}
	}
	if v := psi(nil, nil); v != 0 || math.IsNaN(psi(map[string]int{"a": 1}, map[string]int{"b": 1})) {
		t.Errorf("%v", v)
	}
}

func TestMeter(t *testing.T) {
	m := NewMeter()
	for i := range 100 {
		m.Saw("main", Look{LatencyMS: float64(i + 1), Label: "ok", Score: 0.8})
		m.Compared("main", Look{LatencyMS: 5, Label: "ok", Score: 0.9}, Look{LatencyMS: 10, Label: []string{"ok", Unknown}[i%2], Score: 0.5})
	}
	m.Saw("main", Look{Failed: true, NotFinite: true})
	m.Saw("main", Look{Score: math.NaN()})
	m.LostProcess("main", "signal 6")
	l := m.Live("main")
	if l.Frames != 102 || l.Errors != 2 || l.NotFinite != 2 || math.Abs(l.Confidence-0.8) > 1e-9 || l.P95MS < 90 || l.P95MS > 101 || l.Labels["ok"] != 100 || l.Losses != 1 || l.LastLoss != "signal 6" {
		t.Errorf("%+v", l)
	}
	s := m.Shadow("main")
	if s.Candidate.Frames != 100 || s.Agreed != 50 || s.Candidate.Unknown != 50 || s.Live.Unknown != 0 || s.Candidate.P95MS < 9 || s.Candidate.P95MS > 11 {
		t.Errorf("%+v", s)
	}
	m.LostCandidate("main", "gone", true)
	if s := m.Shadow("main"); s.Lost != "gone" || !s.Blamed {
		t.Errorf("%+v", s)
	}
	m.Reset("main", true)
	if s := m.Shadow("main"); s.Candidate.Frames != 0 || s.Lost != "" || m.Live("main").Frames != 102 {
		t.Errorf("%+v", s)
	}
	m.Reset("main", false)
	for range 3 * tallyFrames {
		m.Saw("main", Look{LatencyMS: 1, Label: "ok", Score: 0.5})
	}
	if l := m.Live("main"); l.Frames > tallyFrames || l.Losses != 0 || math.Abs(l.Confidence-0.5) > 0.01 {
		t.Errorf("%+v", l)
	}
}

func TestWindows(t *testing.T) {
	at := func(h, m int) time.Time { return time.Date(2026, 11, 21, h, m, 0, 0, time.UTC) }
	for _, c := range []struct {
		window string
		t      time.Time
		open   bool
	}{{"", at(3, 0), true}, {"22:00-05:00", at(23, 0), true}, {"22:00-05:00", at(4, 59), true}, {"22:00-05:00", at(5, 0), false}, {"22:00-05:00", at(12, 0), false},
		{"08:30-09:00", at(8, 30), true}, {"08:30-09:00", at(9, 0), false}} {
		if open, err := inWindow(c.window, c.t); err != nil || open != c.open {
			t.Errorf("%s at %v: %t %v", c.window, c.t, open, err)
		}
	}
	for _, w := range []string{"22-05", "22:00", "25:00-26:00", "-", "a-b"} {
		if _, err := inWindow(w, at(1, 1)); err == nil {
			t.Errorf("%q was taken", w)
		}
	}
}

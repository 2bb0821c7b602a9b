package demo

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestVerdicts(t *testing.T) {
	good := Summary{Results: 300, Judged: 100, Right: 95}
	for name, c := range map[string]struct {
		change            func(*Summary)
		mistaken, changed uint64
		unreadable        uint64
		dropped           int64
		says              string // empty: good
	}{
		"good":            {},
		"one too few":     {change: func(m *Summary) { m.Right = 94 }, says: "94 of 100 judged results were right, 94.0 %"},
		"nothing":         {change: func(m *Summary) { *m = Summary{} }, says: "nothing was classified"},
		"never judged":    {change: func(m *Summary) { m.Judged, m.Right = 0, 0 }, says: "no result could be judged"},
		"lost":            {change: func(m *Summary) { m.Lost = 1 }, says: "1 result was lost"},
		"hand classified": {mistaken: 2, says: "2 frames were classified although"},
		"changed":         {changed: 1, says: "1 record came twice and differed"},
		"unreadable":      {unreadable: 2, says: "2 messages could not be read"},
		"dropped":         {dropped: 1, says: "the books mean nothing"},
	} {
		m := good
		if c.change != nil {
			c.change(&m)
		}
		p := problems(m, c.mistaken, c.changed, c.unreadable, c.dropped)
		if c.says == "" && len(p) > 0 || c.says != "" && (len(p) != 1 || !strings.Contains(p[0], c.says)) {
			t.Errorf("%s: %q, want %q", name, p, c.says)
		}
	}
}

func TestLostTakesTheWorseCount(t *testing.T) {
	for _, c := range []struct {
		put, received, holes, atMost, dropped, want uint64
	}{
		{100, 100, 0, 0, 0, 0},
		{100, 97, 0, 0, 0, 3}, // missing at the end, where no number follows
		{100, 97, 3, 0, 0, 3}, // the same loss in both counts
		{100, 100, 2, 0, 0, 2},
		{100, 100, 0, 5, 0, 5},
		{100, 101, 0, 0, 0, 0}, // one more than the agent had counted when it was asked
		{100, 100, 0, 0, 4, 4},
	} {
		if got := lost(View{Results: c.put, Dropped: c.dropped}, c.received, c.holes, c.atMost); got != c.want {
			t.Errorf("%+v: lost %d", c, got)
		}
	}
}

func TestSummaryForPeopleAndPrograms(t *testing.T) {
	m := Summary{Seconds: 30, Frames: 450, Results: 12345, PerSecond: 14.5, Judged: 200, Right: 199, Live: 300, Late: 140, Restarts: 1, Mistakes: []string{"1× ok taken for scratched"}, OK: true}
	var people, programs strings.Builder
	if err := m.print(&people, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"12,345 (14.5 a second)", "199 of 200 judged (99.5 %)", "sent while live", "sent late", "lost", "restarts", "good"} {
		if !strings.Contains(people.String(), want) {
			t.Errorf("no %q in\n%s", want, people.String())
		}
	}
	if err := m.print(&programs, true); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal([]byte(programs.String()), &back); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"frames", "results", "right", "judged", "sent_live", "sent_late", "lost", "restarts", "ok"} {
		if _, there := back[key]; !there {
			t.Errorf("no %s in %s", key, programs.String())
		}
	}
}

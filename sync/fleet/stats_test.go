package fleet

import (
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"
)

// splitStory gives what, target and detail of each minute.
func splitStory(story string) iter.Seq[[3]string] {
	return func(yield func([3]string) bool) {
		for minute := range strings.SplitSeq(story, ";") {
			what, rest, _ := strings.Cut(minute, " ")
			target, detail, _ := strings.Cut(rest, " ")
			if !yield([3]string{what, target, detail}) {
				return
			}
		}
	}
}

// What devices say more than once, and what people take back, counted by stories of which the end is known.
func TestDeliveriesCountWhatHappened(t *testing.T) {
	for name, c := range map[string]struct {
		story string // what target [detail] per minute; . is a minute of nothing
		want  string
	}{
		"offered, switched, confirmed":      {"offer a/1;.;install a/1;confirm a/1", "1 1 1 0 0, lead 3, restore 0"},
		"refused, and asked in each wave":   {"offer a/1;refuse a/1;offer a/1;refuse a/1 slot main: refused before: slow;offer a/1;refuse a/1 slot main: refused before: slow", "1 0 0 1 0, lead 0, restore 0"},
		"it went back by itself, and again": {"offer a/1;install a/1;confirm a/1;offer a/2;install a/2;.;rollback a/2;offer a/2;refuse a/2 slot main: refused before: worse", "2 2 1 0 1, lead 2, restore 2"},
		"people took it back":               {"offer a/1;install a/1;confirm a/1;offer a/2;install a/2;confirm a/2;.;offer a/1;install a/1;confirm a/1", "2 2 2 0 1, lead 4, restore 4"},
		"took it back, then the next":       {"offer a/1;install a/1;confirm a/1;offer a/2;install a/2;offer a/1;install a/1;confirm a/1;offer a/3;install a/3;confirm a/3", "3 3 2 0 1, lead 4, restore 2"},
		"its files were brought again":      {"offer a/1;install a/1;confirm a/1;.;.;install a/1;confirm a/1", "1 2 2 0 0, lead 2, restore 0"},
		"superseded, and wanted after all":  {"offer a/1;offer a/2;install a/2;confirm a/2;offer a/1;install a/1;confirm a/1", "3 2 2 0 0, lead 4, restore 0"},
		"the switch was before the export":  {"rollback a/1;offer a/2;install a/2;confirm a/2", "1 1 1 0 1, lead 2, restore 0"},
	} {
		d := NewDeliveries()
		for again := range 2 { // a device that is not sure says it again, under another number
			minute, seq := 0, again*100
			for words := range splitStory(c.story) {
				minute++
				if seq++; words[0] == "." {
					continue
				}
				d.Take(Line{Group: "acme", Device: "dev-1", Stream: "audit", Epoch: "e", Record: fmt.Appendf(nil, `{"seq":%d,"t":%q,"what":%q,"target":%q,"detail":%q}`,
					seq, t0.Add(time.Duration(minute)*time.Minute).Format(time.RFC3339), words[0], words[1], words[2])})
			}
		}
		f := d.Figures()
		minutes := func(s *Spread) (sum float64) {
			if s != nil {
				sum = s.Max * float64(s.N) / 60 // all the same, or one
			}
			return sum
		}
		if got := fmt.Sprintf("%d %d %d %d %d, lead %g, restore %g", f.Offered, f.Installed, f.Confirmed, f.Refused, f.RolledBack, minutes(f.LeadTime), minutes(f.Restore)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

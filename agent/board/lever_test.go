package board

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// steps gives the lever a second's finding for each character: x is strain, . is calm, - is calm without room for a step up.
func steps(l *lever, now *time.Time, findings string) {
	for _, c := range findings {
		*now = now.Add(time.Second)
		l.step(*now, c == 'x', c != '-')
	}
}

func repeat(c string, n int) (s string) {
	for range n {
		s += c
	}
	return s
}

func TestLever(t *testing.T) {
	for _, c := range []struct {
		name, findings string
		level          int
	}{
		{"a single second is forgiven", "x..", 0},
		{"two seconds are one step", "xx", 1},
		{"on and off every second is trouble too", "x.x.x.", 1},
		{"one in four is none", repeat("x...", 50), 0},
		{"a second step takes longer", "xxx" + repeat("x", 8), 1},
		{"… and comes", "xx" + repeat("x", 10), 2},
		{"no deeper than makes a difference", repeat("x", 100), 4},
		{"29 seconds of quiet are too few", "xx" + repeat(".", 29), 1},
		{"31 are enough", "xx" + repeat(".", 31), 0},
		{"quiet counts anew after strain", "xx" + repeat(".", 20) + "x" + repeat(".", 29), 1},
		{"no step up without room", "xx" + repeat("-", 200), 1},
		{"one step at a time", repeat("x", 100) + repeat(".", 31), 3},
		{"and all the way", repeat("x", 100) + repeat(".", 125), 0},
	} {
		l, now := &lever{further: 10 * time.Second, most: 4}, noon
		steps(l, &now, c.findings)
		if l.level != c.level {
			t.Errorf("%s: level %d, want %d", c.name, l.level, c.level)
		}
	}
}

func TestLeverRelapsesAreTriedLessAndLessOften(t *testing.T) {
	l, now := &lever{further: 10 * time.Second, most: 4}, noon
	var waits []time.Duration
	for range 7 {
		for l.level == 0 {
			steps(l, &now, "x")
		}
		began := now
		for l.level > 0 {
			steps(l, &now, ".")
		}
		waits = append(waits, now.Sub(began).Round(10*time.Second))
	}
	for i, want := range []time.Duration{30, 60, 120, 240, 480, 600, 600} {
		if waits[i] != want*time.Second {
			t.Errorf("the steps up took %v", waits)
			break
		}
	}
	steps(l, &now, repeat(".", 601)+"xx")
	began := now
	for l.level > 0 {
		steps(l, &now, ".")
	}
	if d := now.Sub(began); d > 35*time.Second {
		t.Errorf("after ten minutes at full rate a step up takes %v", d)
	}
}

// Whatever the board does: the level stays in its bounds, moves by one, never goes up within half a minute of strain or of the step
// before, and n relapses take ever longer.
func TestLeverDoesNotFlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, now := &lever{further: 3 * time.Second, most: rapid.IntRange(0, 8).Draw(t, "most")}, noon
		var strained, changed time.Time
		ups, began := 0, now
		runs := rapid.SliceOfN(rapid.IntRange(0, 400), 1, 40).Draw(t, "seconds of strain, room, no room")
		for i, n := range runs {
			for range n {
				before := l.level
				now = now.Add(time.Second)
				if i%3 == 0 {
					strained = now
				}
				l.step(now, i%3 == 0, i%3 == 1)
				if l.level > before+1 || l.level < before-1 || l.level < 0 || l.level > l.most {
					t.Fatalf("level %d after %d of %d", l.level, before, l.most)
				}
				if l.level < before {
					if ups++; now.Sub(strained) < calmFor || now.Sub(changed) < calmFor && !changed.IsZero() {
						t.Fatalf("up %v after strain, %v after a change", now.Sub(strained), now.Sub(changed))
					}
				}
				if l.level != before {
					changed = now
				}
				if l.level > before && !(i%3 == 0) {
					t.Fatal("down without strain")
				}
			}
		}
		if most := int(now.Sub(began)/calmFor) + 1; ups > most {
			t.Fatalf("%d steps up in %v", ups, now.Sub(began))
		}
	})
}

package backoff

import (
	"testing"
	"time"
)

func TestNextGrowsWithinItsBoundsAndStartsOver(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}
	ceiling := b.Min
	for range 12 {
		if d := b.Next(); d < ceiling/10 || d > ceiling {
			t.Fatalf("%v is outside %v…%v", d, ceiling/10, ceiling)
		}
		ceiling = min(2*ceiling, b.Max)
	}
	b.Reset()
	if d := b.Next(); d > b.Min {
		t.Errorf("after Reset: %v, want at most %v", d, b.Min)
	}
}

func TestNextIsSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		b := Backoff{Min: time.Second, Max: time.Minute}
		seen[b.Next()] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different waits in 100: a fleet would come back all at once", len(seen))
	}
}

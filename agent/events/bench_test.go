package events

import (
	"testing"
)

// BenchmarkObservation is what every classified frame costs here.
func BenchmarkObservation(b *testing.B) {
	tr, r := tracker(b), NewRollup()
	o := seen(0, "ok", 0.95, "scratched", 0.03, "empty", 0.02)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		at := stamp(i * 100)
		o.At, o.MonoMS = at.T, at.Mono.Milliseconds()
		tr.Step(at, o)
		r.Add(at, o)
	}
}

package status

import (
	"math"
	"slices"
)

// Histogram counts durations in seconds, in the fixed buckets of heron_inference_seconds. The zero value is ready.
// It is not safe for concurrent use: its owner adds to it, and puts a Clone into each Snapshot.
type Histogram struct {
	Bounds []float64 `json:"bounds"` // upper bounds, seconds, rising
	Counts []uint64  `json:"counts"` // Counts[i] durations ≤ Bounds[i] and above the bound before; the last of Counts is above all Bounds
	Sum    float64   `json:"sum"`    // seconds
}

// bounds fit everything from an Edge TPU (2 ms) to a big model on a small CPU.
func bounds() []float64 {
	return []float64{0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5}
}

// Observe adds one duration in seconds; negative and not finite ones are ignored.
func (h *Histogram) Observe(seconds float64) {
	if !(seconds >= 0) || math.IsInf(seconds, 0) {
		return
	}
	if h.Bounds == nil {
		h.Bounds = bounds()
		h.Counts = make([]uint64, len(h.Bounds)+1)
	}
	i, _ := slices.BinarySearch(h.Bounds, seconds)
	h.Counts[i]++
	h.Sum += seconds
}

// Clone is a copy to give away.
func (h *Histogram) Clone() *Histogram {
	return &Histogram{Bounds: h.Bounds, Counts: slices.Clone(h.Counts), Sum: h.Sum}
}

// Count is the number of durations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile estimates the q-th quantile (0…1) in seconds, even within a bucket; 0 when there is nothing to tell.
func (h *Histogram) Quantile(q float64) float64 {
	rank := q * float64(h.Count())
	var seen, lower float64
	for i, bound := range h.Bounds {
		c := float64(h.Counts[i])
		if c > 0 && seen+c >= rank {
			return lower + (bound-lower)*(rank-seen)/c
		}
		seen, lower = seen+c, bound
	}
	return lower
}

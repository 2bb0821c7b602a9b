package events

import (
	"math"

	"heron/sync/message"
)

// spread sums up latencies in bounded memory: a histogram whose buckets grow by 2 %, so that a quantile is within 1 % of
// the true value whatever the distribution and however many frames a minute has (5 kB a camera and model;
// keeping a minute of values would be exact, but at 240 frames/s 115 kB and a sort). Minimum, maximum and mean are exact.
type spread struct {
	n        int
	min, max float64
	sum      float64
	buckets  [spreadBuckets]uint32
}

const (
	spreadFloor   = 0.01 // ms; below it everything is one bucket
	spreadGrowth  = 1.02
	spreadBuckets = 1165 // up to 1e8 ms, more than a day
)

func (s *spread) add(ms float64) {
	if !(ms >= 0) || math.IsInf(ms, 0) { // also NaN: not a time
		return
	}
	if s.n == 0 || ms < s.min {
		s.min = ms
	}
	s.max = max(s.max, ms)
	s.n++
	s.sum += ms
	s.buckets[bucketOf(ms)]++
}

func bucketOf(ms float64) int {
	if ms <= spreadFloor {
		return 0
	}
	return min(1+int(math.Log(ms/spreadFloor)/math.Log(spreadGrowth)), spreadBuckets-1)
}

// quantile is the value at rank ceil(q·n).
func (s *spread) quantile(q float64) float64 {
	rank := max(1, int(math.Ceil(q*float64(s.n))))
	seen := 0
	for i, c := range s.buckets {
		if seen += int(c); seen >= rank {
			middle := spreadFloor * math.Pow(spreadGrowth, float64(i)-0.5)
			return math.Min(math.Max(middle, s.min), s.max)
		}
	}
	return s.max
}

func (s *spread) latency() message.Latency {
	if s.n == 0 {
		return message.Latency{}
	}
	return message.Latency{
		Min: s.min, Mean: s.sum / float64(s.n), Max: s.max,
		P50: s.quantile(0.50), P95: s.quantile(0.95), P99: s.quantile(0.99),
	}
}

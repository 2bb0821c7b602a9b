package status

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkStream is a round of pictures for all viewers, at ten a second: the time is the rate's, the encodes are what is measured.
func BenchmarkStream(b *testing.B) {
	e := newEye(time.Nanosecond, 30_000)
	s := serveEye(b, e, func(s *Server) { s.streams.bytes.rate = 1 << 40 })
	for _, viewers := range []int{1, 4} {
		b.Run(fmt.Sprintf("viewers=%d", viewers), func(b *testing.B) {
			before := s.streams.encodes.Load()
			var all []*watcher
			for range viewers {
				all = append(all, watch(b, s, "fps=10"))
			}
			for b.Loop() {
				for _, w := range all {
					w.next()
				}
			}
			b.ReportMetric(float64(s.streams.encodes.Load()-before)/float64(b.N), "encodes/op")
			for _, w := range all {
				w.body.Close()
			}
			eventually(b, "all have left", func() bool { return s.streams.watching() == 0 })
		})
	}
}

// BenchmarkNobodyLooks is the idle cost: what live view asks for, encodes and keeps running while others use the page.
func BenchmarkNobodyLooks(b *testing.B) {
	e := newEye(time.Nanosecond, 1000)
	s := serveEye(b, e)
	w := watch(b, s, "") // somebody did once
	w.next()
	w.body.Close()
	eventually(b, "it has left", func() bool { return s.streams.watching() == 0 })
	s.streams.wait()
	asked, encoded, _ := e.counts()
	for b.Loop() {
		s.take()
	}
	askedNow, encodedNow, _ := e.counts()
	b.ReportMetric(float64(askedNow-asked), "asked")
	b.ReportMetric(float64(encodedNow-encoded), "encodes")
	b.ReportMetric(float64(len(s.streams.feeds)), "feeds")
}

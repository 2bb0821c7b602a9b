package status

import (
	"net/http/httptest"
	"testing"
)

// BenchmarkAnswers is what one look at the device costs it.
func BenchmarkAnswers(b *testing.B) {
	d := &device{}
	d.set(troubled(noon))
	s, err := New(Config{Listen: "127.0.0.1:0"}, d)
	if err != nil {
		b.Fatal(err)
	}
	for name, path := range map[string]string{"page": "/", "json": "/api/v1/status", "metrics": "/metrics"} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = "localhost"
			size := 0
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				s.http.Handler.ServeHTTP(w, r)
				size = w.Body.Len()
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

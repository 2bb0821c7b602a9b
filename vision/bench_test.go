package vision

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"heron/camera"
)

// cpu is what this process has used so far, both sides of the boundary together.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pair is a client's session on one end and a writer as heron-vision has it on the other; seen gets every observation's frame number.
func pair(b *testing.B, seen func(uint64)) (*writer, func()) {
	b.Helper()
	ours, file, err := socketPair()
	if err != nil {
		b.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	file.Close()
	if err != nil {
		b.Fatal(err)
	}
	c, err := NewClient(ClientConfig{Socket: "/none", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), OnObservation: func(o Observation) { seen(o.Frame) },
		Config: Config{Cameras: []CameraConfig{{Name: "front", Source: "x", Slot: "main"}}, Slots: []SlotConfig{{Slot: "main"}}}})
	if err != nil {
		b.Fatal(err)
	}
	s, done := newSession(c, ours, nil), make(chan error, 1)
	go func() { done <- s.read() }()
	w, o := newWriter(theirs, 0), anObservation()
	for _, err := range []error{w.send(kindHello, hello{Protocol: 1, PID: 1}), w.send(kindLoading, loading{Slot: "main"}), w.send(kindLoaded, loaded{Slot: "main", Model: o.Model, Engine: o.Engine, TookMS: 1})} {
		if err != nil {
			b.Fatal(err)
		}
	}
	return w, func() {
		theirs.Close()
		if err := <-done; err != io.EOF {
			b.Fatal(err)
		}
		ours.Close()
	}
}

// BenchmarkObservation is an observation from heron-vision's struct to heron's callback: encoded, written, read, checked, decoded.
// "stream" sends as fast as it goes, "single" waits for each to arrive, as at the rate of a camera.
func BenchmarkObservation(b *testing.B) {
	for _, name := range []string{"stream", "single"} {
		b.Run(name, func(b *testing.B) {
			arrived := make(chan uint64, 1024)
			w, end := pair(b, func(n uint64) { arrived <- n })
			send := func(i int) {
				o := anObservation()
				if o.Frame = uint64(i); w.send(kindObservation, &o) != nil {
					b.Error("cannot send")
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			t0, c0 := time.Now(), cpu(b)
			if name == "stream" {
				go func() {
					for i := range b.N {
						send(i)
					}
				}()
			}
			for i := range b.N {
				if name == "single" {
					send(i)
				}
				if n := <-arrived; n != uint64(i) {
					b.Fatalf("observation %d instead of %d", n, i)
				}
			}
			b.ReportMetric(float64(cpu(b)-c0)/float64(b.N)/1e3, "cpu-µs/obs")
			b.ReportMetric(float64(b.N)/time.Since(t0).Seconds(), "obs/s")
			b.StopTimer()
			end()
		})
	}
}

// BenchmarkSnapshot is a 640×480 picture from the camera's buffer to heron, encoded by Go.
func BenchmarkSnapshot(b *testing.B) {
	f := camera.Frame{Width: 640, Height: 480, Stride: 1920, Pix: make([]byte, 1920*480)}
	for i := range f.Pix {
		f.Pix[i] = byte(i%251 + i/1920)
	}
	for _, width := range []int{0, 320} {
		b.Run(fmt.Sprint("width", width), func(b *testing.B) {
			var size int
			c0 := cpu(b)
			for b.Loop() {
				jpeg, err := camera.EncodeJPEG(&f, width, snapshotQuality)
				if err != nil {
					b.Fatal(err)
				}
				size = len(jpeg)
			}
			b.ReportMetric(float64(size), "bytes")
			b.ReportMetric(float64(cpu(b)-c0)/float64(b.N)/1e6, "cpu-ms/picture")
		})
	}
}

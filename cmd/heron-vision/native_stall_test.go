package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"heron/camera"
	"heron/vision"
)

// stalling is an MJPEG stream whose first connections fall silent in the middle of a frame; the next one goes on for ever.
func stalling(t *testing.T, stalls int32) (url string, stalled *atomic.Int64) {
	f := camera.Frame{Width: 320, Height: 240, Stride: 960, Pix: make([]byte, 960*240)}
	for i := range f.Pix {
		f.Pix[i] = byte(i * 31 >> 3)
	}
	jpeg, err := camera.EncodeJPEG(&f, 0, 80)
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int32
	stalled = &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := connections.Add(1)
		w.Header().Set("Content-Type", "multipart/x-mixed-replace; boundary=frame")
		for i := 0; ; i++ {
			part := fmt.Sprintf("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(jpeg), jpeg)
			if n <= stalls && i == 40 {
				io.WriteString(w, part[:len(part)/2])
				w.(http.Flusher).Flush()
				stalled.CompareAndSwap(0, time.Now().UnixNano())
				<-r.Context().Done()
				return
			}
			if _, err := io.WriteString(w, part); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL, stalled
}

// A source that stalls in the middle of a frame: the driver gives up or the process is replaced, and observations flow again.
func TestFault_V2_SourceStallsMidFrame(t *testing.T) {
	t.Parallel()
	program, data := nativeVision(t), testdata(t)
	url, stalled := stalling(t, 1)
	const stall = 2 * time.Second
	var last atomic.Int64
	c, err := vision.NewClient(vision.ClientConfig{Command: []string{program}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Config: vision.Config{Cameras: []vision.CameraConfig{{Name: "card", Source: url, FPS: 20, Stall: stall, Slot: "good"}},
			Slots: []vision.SlotConfig{{Slot: "good", Bundle: brokenBundle(t, data, "ok.onnx"), Threads: 1}}},
		OnObservation: func(vision.Observation) { last.Store(time.Now().UnixNano()) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	for s := c.Stats(); stalled.Load() == 0 || last.Load() < stalled.Load()+int64(time.Second); s = c.Stats() {
		if len(s.Cameras) > 0 && strings.Contains(s.Cameras[0].LastError, "without OpenCV") {
			t.Skip(s.Cameras[0].LastError)
		}
		if ctx.Err() != nil {
			t.Fatalf("no observations after the stall: %+v", s)
		}
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Duration(last.Load() - stalled.Load()).Seconds()
	for s := c.Stats(); s.Restarts+s.Cameras[0].Reopened == 0; s = c.Stats() { // a beat later
		if ctx.Err() != nil {
			t.Fatalf("neither the source nor the process was replaced: %+v", s)
		}
		time.Sleep(10 * time.Millisecond)
	}
	s := c.Stats()
	t.Logf("observations flow again %.2f s after the stream stalled (deadline %v); processes lost: %d %s; camera: reopened %d, %s", took, stall, s.Restarts, s.LastReason, s.Cameras[0].Reopened, s.Cameras[0].LastError)
	cancel()
	<-done
}

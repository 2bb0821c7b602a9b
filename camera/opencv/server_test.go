//go:build opencv

package opencv

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"gocv.io/x/gocv"

	"heron/camera"
)

// grey is a JPEG of one grey level, by which a test knows the frame again.
func grey(t testing.TB, w, h int, level byte) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, w, h))
	draw.Draw(m, m.Bounds(), &image.Uniform{color.Gray{level}}, image.Point{}, draw.Src)
	rgba := image.NewRGBA(m.Bounds())
	draw.Draw(rgba, rgba.Bounds(), m, image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, rgba, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// level is the grey of frame number i: 12 levels, 20 apart.
func level(i int) byte { return byte(10 + 20*(i%12)) }

// number is the inverse of level, −1 for other colours.
func number(f *camera.Frame) int {
	v := int(f.Pix[f.Stride*f.Height/2+3*(f.Width/2)])
	if n := (v - 10 + 3) / 20; v-10-20*n <= 3 && v-10-20*n >= -3 {
		return n
	}
	return -1
}

// camServer is an MJPEG camera on HTTP. part writes the body of frame i and says whether to go on.
func camServer(t *testing.T, interval time.Duration, part func(w http.ResponseWriter, r *http.Request, i int) bool) string {
	t.Helper()
	stop := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "multipart/x-mixed-replace; boundary=frame")
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for i := 0; part(w, r, i); i++ {
			w.(http.Flusher).Flush()
			select {
			case <-tick.C:
			case <-stop:
				return
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(func() { close(stop); srv.CloseClientConnections(); srv.Close() })
	return srv.URL
}

func send(w http.ResponseWriter, b []byte) {
	fmt.Fprintf(w, "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(b), b)
}

// source runs a camera.Source on the driver for the length of the test.
func source(t *testing.T, o camera.Options) (*camera.Source, context.Context) {
	t.Helper()
	return opened(t, o, Open)
}

// opened runs one that a test opens.
func opened(t *testing.T, o camera.Options, open camera.Opener) (*camera.Source, context.Context) {
	t.Helper()
	o.Name = "cam"
	s, err := camera.New(camera.Config{Options: o, Open: open, StopTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s, ctx
}

func next(t *testing.T, s *camera.Source, ctx context.Context) *camera.Frame {
	t.Helper()
	f, err := s.Next(ctx)
	if err != nil {
		t.Fatalf("%v; %+v", err, s.Stats())
	}
	return f
}

// video writes an MJPEG AVI of n frames with OpenCV.
func video(t testing.TB, path string, n, w, h int) {
	t.Helper()
	vw, err := gocv.VideoWriterFileWithAPI(path, gocv.VideoCaptureOpencvMjpeg, "MJPG", 25, w, h, true)
	if err != nil {
		t.Fatal(err)
	}
	defer vw.Close()
	for i := range n {
		l := float64(level(i))
		m := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(l, l, l, 0), h, w, gocv.MatTypeCV8UC3)
		if err := vw.Write(m); err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
}

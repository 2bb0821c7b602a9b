package network

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"heron/camera"
	"heron/camera/replay"
)

// level is the grey of frame number i: 12 levels, 20 apart; shown is its inverse.
func level(i int) byte { return byte(10 + 20*(i%12)) }

func shown(f *camera.Frame) int {
	v := int(f.Pix[f.Stride*f.Height/2+3*(f.Width/2)])
	if n := (v - 10 + 3) / 20; v-10-20*n <= 3 && v-10-20*n >= -3 {
		return n
	}
	return -1
}

// stream is an MJPEG camera; part writes frame i and says whether to go on.
func stream(interval time.Duration, contentType string, part func(w http.ResponseWriter, r *http.Request, i int) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for i := 0; part(w, r, i); i++ {
			w.(http.Flusher).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}
}

const multipart = "multipart/x-mixed-replace; boundary=frame"

func send(w io.Writer, b []byte) {
	fmt.Fprintf(w, "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(b), b)
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv.URL
}

// source runs a camera.Source on the driver for the length of the test.
func source(t *testing.T, o camera.Options) (*camera.Source, context.Context) {
	t.Helper()
	o.Name = "cam"
	s, err := camera.New(camera.Config{Options: o, Open: New(replay.Decode, notNext), StopTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
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

// Each way in which cameras write their parts.
func TestMJPEG(t *testing.T) {
	var frames [][]byte
	for i := range 12 {
		frames = append(frames, grey(t, 64, 48, level(i)))
	}
	for name, c := range map[string]struct {
		contentType string
		part        func(w io.Writer, b []byte)
	}{
		"by the book":    {multipart, send},
		"no length":      {multipart, func(w io.Writer, b []byte) { fmt.Fprintf(w, "--frame\r\nContent-Type: image/jpeg\r\n\r\n%s\r\n", b) }},
		"dashes in both": {"multipart/x-mixed-replace;boundary=--frame", send},
		"two more dashes": {"multipart/x-mixed-replace; boundary=--frame", func(w io.Writer, b []byte) {
			fmt.Fprintf(w, "----frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(b), b)
		}},
		"two more dashes, no length": {"multipart/x-mixed-replace; boundary=--frame", func(w io.Writer, b []byte) { fmt.Fprintf(w, "----frame\r\n\r\n%s\r\n", b) }},
		"no dashes":                  {multipart, func(w io.Writer, b []byte) { fmt.Fprintf(w, "frame\r\nContent-Length: %d\r\n\r\n%s\r\n", len(b), b) }},
		"another word":               {multipart, func(w io.Writer, b []byte) { fmt.Fprintf(w, "--ipcam\r\nContent-Length: %d\r\n\r\n%s\r\n", len(b), b) }},
		"another word, no length":    {multipart, func(w io.Writer, b []byte) { fmt.Fprintf(w, "--ipcam \r\n\r\n%s\r\n", b) }},
		"a length of 0":              {multipart, func(w io.Writer, b []byte) { fmt.Fprintf(w, "--frame\r\nContent-Length: 0\r\n\r\n%s\r\n", b) }},
		"quoted":                     {`multipart/x-mixed-replace; boundary="frame"`, send},
		"bare lines":                 {multipart, func(w io.Writer, b []byte) { fmt.Fprintf(w, "--frame\nContent-length: %d\n\n%s\n", len(b), b) }},
		"no boundary":                {"multipart/x-mixed-replace", send},
		"other parts": {multipart, func(w io.Writer, b []byte) {
			io.WriteString(w, "--frame\r\nContent-Type: text/plain\r\n\r\nhello\r\n")
			send(w, b)
		}},
		"strange header": {"multipart/x-mixed-replace; boundary=frame; ;x", send},
		"nothing between": {multipart, func(w io.Writer, b []byte) {
			fmt.Fprintf(w, "--frame\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
			io.WriteString(w, "\r\n")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, stream(2*time.Millisecond, c.contentType, func(w http.ResponseWriter, _ *http.Request, i int) bool { c.part(w, frames[i%12]); return true }))
			d, err := open(t, camera.Options{Source: url})
			if err != nil {
				t.Fatal(err)
			}
			var f camera.Frame
			for i := range 30 {
				if i%5 == 4 { // one that nobody wants
					if err := d.(camera.Grabber).Grab(); err != nil {
						t.Fatal(err)
					}
					if err := d.(camera.Grabber).Grab(); err != nil {
						t.Fatal(err)
					}
				}
				want := (i + (i+1)/5) % 12
				if err := d.Read(&f); err != nil || f.Width != 64 || shown(&f) != want {
					t.Fatalf("frame %d: shows %d, want %d, %v", i, shown(&f), want, err)
				}
			}
		})
	}
}

// A stream in which no part begins is not called silent.
func TestMJPEGWithoutParts(t *testing.T) {
	t.Parallel()
	url := serve(t, stream(2*time.Millisecond, multipart, func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		io.WriteString(w, "nothing that anybody knows\r\n")
		return true
	}))
	s, ctx := source(t, camera.Options{Source: url, ReadTimeout: 2 * time.Second})
	for !strings.Contains(s.Stats().LastError, "no picture began") {
		if !strings.Contains(s.Stats().LastError, "silent") && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		t.Fatalf("%+v", s.Stats())
	}
}

// A camera that falls silent after a whole picture is called silent: the line end after the picture is nothing that came.
func TestMJPEGFallsSilent(t *testing.T) {
	t.Parallel()
	good := grey(t, 64, 48, level(7))
	url := serve(t, stream(2*time.Millisecond, multipart, func(w http.ResponseWriter, r *http.Request, i int) bool {
		if i < 3 {
			send(w, good)
			return true
		}
		<-r.Context().Done()
		return false
	}))
	s, ctx := source(t, camera.Options{Source: url, ReadTimeout: 300 * time.Millisecond})
	for s.Stats().LastError == "" && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	if st := s.Stats(); !strings.Contains(st.LastError, "the camera is silent") {
		t.Errorf("%+v", st)
	}
}

func FuzzMJPEG(f *testing.F) {
	var whole bytes.Buffer
	for range 3 {
		send(&whole, grey(f, 16, 16, 90))
	}
	f.Add(whole.Bytes(), "frame")
	f.Add([]byte("--\n\n--\n\n"), "")
	f.Add([]byte("--frame\r\nContent-Length: 99999999999\r\n\r\n"), "frame")
	f.Fuzz(func(t *testing.T, data []byte, boundary string) {
		m := &mjpeg{what: "fuzz", timeout: time.Minute, decode: replay.Decode, watch: time.NewTimer(time.Hour)}
		m.resp = &http.Response{Header: http.Header{"Content-Type": {`multipart/x; boundary="` + boundary + `"`}}, Body: io.NopCloser(bytes.NewReader(data)), Request: &http.Request{}}
		if m.begin() != nil {
			return
		}
		for range len(data) + 2 { // each part takes a byte at least
			if m.Grab() != nil {
				return
			}
			if len(m.jpeg) > len(data) {
				t.Fatalf("%d bytes of %d", len(m.jpeg), len(data))
			}
			_, _, _ = jpegSize(m.jpeg)
		}
		t.Fatal("the stream does not end")
	})
}

//go:build opencv

package opencv

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/camera"
)

func TestFileIsLossless(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a video with ? and %.avi")
	if err := os.Rename(func() string { p := filepath.Join(t.TempDir(), "v.avi"); video(t, p, 30, 320, 240); return p }(), path); err != nil {
		t.Fatal(err)
	}
	s, ctx := source(t, camera.Options{Source: "file:" + path + "?loop=false"})
	for i := range 30 {
		f := next(t, s, ctx)
		if number(f) != i%12 || f.Seq != uint64(i+1) || f.Width != 320 || f.Height != 240 || f.Stride != 960 {
			t.Fatalf("frame %d: shows %d, %d×%d, number %d", i, number(f), f.Width, f.Height, f.Seq)
		}
		if i%7 == 0 {
			time.Sleep(20 * time.Millisecond)
		}
		s.Release(f)
	}
	if _, err := s.Next(ctx); err != io.EOF {
		t.Errorf("after the last frame: %v", err)
	}
	if st := s.Stats(); st.State != camera.Ended || st.Dropped != 0 || st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}

// TestFault_V9_FileGoesOnBehindDamage: what is damaged inside a file costs the frames there, and not those behind it.
func TestFault_V9_FileGoesOnBehindDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.avi")
	video(t, path, 100, 320, 240)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	movi := bytes.Index(data, []byte("movi"))
	chunk, at := 0, movi+4
	for ; at+8 < len(data) && data[at+2] == 'd'; chunk++ { // "00dc", length, a JPEG
		n := int(binary.LittleEndian.Uint32(data[at+4:]))
		if chunk == 20 || chunk == 50 {
			clear(data[at+8 : at+8+n]) // no JPEG begins there
		}
		at += 8 + n + n%2
	}
	if err := os.WriteFile(path, data, 0o600); err != nil || chunk != 100 {
		t.Fatalf("%d frames, %v", chunk, err)
	}
	s, ctx := source(t, camera.Options{Source: "file:" + path})
	read := 0
	for ; ; read++ {
		f, err := s.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Release(f)
	}
	if read < 90 {
		t.Errorf("%d of 100 frames were read: %+v", read, s.Stats())
	}
}

func TestFileLoops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.avi")
	video(t, path, 5, 320, 240)
	s, ctx := source(t, camera.Options{Source: "file:" + path + "?loop=true"})
	for i := range 23 {
		f := next(t, s, ctx)
		if number(f) != i%5 || f.Seq != uint64(i+1) {
			t.Fatalf("frame %d shows %d, number %d", i, number(f), f.Seq)
		}
		s.Release(f)
	}
	if st := s.Stats(); st.Reopened != 0 || st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}

func TestHTTPStream(t *testing.T) {
	var frames [12][]byte
	for i := range frames {
		frames[i] = grey(t, 320, 240, level(i))
	}
	url := camServer(t, 20*time.Millisecond, func(w http.ResponseWriter, _ *http.Request, i int) bool { send(w, frames[i%12]); return true })
	for _, fps := range []float64{0, 10} {
		t.Run(fmt.Sprint("fps ", fps), func(t *testing.T) {
			s, ctx := source(t, camera.Options{Source: url, FPS: fps})
			last := uint64(0)
			for range 20 {
				f := next(t, s, ctx)
				if number(f) < 0 || f.Seq <= last || f.Width != 320 || f.Height != 240 || f.At.IsZero() {
					t.Fatalf("frame %d after %d shows %d", f.Seq, last, number(f))
				}
				last = f.Seq
				s.Release(f)
			}
			if st := s.Stats(); st.Reopened != 0 || st.Errors != 0 || !st.Live || fps > 0 && st.Dropped < 10 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestOpenFailuresNameTheCause(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk.avi")
	if err := os.WriteFile(junk, []byte("RIFF....AVI LIST and nothing more"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := camServer(t, time.Second, func(w http.ResponseWriter, r *http.Request, _ int) bool {
		switch r.URL.Path {
		case "/401":
			w.WriteHeader(http.StatusUnauthorized)
		case "/html":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintln(w, "<html>Please log in</html>")
		}
		return false
	})
	withPassword := strings.Replace(srv, "http://", "http://user:geheim@", 1)
	for _, c := range []struct{ source, want string }{
		{"file:" + junk, "not a video"},
		{"file:/no/such.avi", "no such video file"},
		{"file:" + dir, "pictures:"},
		{"file:" + junk + "?lop=true", `unknown option "lop"`},
		{"v4l2:/dev/video987", "no device"},
		{"v4l2:" + junk, "not a camera device"},
		{"gstreamer:", "empty"},
		{"gstreamer:videotestsrc ! nosuchelement", "does not start"},
		{"rtsp://user:geheim@127.0.0.1:1/x", "connection refused"},
		{"http://user:geheim@127.0.0.1:1/x?token=geheim", "connection refused"},
		{withPassword + "/401", "401"},
		{withPassword + "/html?token=geheim", "text/html"},
	} {
		d, err := Open(t.Context(), camera.Options{Source: c.source, OpenTimeout: 5 * time.Second})
		if err == nil {
			d.Close()
			t.Errorf("%s opens", c.source)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v (want %q)", c.source, err, c.want)
		}
	}
	if _, err := Open(t.Context(), camera.Options{Source: "pictures:/x"}); err != camera.ErrNotMine {
		t.Errorf("foreign scheme: %v", err)
	}
}

func TestGStreamerLive(t *testing.T) {
	for name, p := range map[string]string{
		"as for gst-launch": "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=50/1",
		"not live":          "videotestsrc ! video/x-raw,width=320,height=240,framerate=50/1",
		"with appsink":      "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=50/1 ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true",
		"grey":              "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=320,height=240,framerate=50/1 ! appsink",
		"jpeg":              "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=50/1 ! jpegenc ! image/jpeg ! appsink",
	} {
		t.Run(name, func(t *testing.T) {
			needGStreamer(t)
			s, ctx := source(t, camera.Options{Source: "gstreamer:" + p})
			begin := time.Now()
			for range 20 {
				f := next(t, s, ctx)
				if f.Width != 320 || f.Height != 240 || len(f.Pix) != 320*240*3 {
					t.Fatalf("%d×%d", f.Width, f.Height)
				}
				s.Release(f)
			}
			if d := time.Since(begin); d < 200*time.Millisecond {
				t.Errorf("20 frames of a camera at 50 a second came in %v", d)
			}
			if st := s.Stats(); st.Errors != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestGStreamerRecordingIsLossless(t *testing.T) {
	needGStreamer(t)
	path := filepath.Join(t.TempDir(), "v.avi")
	video(t, path, 30, 320, 240)
	s, ctx := source(t, camera.Options{Source: "gstreamer:filesrc location=" + path + " ! avidemux ! jpegdec"})
	for i := range 30 {
		f := next(t, s, ctx)
		if number(f) != i%12 {
			t.Fatalf("frame %d shows %d", i, number(f))
		}
		time.Sleep(5 * time.Millisecond)
		s.Release(f)
	}
	if _, err := s.Next(ctx); err != io.EOF {
		t.Errorf("after the last frame: %v", err)
	}
}

func needGStreamer(t *testing.T) {
	t.Helper()
	d, err := Open(context.Background(), camera.Options{Source: "gstreamer:videotestsrc num-buffers=1"})
	if err != nil {
		t.Skipf("no GStreamer with videotestsrc, videoconvert and appsink on this machine: %v", err)
	}
	d.Close()
}

func TestV4L2(t *testing.T) {
	const path = "/dev/video0"
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no camera at %s", path)
	}
	s, ctx := source(t, camera.Options{Source: "v4l2:" + path, Width: 640, Height: 480})
	for range 30 {
		s.Release(next(t, s, ctx))
	}
	if st := s.Stats(); st.Reopened != 0 {
		t.Errorf("%+v", st)
	}
}

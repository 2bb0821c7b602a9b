//go:build opencv

package opencv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"heron/camera"
)

// V2: the camera falls silent in the middle of a frame; the read time limit ends it and the source is opened anew.
func TestFault_V2_StallMidFrame(t *testing.T) {
	for _, fps := range []float64{0, 10} {
		t.Run(fmt.Sprint("fps ", fps), func(t *testing.T) {
			var connections atomic.Int32
			good := grey(t, 320, 240, level(3))
			url := camServer(t, 20*time.Millisecond, func(w http.ResponseWriter, r *http.Request, i int) bool {
				if i == 0 {
					connections.Add(1)
				}
				if i == 10 && connections.Load() == 1 {
					fmt.Fprintf(w, "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s", len(good), good[:len(good)/2])
					w.(http.Flusher).Flush()
					<-r.Context().Done()
					return false
				}
				send(w, good)
				return true
			})
			s, ctx := source(t, camera.Options{Source: url, FPS: fps, ReadTimeout: 500 * time.Millisecond})
			for range 30 {
				s.Release(next(t, s, ctx))
				if st := s.Stats(); st.Reopened > 0 && st.State == camera.Running {
					if !strings.Contains(st.LastError, "gives no more frames") {
						t.Errorf("%+v", st)
					}
					return
				}
			}
			t.Errorf("not opened anew: %+v", s.Stats())
		})
	}
}

// V6, the part for HTTP: the camera cuts the connection again and again.
func TestFault_V6_ConnectionIsCut(t *testing.T) {
	good := grey(t, 320, 240, level(5))
	url := camServer(t, 10*time.Millisecond, func(w http.ResponseWriter, _ *http.Request, i int) bool {
		send(w, good)
		return i < 10
	})
	s, ctx := source(t, camera.Options{Source: url})
	for s.Stats().Reopened < 3 {
		s.Release(next(t, s, ctx))
	}
}

// V5: the camera changes its resolution while it runs.
func TestFault_V5_ResolutionChanges(t *testing.T) {
	for _, fps := range []float64{0, 15} {
		t.Run(fmt.Sprint("fps ", fps), func(t *testing.T) {
			small, large := grey(t, 160, 120, level(2)), grey(t, 640, 480, level(9))
			url := camServer(t, 10*time.Millisecond, func(w http.ResponseWriter, _ *http.Request, i int) bool {
				if i/30%2 == 0 {
					send(w, small)
				} else {
					send(w, large)
				}
				return true
			})
			s, ctx := source(t, camera.Options{Source: url, FPS: fps})
			seen, last := map[string]bool{}, ""
			for changes := 0; changes < 4; {
				f := next(t, s, ctx)
				size := fmt.Sprint(f.Width, "×", f.Height, " ", number(f))
				if seen[size] = true; size != last {
					last = size
					changes++
				}
				s.Release(f)
			}
			if len(seen) != 2 || !seen["160×120 2"] || !seen["640×480 9"] {
				t.Errorf("sizes and contents seen: %v", seen)
			}
		})
	}
}

// V9: damaged JPEGs in a live stream; the good ones among them still come and the source is not opened anew each time.
func TestFault_V9_DamagedJPEGs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	good := grey(t, 320, 240, level(7))
	url := camServer(t, 5*time.Millisecond, func(w http.ResponseWriter, _ *http.Request, i int) bool {
		b := bytes.Clone(good)
		if i > 3 && i%3 != 0 {
			for range 1 + rng.IntN(40) {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
			b = b[:1+rng.IntN(len(b))]
		}
		send(w, b)
		return true
	})
	for _, fps := range []float64{0, 15} {
		t.Run(fmt.Sprint("fps ", fps), func(t *testing.T) {
			s, ctx := source(t, camera.Options{Source: url, FPS: fps})
			for whole, tries := 0, 0; whole < 10; tries++ {
				f := next(t, s, ctx)
				if number(f) == 7 && f.Width == 320 {
					whole++
				}
				s.Release(f)
				if tries > 500 {
					t.Fatalf("%d whole frames among %d: %+v", whole, tries, s.Stats())
				}
			}
		})
	}
}

// V9: a recording with damage in its middle goes on behind it, or says that it could not.
func TestFault_V9_DamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.avi")
	video(t, path, 60, 320, 240)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		data[len(data)/4+rng.IntN(len(data)/2)] ^= byte(1 << rng.IntN(8))
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, ctx := source(t, camera.Options{Source: "file:" + path})
	frames := 0
	for {
		f, err := s.Next(ctx)
		if err != nil {
			break
		}
		frames++
		s.Release(f)
	}
	if st := s.Stats(); st.State != camera.Ended || frames == 0 || frames < 53 && !strings.Contains(st.LastError, "of about 60 frames") {
		t.Errorf("%d frames, %+v", frames, st)
	}
}

// V10: no permission has its own words.
func TestFault_V10_NoPermission(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may open everything")
	}
	path := filepath.Join(t.TempDir(), "video0")
	if err := os.WriteFile(path, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := probe(path); err == nil || !strings.Contains(err.Error(), "group video") {
		t.Error(err)
	}
}

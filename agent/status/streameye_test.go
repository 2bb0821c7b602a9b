package status

import (
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

// eye is a device whose camera makes a frame every so often and counts how often each was encoded.
type eye struct {
	device
	every time.Duration
	size  int
	began time.Time

	mu      sync.Mutex
	asked   int
	encoded map[uint64]int
	cards   int
	fail    error         // in place of pictures
	age     time.Duration // the frame stands still and is so old; 0: it does not
}

func newEye(every time.Duration, size int) *eye {
	e := &eye{every: every, size: size, began: time.Now(), encoded: map[uint64]int{}}
	e.set(working(time.Now()))
	return e
}

func (e *eye) Picture(_ context.Context, camera string, o PictureOptions) (Picture, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	if e.fail != nil {
		return Picture{}, e.fail
	}
	p := Picture{Frame: FrameID{Seq: uint64(time.Since(e.began)/e.every) + 1}, Age: e.age}
	if e.age > 0 {
		p.Frame.Seq = 1
	}
	p.Frame.At = e.began.Add(time.Duration(p.Frame.Seq) * e.every)
	if p.Same = o.Have == p.Frame; !p.Same {
		e.encoded[p.Frame.Seq]++
		p.Caption = fmt.Sprintf("frame %d, draw %v, width %d", p.Frame.Seq, o.Draw, o.MaxWidth)
		p.JPEG = append([]byte("\xff\xd8"), make([]byte, e.size)...)
	}
	return p, nil
}

func (e *eye) Card(width, height int, title string, lines ...string) ([]byte, error) {
	e.mu.Lock()
	e.cards++
	e.mu.Unlock()
	return e.device.Card(width, height, title, lines...)
}

func (e *eye) change(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *eye) counts() (asked, encoded, twice int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.encoded {
		encoded += n
		twice += n - 1
	}
	return e.asked, encoded, twice
}

// serveEye is serve for an eye.
func serveEye(t testing.TB, e *eye, change ...func(*Server)) *Server {
	t.Helper()
	s, err := New(Config{Listen: "127.0.0.1:0", DeviceID: "dev-0042"}, e)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(s)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// watcher is one live view.
type watcher struct {
	t     testing.TB
	body  io.Closer
	parts *multipart.Reader
}

// received is one part.
type received struct {
	frame   uint64
	caption string
	jpeg    []byte
}

func watch(t testing.TB, s *Server, query string) *watcher {
	t.Helper()
	r, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(must(http.NewRequest("GET", "http://"+s.Addr()+"/stream/front.mjpg?"+query, nil)))
	if err != nil {
		t.Fatal(err)
	}
	kind, p, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || r.StatusCode != 200 || kind != "multipart/x-mixed-replace" {
		b, _ := io.ReadAll(r.Body)
		t.Fatalf("%d %s %v: %s", r.StatusCode, kind, err, b)
	}
	t.Cleanup(func() { r.Body.Close() })
	return &watcher{t, r.Body, multipart.NewReader(r.Body, p["boundary"])}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// next is the next picture; false at the regular end.
func (w *watcher) next() (received, bool) {
	w.t.Helper()
	p, err := w.parts.NextRawPart()
	if err != nil {
		return received{}, false
	}
	b, err := io.ReadAll(p)
	if err != nil {
		return received{}, false
	}
	if n, err := strconv.Atoi(p.Header.Get("Content-Length")); err != nil || n != len(b) || p.Header.Get("Content-Type") != "image/jpeg" {
		w.t.Errorf("part of %d bytes: %v", len(b), p.Header)
	}
	return received{must(strconv.ParseUint(p.Header.Get("Heron-Frame"), 10, 64)), must(url.PathUnescape(p.Header.Get("Heron-Caption"))), b}, true
}

// until reads pictures until one fits; a stream that says nothing ends with the test's own deadline.
func (w *watcher) until(what string, fits func(received) bool) received {
	w.t.Helper()
	timer := time.AfterFunc(30*time.Second, func() { w.body.Close() })
	defer timer.Stop()
	for {
		p, ok := w.next()
		if !ok {
			w.t.Fatalf("the stream ended before: %s", what)
		}
		if fits(p) {
			return p
		}
	}
}

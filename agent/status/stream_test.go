package status

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestViewersOfOneFormCostTheEncodesOfOne(t *testing.T) {
	e := newEye(40*time.Millisecond, 1000)
	s := serveEye(t, e)
	if asked, _, _ := e.counts(); asked != 0 {
		t.Fatalf("%d pictures were asked for before anybody looked", asked)
	}
	began := time.Now()
	var wg sync.WaitGroup
	for range 4 {
		w := watch(t, s, "fps=10&draw=1&width=600")
		wg.Go(func() {
			last := uint64(0)
			for range 15 {
				p, ok := w.next()
				if !ok || p.frame <= last || p.caption != fmt.Sprintf("frame %d, draw true, width 640", p.frame) {
					t.Errorf("after %d: %d %q %v", last, p.frame, p.caption, ok)
					return
				}
				last = p.frame
			}
		})
	}
	wg.Wait()
	_, encoded, twice := e.counts()
	if most := int(time.Since(began)/(100*time.Millisecond)) + 2; encoded > most || twice > 0 || encoded < 10 {
		t.Errorf("%d encodes (%d of a frame encoded before) for 60 pictures sent; 10 a second are at most %d", encoded, twice, most)
	}
	if got := s.streams.encodes.Load(); got < uint64(encoded)-1 { // the last may not be counted yet
		t.Errorf("%d encodes counted, %d made", got, encoded)
	}
}

func TestNothingRunsWhenNobodyLooks(t *testing.T) {
	e := newEye(time.Millisecond, 1000)
	s := serveEye(t, e)
	eventually(t, "the server stands", func() bool { code, _, _ := ask(t, s, "GET", "/healthz"); return code == 200 })
	before := runtime.NumGoroutine()
	var all []*watcher
	for _, q := range []string{"", "draw=1", "width=100", "draw=1"} {
		w := watch(t, s, q)
		w.until("a picture", func(received) bool { return true })
		all = append(all, w)
	}
	s.streams.mu.Lock()
	if s.streams.viewers != 4 || len(s.streams.feeds) != 3 {
		t.Errorf("%d viewers, %d feeds", s.streams.viewers, len(s.streams.feeds))
	}
	s.streams.mu.Unlock()
	for _, w := range all {
		w.body.Close()
	}
	eventually(t, "all have left", func() bool { return s.streams.watching() == 0 })
	s.streams.wait() // no feed runs: nobody is left that could ask
	asked, _, _ := e.counts()
	eventually(t, "the goroutines are those from before", func() bool { return runtime.NumGoroutine() <= before })
	if again, _, _ := e.counts(); again != asked || len(s.streams.feeds) != 0 {
		t.Errorf("%d pictures were asked for after the last viewer left; %d feeds", again-asked, len(s.streams.feeds))
	}
}

func TestViewerThatReadsNothingHoldsUpNobodyAndIsDropped(t *testing.T) {
	e := newEye(10*time.Millisecond, 300_000)
	s := serveEye(t, e, func(s *Server) {
		s.streams.limits.write = 2 * time.Second
		s.streams.bytes.rate = 1 << 30
	})
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(c, "GET /stream/front.mjpg?fps=10 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	eventually(t, "it is admitted", func() bool { return s.streams.watching() == 1 })
	w := watch(t, s, "fps=10")
	for range 10 {
		w.until("a picture", func(received) bool { return true })
	}
	eventually(t, "it is dropped", func() bool { return s.streams.watching() == 1 })
	w.until("a picture after that", func(received) bool { return true })
}

func TestViewersAreBoundedAndTheRefusedAreTold(t *testing.T) {
	e := newEye(time.Millisecond, 1000)
	s := serveEye(t, e)
	for range 4 {
		watch(t, s, "")
	}
	code, body, h := ask(t, s, "GET", "/stream/front.mjpg")
	if code != 503 || h.Get("Retry-After") != "10" || !strings.Contains(body, "4 live views are open") || !strings.Contains(body, "/snapshot/front.jpg") {
		t.Errorf("%d %v %q", code, h, body)
	}
	if code, _, _ := ask(t, s, "HEAD", "/stream/front.mjpg"); code != 200 {
		t.Errorf("HEAD takes no place: %d", code)
	}
	_, m, _ := ask(t, s, "GET", "/metrics")
	if !strings.Contains(m, "heron_stream_viewers 4") || !strings.Contains(m, "heron_stream_refused_total 1") {
		t.Errorf("metrics: %s", m)
	}
}

func TestFault_L2_ThousandLiveViews(t *testing.T) {
	e := newEye(time.Millisecond, 1000)
	s := serveEye(t, e)
	before := runtime.NumGoroutine()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	most := 0
	for range 1000 {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			continue
		}
		conns = append(conns, c)
		fmt.Fprintf(c, "GET /stream/front.mjpg?fps=10 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		most = max(most, s.streams.watching())
	}
	eventually(t, "four are served", func() bool { return s.streams.watching() == 4 })
	s.streams.mu.Lock()
	if most > 4 || len(s.streams.feeds) != 1 {
		t.Errorf("%d viewers at a time, %d feeds", most, len(s.streams.feeds))
	}
	s.streams.mu.Unlock()
	if n := runtime.NumGoroutine(); n > before+3*maxConns {
		t.Errorf("%d goroutines", n)
	}
	eventually(t, "the rest is refused, as connections or as live views", func() bool {
		return s.RefusedConns() > 0 && s.streams.refused.Load() > 0 && s.RefusedConns()+s.streams.refused.Load() >= uint64(len(conns))-maxConns
	})
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "all are gone and the page answers", func() bool {
		if s.streams.watching() != 0 {
			return false
		}
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(must(http.NewRequest("GET", "http://"+s.Addr()+"/healthz", nil)))
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == 200
	})
}

func TestStreamTellsTroubleOnACardAndRecoversByItself(t *testing.T) {
	e := newEye(20*time.Millisecond, 1000)
	s := serveEye(t, e, func(s *Server) { s.streams.limits.again = 100 * time.Millisecond })
	w := watch(t, s, "fps=10")
	isFrame := func(p received) bool { return p.frame > 0 }
	isCard := func(words string) func(received) bool {
		return func(p received) bool {
			return p.frame == 0 && bytes.Contains(p.jpeg, []byte("No picture of front")) && bytes.Contains(p.jpeg, []byte(words))
		}
	}
	first := w.until("a frame", isFrame)
	snap := working(time.Now())
	snap.Vision.State, snap.Vision.LastReason = "replacing", "heron-vision (pid 7) was killed"
	e.set(snap)
	e.change(func() { e.fail = errors.New("heron-vision is not running (replacing)") })
	a := w.until("a card that names the vision process", isCard("heron-vision is not running (replacing) Last: heron-vision (pid 7) was killed"))
	if bytes.Contains(a.jpeg, []byte(", for ")) {
		t.Errorf("the first card: %s", a.jpeg)
	}
	w.until("a card that goes with the time", func(p received) bool { return isCard(", for ")(p) && !isCard(", for 0.")(p) })
	e.set(working(time.Now()))
	e.change(func() { e.fail, e.began, e.encoded = nil, time.Now(), map[uint64]int{} }) // a new process counts from 1
	if p := w.until("frames again", isFrame); p.frame > first.frame+1000 {
		t.Errorf("frame %d", p.frame)
	}

	e.change(func() { e.age = 3 * time.Second }) // slow, but the camera runs: told anew, with its age
	n := 0
	for range 3 {
		w.until("the same frame with its age", func(p received) bool { n++; return p.frame == 1 })
	}
	snap = working(time.Now())
	snap.Cameras[0].State, snap.Cameras[0].LastError = "reopening", "open /dev/video0: no such file or directory"
	e.set(snap)
	w.until("a card for a camera that is gone", isCard("The camera is reopening; its last frame is 3.0 s old. open /dev/video0: no such file"))
	snap.Cameras[0].State = "ended"
	e.set(snap)
	w.until("a card for a source that has ended", isCard("The source has come to its end"))
	e.set(working(time.Now()))
	e.change(func() { e.age = 0 })
	w.until("frames again", isFrame)
}

func TestStreamOutlivesTheServersTimeoutsAndEndsWithItsOwn(t *testing.T) {
	e := newEye(20*time.Millisecond, 1000)
	const life = 2500 * time.Millisecond
	s := serveEye(t, e, func(s *Server) {
		s.http.ReadTimeout, s.http.WriteTimeout, s.http.ReadHeaderTimeout = 500*time.Millisecond, 500*time.Millisecond, 500*time.Millisecond
		s.streams.limits.life = life
	})
	began := time.Now()
	w := watch(t, s, "fps=10")
	frames, size := 0, 0
	for {
		p, ok := w.next()
		if !ok {
			break
		}
		frames++
		size += len(p.jpeg)
	}
	if d := time.Since(began); d < life-100*time.Millisecond || frames < 4 {
		t.Errorf("it ended after %v and %d frames", d, frames)
	}
	eventually(t, "it has left", func() bool { return s.streams.watching() == 0 })
	if s.streams.frames.Load() != uint64(frames) || s.streams.sent.Load() != uint64(size) {
		t.Errorf("counted %d frames, %d bytes; came %d, %d", s.streams.frames.Load(), s.streams.sent.Load(), frames, size)
	}
}

func TestStreamIsForThisDevicesOwnPages(t *testing.T) {
	s := serveEye(t, newEye(time.Second, 10))
	if code, _, _ := ask(t, s, "GET", "/stream/front.mjpg", host("evil.example.com")); code != http.StatusMisdirectedRequest {
		t.Errorf("a foreign name: %d", code)
	}
	if code, _, h := ask(t, s, "POST", "/stream/front.mjpg"); code != 405 || h.Get("Allow") == "" {
		t.Errorf("POST: %d", code)
	}
	if s.streams.watching() != 0 {
		t.Error("they became viewers")
	}
}

func TestFormsAreFew(t *testing.T) {
	forms := map[form]bool{}
	for w := MinPictureWidth; w <= MaxPictureWidth; w++ {
		k, _, err := readForm("front", url.Values{"width": {strconv.Itoa(w)}, "draw": {strconv.Itoa(w % 2)}, "fps": {"0.1"}})
		if err != nil || k.width > 1280 || k.width < min(w, 1280) {
			t.Fatalf("%d: %+v %v", w, k, err)
		}
		forms[k] = true
	}
	if len(forms) > 2*len(streamWidths) {
		t.Errorf("%d forms", len(forms))
	}
}

func TestBudgetLowersTheRateNotTheTruth(t *testing.T) {
	b := budget{rate: 1_000_000}
	now := time.Now()
	sent, size := 0, 100_000
	for at := time.Duration(0); at < 20*time.Second; { // a viewer that would like to have all
		at += max(0, b.reserve(now.Add(at), size))
		sent += size
	}
	if sent < 19_500_000 || sent > 21_000_000 {
		t.Errorf("%d bytes in 20 s", sent)
	}
	if d := b.reserve(now.Add(time.Hour), 400_000); d > 0 {
		t.Errorf("after a rest half a second's worth goes at once, not after %v", d)
	}
	b.settle(1_000_000) // it was larger than foreseen
	if d := b.reserve(now.Add(time.Hour), 0); d < 800*time.Millisecond {
		t.Errorf("the next waits only %v", d)
	}
}

func TestRunEndsWithViewersLooking(t *testing.T) {
	e := newEye(20*time.Millisecond, 1000)
	s, err := New(Config{Listen: "127.0.0.1:0"}, e)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var all []*watcher
	for range 3 {
		w := watch(t, s, "fps=10")
		w.until("a picture", func(received) bool { return true })
		all = append(all, w)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not end")
	}
	for _, w := range all {
		for {
			if _, ok := w.next(); !ok {
				break
			}
		}
	}
	if s.streams.watching() != 0 || len(s.streams.feeds) != 0 {
		t.Errorf("%d viewers and %d feeds outlive Run", s.streams.watching(), len(s.streams.feeds))
	}
}

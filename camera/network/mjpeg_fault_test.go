package network

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"heron/camera"
	"heron/internal/freeport"
)

// V6: the camera cuts the connection, also in the middle of a frame, and is open to a login with either method.
func TestFault_V6_ConnectionIsCut(t *testing.T) {
	t.Parallel()
	good := grey(t, 64, 48, level(5))
	g := &guard{digest: true, user: "u"}
	g.password.Store("geheim")
	url := serve(t, g.wrap(stream(5*time.Millisecond, multipart, func(w http.ResponseWriter, _ *http.Request, i int) bool {
		if i == 10 {
			fmt.Fprintf(w, "--frame\r\nContent-Length: %d\r\n\r\n%s", len(good), good[:len(good)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		send(w, good)
		return true
	})))
	s, ctx := source(t, camera.Options{Source: url, Username: "u", PasswordFile: passwordFile(t, "geheim")})
	for s.Stats().Reopened < 3 {
		f := next(t, s, ctx)
		if shown(f) != 5 {
			t.Errorf("a frame shows %d", shown(f))
		}
		s.Release(f)
	}
	if st := s.Stats(); !strings.Contains(st.LastError, "gives no more frames") || strings.Contains(st.LastError, "geheim") {
		t.Errorf("%+v", st)
	}
}

// V9: damaged JPEGs in a live stream; the good ones among them still come and the source is not opened anew.
func TestFault_V9_DamagedJPEGs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	good := grey(t, 64, 48, level(7))
	url := serve(t, stream(2*time.Millisecond, multipart, func(w http.ResponseWriter, _ *http.Request, i int) bool {
		b := bytes.Clone(good)
		if i > 3 && i%3 != 0 {
			for range 1 + rng.IntN(40) {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
			b = b[:1+rng.IntN(len(b))]
		}
		send(w, b)
		return true
	}))
	s, ctx := source(t, camera.Options{Source: url})
	for whole, tries := 0, 0; whole < 20; tries++ {
		f := next(t, s, ctx)
		if shown(f) == 7 && f.Width == 64 {
			whole++
		}
		s.Release(f)
		if tries > 500 {
			t.Fatalf("%d whole frames among %d: %+v", whole, tries, s.Stats())
		}
	}
	if st := s.Stats(); st.Reopened > 0 {
		t.Errorf("%+v", st)
	}
}

// V9: half a picture is no frame; of a camera that never writes the end marker each is one.
func TestFault_V9_JPEGsThatBreakOff(t *testing.T) {
	t.Parallel()
	good := grey(t, 64, 48, level(7))
	var e ending
	for i, c := range []struct {
		data []byte
		want bool
	}{
		{good[:len(good)-2], false}, {good, false}, {append(bytes.Clone(good), 0, 0, 0, 0), false}, {good[:len(good)-2], true}, {good[:len(good)/2], true},
		{append([]byte{0xff, 0xd8, 0xff, 0xd9}, good[2:len(good)-9]...), true}, {nil, true}, {good, false},
	} {
		if got := e.brokeOff(c.data); got != c.want {
			t.Errorf("picture %d: %v", i, got)
		}
	}
	url := serve(t, stream(2*time.Millisecond, multipart, func(w http.ResponseWriter, _ *http.Request, i int) bool {
		send(w, good[:len(good)-i%3*8])
		return true
	}))
	s, ctx := source(t, camera.Options{Source: url})
	for range 20 {
		s.Release(next(t, s, ctx))
	}
	if st := s.Stats(); st.Errors < 10 || st.Damaged < 10 || st.Read > st.Damaged || st.Reopened > 0 || !strings.Contains(st.LastError, "broke off") {
		t.Errorf("%+v", st)
	}
}

// V5: sizes change within the stream.
func TestFault_V5_ResolutionChanges(t *testing.T) {
	t.Parallel()
	small, large := grey(t, 160, 120, level(2)), grey(t, 640, 480, level(9))
	url := serve(t, stream(5*time.Millisecond, multipart, func(w http.ResponseWriter, _ *http.Request, i int) bool {
		send(w, [][]byte{small, large}[i/20%2])
		return true
	}))
	s, ctx := source(t, camera.Options{Source: url})
	for changes, last := 0, ""; changes < 4; {
		f := next(t, s, ctx)
		size := fmt.Sprint(f.Width, "×", f.Height, " ", shown(f))
		if size != "160×120 2" && size != "640×480 9" {
			t.Fatal(size)
		}
		if size != last {
			last = size
			changes++
		}
		s.Release(f)
	}
}

// V6: the link stands still for 20 s. Afterwards the newest frame is at most two intervals behind what the camera sends, whatever has
// piled up on the way; both where the read time limit ends the connection and where it does not.
func TestFault_V6_NewestFrameAfterAStall(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 20 s")
	}
	const interval = 40 * time.Millisecond
	for _, timeout := range []time.Duration{4 * time.Second, time.Minute} {
		t.Run(fmt.Sprint("read timeout ", timeout), func(t *testing.T) {
			t.Parallel()
			var frames [][]byte
			for i := range 12 {
				frames = append(frames, grey(t, 160, 120, level(i)))
			}
			var now atomic.Int64 // number of the frame that the camera shows
			url := serve(t, stream(interval, multipart, func(w http.ResponseWriter, _ *http.Request, _ int) bool {
				send(w, frames[now.Load()%12])
				return true
			}))
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				tick := time.NewTicker(interval)
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						now.Add(1)
					case <-stop:
						return
					}
				}
			})
			defer wg.Wait()
			defer close(stop)
			p := newProxy(t, strings.TrimPrefix(url, "http://"))
			s, ctx := source(t, camera.Options{Source: "http://" + p.Addr().String(), ReadTimeout: timeout, OpenTimeout: 2 * time.Second})
			behind := func() int {
				f := next(t, s, ctx)
				defer s.Release(f)
				return (int(now.Load()) - shown(f) + 24) % 12
			}
			most := 2
			for range 25 { // a machine that is slower than that is so before, too
				most = max(most, behind())
			}
			p.hold(true)
			time.Sleep(20 * time.Second)
			p.hold(false)
			began := time.Now()
			fresh := 0
			var back time.Duration
			for fresh < 10 { // in a row
				if lag := behind(); lag > most {
					if fresh = 0; time.Since(began) > 30*time.Second {
						t.Fatalf("lag is still %d frames: %+v", lag, s.Stats())
					}
					continue
				}
				if fresh++; fresh == 1 {
					back = time.Since(began)
				}
			}
			t.Logf("the newest frame is at most %d intervals old from %v after the stall on; %+v", most, back.Round(time.Millisecond), s.Stats())
		})
	}
}

// V6: the server restarts.
func TestFault_V6_ServerRestarts(t *testing.T) {
	t.Parallel()
	good := grey(t, 64, 48, level(3))
	h := stream(10*time.Millisecond, multipart, func(w http.ResponseWriter, _ *http.Request, _ int) bool { send(w, good); return true })
	l, err := net.Listen("tcp", freeport.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	s, ctx := source(t, camera.Options{Source: "http://" + l.Addr().String()})
	s.Release(next(t, s, ctx))
	srv.Close()
	time.Sleep(4 * time.Second) // so long that the back-off has grown
	if st := s.Stats(); !strings.Contains(st.LastError, "connection refused") {
		t.Errorf("%+v", st)
	}
	l, err = net.Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	srv = &http.Server{Handler: h}
	back := time.Now()
	go srv.Serve(l)
	defer srv.Close()
	for f := next(t, s, ctx); f.At.Before(back); f = next(t, s, ctx) {
		s.Release(f)
	}
	took := time.Since(back)
	t.Logf("a frame %v after the server was back", took.Round(time.Millisecond))
	if took > 5*time.Second {
		t.Errorf("%v is more than 5 s", took)
	}
}

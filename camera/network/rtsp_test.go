//go:build opencv

package network

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"heron/camera"
	"heron/camera/opencv"
	"heron/internal/freeport"
)

// rtsp is a real RTSP server in a process of its own (GStreamer's, by Debian's packages).
type rtsp struct {
	port string
	args []string
	cmd  *exec.Cmd
}

const python = "/usr/bin/python3" // the one that Debian's packages belong to

func newRTSP(t *testing.T, codec string, auth ...string) *rtsp {
	t.Helper()
	if err := exec.Command(python, "-c", "import gi; gi.require_version('GstRtspServer','1.0')").Run(); err != nil {
		t.Skip("needs python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly (make setup installs them): ", err)
	}
	_, port, _ := net.SplitHostPort(freeport.Address(t))
	s := &rtsp{port: port, args: append([]string{"testdata/rtspserver.py", port, codec}, auth...)}
	s.start(t)
	t.Cleanup(s.stop)
	return s
}

func (s *rtsp) start(t *testing.T) {
	t.Helper()
	s.cmd = exec.Command(python, s.args...)
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the RTSP server does not start: %q %v", line, err)
	}
}

func (s *rtsp) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed
}

func (s *rtsp) addr() string { return "127.0.0.1:" + s.port }

// watched is a Source on the whole of network and OpenCV.
func watched(t *testing.T, o camera.Options) (*camera.Source, context.Context) {
	t.Helper()
	o.Name = "cam"
	s, err := camera.New(camera.Config{Options: o, Open: New(opencv.Decoder(), opencv.Open), StopTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s, ctx
}

// interval is the number of the 40-ms interval that a frame shows, modulo 12; −1 for other pictures. Some encoders leave the video's
// range, 16 to 235, as it is.
func interval(f *camera.Frame) int {
	if n := shown(f); n >= 0 {
		return n
	}
	v := (int(f.Pix[f.Stride*f.Height/2+3*(f.Width/2)])-16)*255/219 + 1
	if n := (v - 10 + 4) / 20; v-10-20*n <= 4 && v-10-20*n >= -4 {
		return n
	}
	return -1
}

// lag is how many intervals of 40 ms the frame is behind what the server shows now.
func lag(f *camera.Frame) int {
	return (int(time.Now().UnixMilli()/40)%12 - interval(f) + 24) % 12
}

// began is when the stream began, by its newest frame: the earliest of 50 tells, the others came late.
func began(t *testing.T, s *camera.Source, ctx context.Context) time.Time {
	t.Helper()
	var at time.Time
	for i := range 50 {
		f := next(t, s, ctx)
		if b := time.Now().Add(-f.Device); i == 0 || b.Before(at) {
			at = b
		}
		s.Release(f)
	}
	return at
}

// prompt waits until the newest frame is at most two intervals behind: the middle one of 50 in a row, which a loaded machine may need more
// than one try for. Up to one of them is the server's: it paints an interval's number when that begins, or later.
func prompt(t *testing.T, s *camera.Source, ctx context.Context) {
	t.Helper()
	var behind []int
	for began := time.Now(); time.Since(began) < 40*time.Second; {
		behind = append(behind, steady(t, s, ctx, 50))
		if behind[len(behind)-1] <= 2 {
			t.Logf("%v intervals of 40 ms behind; %+v", behind, s.Stats())
			return
		}
	}
	t.Fatalf("%v intervals of 40 ms behind; %+v", behind, s.Stats())
}

// steady takes n frames and gives the middle one of their lags.
func steady(t *testing.T, s *camera.Source, ctx context.Context, n int) int {
	t.Helper()
	count := [12]int{}
	for range n {
		f := next(t, s, ctx)
		if f.Width != 640 || interval(f) < 0 {
			t.Errorf("a frame of %d×%d shows %d", f.Width, f.Height, f.Pix[0])
		}
		count[lag(f)]++
		s.Release(f)
	}
	sum := 0
	for l, c := range count {
		if sum += c; sum > n/2 {
			return l
		}
	}
	return 12
}

func TestRTSPCodecs(t *testing.T) {
	for _, codec := range []string{"h264", "openh264", "jpeg", "vp8"} {
		t.Run(codec, func(t *testing.T) {
			srv := newRTSP(t, codec)
			began := time.Now()
			s, ctx := watched(t, camera.Options{Source: "rtsp://" + srv.addr() + "/cam"})
			s.Release(next(t, s, ctx))
			t.Logf("%s: first frame after %v", codec, time.Since(began).Round(time.Millisecond))
			if st := s.Stats(); st.Errors > 0 {
				t.Errorf("%s: not at the first try: %+v", codec, st)
			}
			prompt(t, s, ctx)
		})
	}
}

// The login comes from the file, in both ways that servers ask for it; a wrong one has its words.
func TestFault_V6_RTSPLogin(t *testing.T) {
	for _, method := range []string{"basic", "digest"} {
		t.Run(method, func(t *testing.T) {
			const password = `ge:h/ei@m %41`
			srv := newRTSP(t, "jpeg", "viewer", password, method)
			s, ctx := watched(t, camera.Options{Source: "rtsp://" + srv.addr() + "/cam", Username: "viewer", PasswordFile: passwordFile(t, password)})
			s.Release(next(t, s, ctx))
			for name, o := range map[string]camera.Options{
				"401: the camera refuses the user or the password": {Username: "viewer", PasswordFile: passwordFile(t, "wrong")},
				"401: the camera wants a user and a password":      {},
			} {
				o.Source = "rtsp://" + srv.addr() + "/cam"
				if _, err := New(nil, opencv.Open)(t.Context(), o); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "wrong") {
					t.Errorf("%v, want %q", err, name)
				}
			}
			_, err := New(nil, opencv.Open)(t.Context(), camera.Options{Source: "rtsp://" + srv.addr() + "/other", Username: "viewer", PasswordFile: passwordFile(t, password)})
			if err == nil || !strings.Contains(err.Error(), "404") {
				t.Error(err)
			}
		})
	}
}

// A server that takes connections and says nothing, and one that speaks something else.
func TestFault_V6_RTSPHalfOpenAndWrongCodec(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = New(nil, opencv.Open)(t.Context(), camera.Options{Source: "rtsp://" + l.Addr().String() + "/cam", OpenTimeout: time.Second})
	if err == nil || !strings.Contains(err.Error(), "does not answer as an RTSP server, or not in time") {
		t.Error(err)
	}
	odd, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer odd.Close()
	go func() {
		for {
			c, err := odd.Accept()
			if err != nil {
				return
			}
			sdp := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 X-SECRET/90000\r\na=control:t\r\n"
			for in := bufio.NewReader(c); ; {
				var line, seq string
				if line, err = in.ReadString('\n'); err != nil {
					break
				}
				for h := line; h != "\r\n" && err == nil; h, err = in.ReadString('\n') {
					if v, ok := strings.CutPrefix(h, "CSeq:"); ok {
						seq = strings.TrimSpace(v)
					}
				}
				body := ""
				if strings.HasPrefix(line, "DESCRIBE") {
					body = sdp
				}
				status := "200 OK"
				if strings.HasPrefix(line, "SETUP") {
					status = "461 Unsupported Transport"
				}
				fmt.Fprintf(c, "RTSP/1.0 %s\r\nCSeq: %s\r\nPublic: DESCRIBE, SETUP, PLAY\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", status, seq, len(body), body)
			}
			c.Close()
		}
	}()
	_, err = New(nil, opencv.Open)(t.Context(), camera.Options{Source: "rtsp://" + odd.Addr().String() + "/cam", OpenTimeout: 2 * time.Second})
	if err == nil || !strings.Contains(err.Error(), "offers X-SECRET, which cannot be read here") {
		t.Error(err)
	}
}

// V6: the server is killed, is away for some seconds, and comes back.
func TestFault_V6_RTSPServerRestarts(t *testing.T) {
	for _, codec := range []string{"h264", "jpeg"} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			srv := newRTSP(t, codec)
			s, ctx := watched(t, camera.Options{Source: "rtsp://" + srv.addr() + "/cam", ReadTimeout: 4 * time.Second})
			for range 20 {
				s.Release(next(t, s, ctx))
			}
			srv.stop()
			time.Sleep(8 * time.Second)
			if st := s.Stats(); st.State != camera.Reopening || !strings.Contains(st.LastError, "connection refused") {
				t.Errorf("while it is away: %+v", st)
			}
			srv.start(t)
			back := time.Now()
			for f := next(t, s, ctx); f.At.Before(back); f = next(t, s, ctx) {
				s.Release(f)
			}
			took := time.Since(back)
			t.Logf("%s: a frame %v after the server was back; %+v", codec, took.Round(time.Millisecond), s.Stats())
			if took > 5*time.Second {
				t.Errorf("%s: %v is more than 5 s", codec, took)
			}
		})
	}
}

// V6: the link stands still for 20 s, longer or shorter than the read may take; then the newest frame is two intervals old at most, as
// before.
func TestFault_V6_RTSPNewestFrameAfterAStall(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 s")
	}
	for _, codec := range []string{"h264", "jpeg"} {
		for _, timeout := range []time.Duration{4 * time.Second, time.Minute} {
			t.Run(fmt.Sprint(codec, ", read timeout ", timeout), func(t *testing.T) {
				t.Parallel()
				srv := newRTSP(t, codec)
				p := newProxy(t, srv.addr())
				s, ctx := watched(t, camera.Options{Source: "rtsp://" + p.Addr().String() + "/cam", ReadTimeout: timeout, OpenTimeout: 5 * time.Second})
				prompt(t, s, ctx)
				before := began(t, s, ctx)
				p.hold(true)
				time.Sleep(20 * time.Second)
				p.hold(false)
				on := time.Now()
				for fresh := 0; fresh < 10; { // in a row
					f := next(t, s, ctx)
					if fresh++; lag(f) > 2 {
						fresh = 0
					}
					s.Release(f)
					if time.Since(on) > 40*time.Second {
						t.Fatalf("still behind: %+v", s.Stats())
					}
				}
				t.Logf("10 frames in a row at most 2 intervals behind %v after the stall", time.Since(on).Round(time.Millisecond))
				prompt(t, s, ctx)
				// The numbers cannot tell an interval from thirteen; the stream's own time can, as long as it is one stream.
				if late := began(t, s, ctx).Sub(before); codec == "h264" && s.Stats().Reopened == 0 && late > 80*time.Millisecond {
					t.Errorf("%v later than before the stall", late)
				}
			})
		}
	}
}

// V6: the connection is cut in the middle of a frame.
func TestFault_V6_RTSPIsCut(t *testing.T) {
	srv := newRTSP(t, "h264")
	p := newProxy(t, srv.addr())
	s, ctx := watched(t, camera.Options{Source: "rtsp://" + p.Addr().String() + "/cam", ReadTimeout: 4 * time.Second})
	for cut := range 3 {
		for range 30 {
			s.Release(next(t, s, ctx))
		}
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.conns = nil
		p.mu.Unlock()
		began := time.Now()
		for f := next(t, s, ctx); f.At.Before(began) || s.Stats().Reopened == uint64(cut); f = next(t, s, ctx) {
			s.Release(f)
		}
		t.Logf("cut %d: frames again after %v", cut, time.Since(began).Round(time.Millisecond))
	}
	if st := s.Stats(); st.Reopened < 3 || strings.Contains(st.LastError, "127.0.0.1:"+srv.port+"/") {
		t.Errorf("%+v", st)
	}
}

//go:build opencv

package opencv

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"heron/camera"
)

// rtspServer is a camera that speaks just enough RTSP for one client at a time: JPEG (RFC 2435) or H.264 (RFC 6184) in RTP inside the TCP
// connection, 25 frames a second.
type rtspServer struct {
	frames [][]byte
	h264   bool
	most   int    // frames a connection, then it is cut; 0 is for ever
	auth   string // the Authorization header it wants; empty: none
	setup  string // the status of its answer to SETUP; empty: it agrees
	mute   bool   // it takes PLAY and sends nothing
	goesOn bool   // a connection begins where the one before was cut
	at     int    // … which is this frame
	mu     sync.Mutex
	conns  []net.Conn
	plays  int          // connections that were played to
	sent   *[]time.Time // when each frame of the last of them was begun to be sent
}

func (s *rtspServer) start(t *testing.T) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			wg.Go(func() { defer c.Close(); s.serve(c, l.Addr().String()) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		wg.Wait()
	})
	return "rtsp://user:geheim@" + l.Addr().String() + "/cam"
}

func (s *rtspServer) serve(c net.Conn, addr string) {
	r := textproto.NewReader(bufio.NewReader(c))
	for {
		line, err := r.ReadLine()
		if err != nil {
			return
		}
		header, err := r.ReadMIMEHeader()
		if err != nil {
			return
		}
		method, _, _ := strings.Cut(line, " ")
		status, more := "200 OK", ""
		switch {
		case method == "OPTIONS":
			more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
		case s.auth != "" && header.Get("Authorization") != s.auth:
			status, more = "401 Unauthorized", "WWW-Authenticate: Basic realm=\"cam\"\r\n"
		case method == "DESCRIBE":
			format := "26\r\n"
			if s.h264 {
				format = "96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
			}
			sdp := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=cam\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP " + format + "a=control:track1\r\na=framerate:25\r\n"
			more = fmt.Sprintf("Content-Base: rtsp://%s/cam/\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", addr, len(sdp), sdp)
		case method == "SETUP" && s.setup != "":
			status = s.setup
		case method == "SETUP" && !strings.Contains(header.Get("Transport"), "TCP"):
			status = "461 Unsupported Transport"
		case method == "SETUP":
			more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
		}
		answer := fmt.Sprintf("RTSP/1.0 %s\r\nCSeq: %s\r\n%s", status, header.Get("CSeq"), more)
		if !strings.Contains(answer, "\r\n\r\n") {
			answer += "\r\n"
		}
		if _, err := c.Write([]byte(answer)); err != nil {
			return
		}
		if method == "PLAY" && status == "200 OK" && !s.mute {
			s.play(c)
			return
		}
	}
}

func (s *rtspServer) play(c net.Conn) {
	s.mu.Lock()
	s.plays++
	sent := &[]time.Time{}
	s.sent = sent
	s.mu.Unlock()
	pack, seq := rtpJPEG, uint16(0)
	if s.h264 {
		pack = rtpH264
	}
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	i := 0
	if s.goesOn {
		i = s.at
	}
	for ; s.most == 0 || i < s.most; i++ {
		packets := pack(s.frames[i%len(s.frames)], uint32(i*3600), &seq)
		s.mu.Lock()
		*sent = append(*sent, time.Now())
		s.at = i
		s.mu.Unlock()
		if _, err := c.Write(packets); err != nil {
			return
		}
		<-tick.C
	}
}

// age is how long ago the last frame like this one was sent.
func (s *rtspServer) age(now time.Time, n int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, at := range slices.Backward(*s.sent) {
		if i%len(s.frames) == n && at.Before(now) {
			return now.Sub(at)
		}
	}
	return time.Hour
}

// rtpJPEG cuts a JPEG as Go encodes it (4:2:0, standard Huffman tables) into interleaved RTP packets.
func rtpJPEG(jpg []byte, stamp uint32, seq *uint16) []byte {
	var tables, scan []byte
	var w, h int
	for i := 2; scan == nil; {
		n := int(binary.BigEndian.Uint16(jpg[i+2:]))
		seg := jpg[i+4 : i+2+n]
		switch jpg[i+1] {
		case 0xdb: // quantisation, one or two tables
			for ; len(seg) >= 65; seg = seg[65:] {
				tables = append(tables, seg[1:65]...)
			}
		case 0xc0:
			h, w = int(binary.BigEndian.Uint16(seg[1:])), int(binary.BigEndian.Uint16(seg[3:]))
		case 0xda:
			scan = bytes.TrimSuffix(jpg[i+2+n:], []byte{0xff, 0xd9})
		}
		i += 2 + n
	}
	var out []byte
	for at := 0; at < len(scan); {
		part := scan[at:min(at+1200, len(scan))]
		head := []byte{0, byte(at >> 16), byte(at >> 8), byte(at), 1, 255, byte(w / 8), byte(h / 8)}
		if at == 0 {
			head = append(binary.BigEndian.AppendUint16(append(head, 0, 0), uint16(len(tables))), tables...)
		}
		at += len(part)
		out = packet(out, 26, at == len(scan), stamp, seq, head, part)
	}
	return out
}

// packet appends an RTP packet, interleaved.
func packet(out []byte, kind byte, last bool, stamp uint32, seq *uint16, head, part []byte) []byte {
	if last {
		kind |= 0x80 // the marker
	}
	rtp := binary.BigEndian.AppendUint16([]byte{0x80, kind}, *seq)
	rtp = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(rtp, stamp), 0x1234)
	*seq++
	rtp = append(append(rtp, head...), part...)
	return append(binary.BigEndian.AppendUint16(append(out, '$', 0), uint16(len(rtp))), rtp...)
}

func rtspFrames(t *testing.T) [][]byte {
	var frames [][]byte
	for i := range 12 {
		frames = append(frames, grey(t, 320, 240, level(i)))
	}
	return frames
}

func TestRTSP(t *testing.T) {
	s := &rtspServer{frames: rtspFrames(t), auth: "Basic dXNlcjpnZWhlaW0="}
	src, ctx := source(t, camera.Options{Source: s.start(t)})
	for i := range 20 {
		f := next(t, src, ctx)
		if f.Width != 320 || f.Height != 240 || number(f) < 0 {
			t.Errorf("frame %d: %d×%d shows %d", i, f.Width, f.Height, number(f))
		}
		src.Release(f)
	}
	if st := src.Stats(); st.Errors != 0 || st.ClockJumps != 0 {
		t.Errorf("%+v", st)
	}
}

// V6: the server goes away again and again, and refuses the password; neither shows up in a message.
func TestFault_V6_RTSPRestartsAnd401(t *testing.T) {
	s := &rtspServer{frames: rtspFrames(t), most: 10}
	src, ctx := source(t, camera.Options{Source: s.start(t), ReadTimeout: time.Second})
	for src.Stats().Reopened < 2 {
		src.Release(next(t, src, ctx))
	}
	if st := src.Stats(); strings.Contains(st.LastError, "geheim") || !strings.Contains(st.LastError, "rtsp://127.0.0.1") {
		t.Errorf("%+v", st)
	}
	refusing := &rtspServer{auth: "Basic other"}
	_, err := Open(t.Context(), camera.Options{Source: refusing.start(t), OpenTimeout: 3 * time.Second})
	if err == nil || !strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), "geheim") {
		t.Error(err)
	}
}

// What a server refuses after it has described its stream is named: FFmpeg's failure alone does not tell.
func TestRTSPRefusalIsNamed(t *testing.T) {
	t.Parallel()
	s := &rtspServer{setup: "453 Not Enough Bandwidth"}
	_, err := Open(t.Context(), camera.Options{Source: s.start(t)})
	if err == nil || !strings.Contains(err.Error(), "the server answers 453 Not Enough Bandwidth to SETUP") || strings.Contains(err.Error(), "geheim") {
		t.Error(err)
	}
}

// A server that takes the request and sends nothing keeps the others out for as long as it may be silent, not for all of OpenTimeout. A camera of which
// more patience is asked has it.
func TestRTSPSilenceEndsTheOpening(t *testing.T) {
	for read, least := range map[time.Duration]time.Duration{time.Second: 0, 9 * time.Second: 8 * time.Second} {
		t.Run(read.String(), func(t *testing.T) {
			t.Parallel()
			s := &rtspServer{mute: true, h264: true}
			began := time.Now()
			d, err := Open(t.Context(), camera.Options{Source: s.start(t), OpenTimeout: time.Minute, ReadTimeout: read})
			took := time.Since(began)
			if err == nil { // what was described is opened, and gives nothing
				d.Close()
			}
			if took > time.Minute/2 || took < least {
				t.Errorf("it took %v: %v", took, err)
			}
			t.Logf("%v: %v", took, err)
		})
	}
}

// V5: a stream that goes on in another size is opened anew. OpenCV would go on with the old one: pictures are torn when it shrinks, and stand still
// when it grows.
func TestFault_V5_StreamChangesItsSize(t *testing.T) {
	t.Parallel()
	s := &rtspServer{h264: true, goesOn: true}
	sizes := [][2]int{{320, 240}, {160, 128}, {640, 480}}
	for i := range 90 {
		s.frames = append(s.frames, greyH264(sizes[i/30][0], sizes[i/30][1], 1, i, luma(i)))
	}
	src, ctx := source(t, camera.Options{Source: s.start(t)})
	seen := map[[2]int]bool{}
	for len(seen) < len(sizes) {
		f := next(t, src, ctx)
		seen[[2]int{f.Width, f.Height}] = true
		middle := f.Pix[f.Stride*f.Height/2+3*(f.Width/2):][:3]
		for _, at := range []int{0, 3 * (f.Width - 1), f.Stride * (f.Height - 1), f.Stride*(f.Height-1) + 3*(f.Width-1)} {
			if d := int(f.Pix[at]) - int(middle[0]); d < -4 || d > 4 {
				t.Fatalf("%d×%d: torn: %v and %v", f.Width, f.Height, f.Pix[at:at+3], middle)
			}
		}
		src.Release(f)
	}
	if st := src.Stats(); st.Reopened < 2 || !strings.Contains(st.LastError, "its picture changes from ") || strings.Contains(st.LastError, "geheim") {
		t.Errorf("%+v", st)
	}
}

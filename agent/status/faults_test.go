package status

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// L1: foreign Host, DNS rebinding, cross-site writes.
func TestFault_L1_ForeignHostsAndWritesAreRefused(t *testing.T) {
	d := &device{}
	d.set(working(noon))
	s := serve(t, d)
	for _, h := range []string{"127.0.0.1", "192.0.2.7:8642", "[2001:db8::1]:8642", "[::1]", "localhost:8642", "LOCALHOST", "dev-0042", "DEV-0042.", "dev-0042.local:80", "heron.example.org"} {
		if code, body, _ := ask(t, s, "GET", "/api/v1/status", host(h)); code != 200 {
			t.Errorf("own name %q: %d %s", h, code, body)
		}
	}
	for _, h := range []string{"evil.example.com", "evil.example.com:8642", "127.0.0.1.evil.example", "localhost.evil.example", "dev-0042.evil.example", "local", "notlocal", "evil-dev-0042"} {
		for _, path := range []string{"/", "/api/v1/status", "/metrics", "/snapshot/front.jpg", "/healthz"} {
			if code, body, _ := ask(t, s, "GET", path, host(h)); code != http.StatusMisdirectedRequest || strings.Contains(body, "dev-0042") {
				t.Errorf("foreign name %q at %s: %d %s", h, path, code, body)
			}
		}
	}
	for _, m := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"} {
		code, _, h := ask(t, s, m, "/api/v1/status", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") })
		if code != http.StatusMethodNotAllowed || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %v", m, code, h)
		}
	}
	if _, _, h := ask(t, s, "GET", "/", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }); h.Get("Access-Control-Allow-Origin") != "" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" {
		t.Errorf("readable from other sites: %v", h)
	}
}

// L2: a thousand connections, a slow sender, a huge header, a body without end.
func TestFault_L2_GreedyClients(t *testing.T) {
	d := &device{}
	d.set(working(noon))
	s := serve(t, d, func(s *Server) { s.http.ReadHeaderTimeout = time.Second })
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range 1000 {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil && len(open) > 4*maxConns {
			t.Logf("this machine lets us open %d connections: %v", len(open), err)
			break
		} else if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: ") // and nothing more: slowloris
	}
	eventually(t, "the bound of connections", func() bool { return s.RefusedConns() >= uint64(len(open)-maxConns) })
	s.ln.mu.Lock()
	n := s.ln.open
	s.ln.mu.Unlock()
	if n > maxConns {
		t.Errorf("%d connections are open", n)
	}
	// The slow ones are cut off by the header deadline, and others are served again.
	eventually(t, "service after the flood", func() bool {
		res, err := http.Get("http://" + s.Addr() + "/healthz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == 200
	})
}

func TestFault_L2_HugeHeaderAndBody(t *testing.T) {
	d := &device{}
	d.set(working(noon))
	s := serve(t, d)
	r, err := http.NewRequest("GET", "http://"+s.Addr()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Big", strings.Repeat("x", 1<<20))
	if res, err := new(http.Transport).RoundTrip(r); err == nil { // an error is the connection closed while still writing
		res.Body.Close()
		if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a header of 1 MiB: %d", res.StatusCode)
		}
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", 1<<30)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(line, "405") {
		t.Errorf("a body of 1 GB: %q %v", line, err)
	}
	block := make([]byte, 64<<10)
	var sent int
	for err = nil; err == nil && sent < 64<<20; {
		n, werr := c.Write(block)
		sent, err = sent+n, werr
	}
	if err == nil {
		t.Errorf("%d bytes of a body that nobody wants were taken", sent)
	}
}

// L3: paths that leave the folder, and control characters.
func TestFault_L3_PathsAndControlCharacters(t *testing.T) {
	d := &device{picture: bottle}
	d.set(working(noon))
	s := serve(t, d)
	for _, p := range []string{"/../../etc/passwd", "/snapshot/..%2f..%2fetc%2fpasswd", "/snapshot/%00.jpg", "/snapshot/front.jpg%0d%0aX-Evil:1", "/page.html", "//evil.example/", "/snapshot/front.jpg/../../x", "/%2e%2e/page.go"} {
		code, body, h := ask(t, s, "GET", p)
		if code == 200 || h.Get("X-Evil") != "" || strings.Contains(body, "root:") {
			t.Errorf("GET %s: %d %.100q", p, code, body)
		}
		if l := h.Get("Location"); strings.HasPrefix(l, "//") || strings.Contains(l, "evil.example") && !strings.HasPrefix(l, "/") {
			t.Errorf("GET %s leads to %q", p, l)
		}
	}
}

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	l := newLimitListener(nil, 10, 3)
	stranger, other := remote(from("192.0.2.9:1")), remote(from("[::ffff:192.0.2.8]:1"))
	got := 0
	for range 20 {
		if l.admit(stranger) {
			got++
		}
	}
	if got != 3 || !l.admit(other) {
		t.Errorf("one address got %d of 10", got)
	}
	self := remote(from("127.0.0.1:1"))
	for range 6 {
		if !l.admit(self) {
			t.Error("this device itself is bounded before the total")
		}
	}
	if l.admit(self) {
		t.Error("above the total")
	}
	l.release(stranger)
	if !l.admit(stranger) || len(l.from) != 3 {
		t.Error("a closed connection still counts")
	}
}

type from string

func (f from) RemoteAddr() net.Addr           { return f }
func (f from) Network() string                { return "tcp" }
func (f from) String() string                 { return string(f) }
func (from) LocalAddr() net.Addr              { return nil }
func (from) Read([]byte) (int, error)         { return 0, io.EOF }
func (from) Write([]byte) (int, error)        { return 0, io.EOF }
func (from) Close() error                     { return nil }
func (from) SetDeadline(time.Time) error      { return nil }
func (from) SetReadDeadline(time.Time) error  { return nil }
func (from) SetWriteDeadline(time.Time) error { return nil }

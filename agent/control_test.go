package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// controlled is the endpoint of an agent that has no repository, at a path longer than an address can be.
func controlled(t *testing.T) (a *Agent, path string, end func()) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("far", 40))
	a = &Agent{log: slog.New(slog.DiscardHandler)}
	a.conf.Outbox.Path = filepath.Join(dir, "outbox.db")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.control(ctx) }()
	path = ControlSocket(&a.conf)
	eventually(t, "the socket listens", func() bool {
		c, err := DialControl(t.Context(), path)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	end = func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the endpoint does not end")
		}
	}
	return a, path, end
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestControlAnswersAndEnds(t *testing.T) {
	_, path, end := controlled(t)
	if st, err := os.Lstat(path); err != nil || st.Mode() != fsSocket|0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return DialControl(ctx, path) }}}
	for _, c := range []struct {
		at, says string
		code     int
	}{{"/v1/models", `"code":"not-configured"`, 409}, {"/v1/dance", `"code":"unknown"`, 404}} {
		r, err := client.Get("http://heron" + c.at)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if r.StatusCode != c.code || !strings.Contains(string(b), c.says) {
			t.Errorf("%s: %d %s", c.at, r.StatusCode, b)
		}
	}
	client.CloseIdleConnections()
	end()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
}

const fsSocket = os.ModeSocket

// Fault L4: a stale socket of ours is replaced; a file, a link and a socket at which somebody listens stay.
func TestFault_L4_WhatStandsAtTheSocketsPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	listen := func() (*controlListener, error) {
		return listenControl(t.Context(), path, slog.New(slog.DiscardHandler))
	}
	first, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen(); err == nil || !strings.Contains(err.Error(), "another heron listens") {
		t.Errorf("a second one: %v", err)
	}
	_ = first.Close() // as after a kill: nobody listens, the file is there
	second, err := listen()
	if err != nil {
		t.Fatalf("a stale one is not replaced: %v", err)
	}
	_ = second.Close()
	_ = os.Remove(path)
	for what, put := range map[string]func() error{
		"file":   func() error { return os.WriteFile(path, []byte("mine"), 0o600) },
		"link":   func() error { return os.Symlink("/etc/passwd", path) },
		"folder": func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if _, err := listen(); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.Remove(path); err != nil {
			t.Errorf("%s is not there any more: %v", what, err)
		}
	}
}

// Whatever the file's mode says, the kernel's word on who calls decides.
func TestControlRefusesSomebodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else for a moment")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenControl(t.Context(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for p := path; p != "/"; p = filepath.Dir(p) {
		if p != "/tmp" {
			_ = os.Chmod(p, 0o777)
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("in"))
			_ = c.Close()
		}
	}()
	answers := make(chan string, 1)
	for uid, want := range map[int]string{65534: "", 0: "in"} {
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread, which has another user now, ends with this
			if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
				answers <- "setresuid: " + e.Error()
				return
			}
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if err == nil {
				err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
			}
			if err != nil {
				answers <- err.Error()
				return
			}
			b := make([]byte, 8)
			n, _ := syscall.Read(fd, b)
			_ = syscall.Close(fd)
			answers <- string(b[:max(0, n)])
		}()
		if got := <-answers; got != want {
			t.Errorf("uid %d: got %q, want %q", uid, got, want)
		}
	}
}

// A ninth connection is cut off; once one of the eight goes, there is room again.
func TestControlHoldsFewConnections(t *testing.T) {
	_, path, end := controlled(t)
	defer end()
	alive := func(c net.Conn) bool {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "GET /v1/models HTTP/1.1\r\nHost: heron\r\n\r\n")
		n, _ := c.Read(make([]byte, 16))
		return n > 0
	}
	var open []net.Conn
	eventually(t, "eight are open", func() bool { // those of before may still be on their way out
		c, err := DialControl(t.Context(), path)
		if err != nil || !alive(c) {
			return false
		}
		open = append(open, c)
		return len(open) == controlConns
	})
	ninth, err := DialControl(t.Context(), path)
	if err != nil || alive(ninth) {
		t.Errorf("a ninth is served: %v", err)
	}
	_ = open[0].Close()
	eventually(t, "there is room again", func() bool {
		c, err := DialControl(t.Context(), path)
		return err == nil && alive(c)
	})
}

func TestControlReadsNoLargeOrder(t *testing.T) {
	for body, code := range map[string]string{`{"for":"` + strings.Repeat("9", controlBody) + `"}`: "too large", `{"slots":"x"}`: "unknown field", `{`: "unexpected EOF"} {
		r, _ := http.NewRequest(http.MethodPost, "http://heron/", strings.NewReader(body))
		if _, err := order(discard{}, r); err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("%.20q: %v", body, err)
		}
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// Archives stay as long as a slot is on its way with them, and while they are fresh.
func TestIncomingIsSwept(t *testing.T) {
	in, now := t.TempDir(), time.Now()
	for path, age := range map[string]time.Duration{"wanted/a.tar.zst": time.Hour, "fresh/b.tar.zst": time.Minute, "old/b.tar.zst": time.Hour, "gone/": time.Hour, ".part-1": time.Hour} {
		at := filepath.Join(in, path)
		folder := filepath.Dir(at)
		if strings.HasSuffix(path, "/") {
			folder = at
		}
		err := os.MkdirAll(folder, 0o755)
		if err == nil && folder != at {
			err = os.WriteFile(at, []byte("x"), 0o600)
		}
		if folder == in {
			folder = at
		}
		if err == nil {
			err = os.Chtimes(folder, now.Add(-age), now.Add(-age))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := removeIncoming(in, map[string]bool{"a.tar.zst": true, "": true}, now); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(in)
	if len(left) != 2 || left[0].Name() != "fresh" || left[1].Name() != "wanted" {
		t.Errorf("left: %v", left)
	}
	if err := removeIncoming(filepath.Join(in, "none"), nil, now); err != nil {
		t.Error(err)
	}
}

func TestOnlySignedModelsWhereNothingElseIsAllowed(t *testing.T) {
	a := &Agent{updates: &updates{}, log: slog.New(slog.DiscardHandler)}
	w := httptest.NewRecorder()
	a.controlHandler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/models/activate?slot=main&name=a", strings.NewReader("x")))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `"code":"unsigned"`) || !strings.Contains(w.Body.String(), "heron fleet push") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

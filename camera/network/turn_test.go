package network

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"heron/camera"
)

// rtspDouble answers each request with answer; nil says nothing.
func rtspDouble(t *testing.T, answer []byte) string {
	t.Helper()
	return rtspServer(t, func(string) []byte { return answer })
}

// rtspServer answers a request as its method has it; nil says nothing.
func rtspServer(t *testing.T, answer func(method string) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answerAll(conn, answer)
			}()
		}
	}()
	return "rtsp://" + l.Addr().String() + "/cam"
}

func answerAll(conn net.Conn, answer func(method string) []byte) {
	in := textproto.NewReader(bufio.NewReader(conn))
	for {
		line, err := in.ReadLine()
		if err == nil {
			_, err = in.ReadMIMEHeader()
		}
		if err != nil {
			return
		}
		method, _, _ := strings.Cut(line, " ")
		conn.Write(answer(method))
	}
}

// A server that takes connections and says nothing, or never comes to an end, is not let near the one place where streams are opened.
func TestSilentServerTakesNobodysTurn(t *testing.T) {
	t.Parallel()
	opened := false
	open := New(nil, func(context.Context, camera.Options) (camera.Device, error) { opened = true; return nil, io.EOF })
	_, err := open(t.Context(), camera.Options{Source: rtspDouble(t, nil), OpenTimeout: 300 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "not in time") || opened {
		t.Errorf("%v, opened %v", err, opened)
	}
	_, err = open(t.Context(), camera.Options{Source: rtspDouble(t, []byte("RTSP/1.0 200 OK\r\nX: endless\r\n")), OpenTimeout: 300 * time.Millisecond})
	if err == nil || opened {
		t.Errorf("%v, opened %v", err, opened)
	}
	_, err = open(t.Context(), camera.Options{Source: rtspDouble(t, []byte("RTSP/1.0 454 Session Not Found\r\n\r\n")), OpenTimeout: 10 * time.Second})
	if err == nil || !opened {
		t.Errorf("%v, opened %v", err, opened)
	}
}

// A server is asked for OPTIONS before its stream is opened, which disturbs none: GStreamer's gave 503 to the driver after a DESCRIBE. One that left the
// DESCRIBE after a failure unanswered has to answer that before its next turn.
func TestServerIsAskedWhatDisturbsNone(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log []string
	add := func(what string) { mu.Lock(); log = append(log, what); mu.Unlock() }
	silent := true
	url := rtspServer(t, func(method string) []byte {
		add(method)
		mu.Lock()
		defer mu.Unlock()
		if method == "DESCRIBE" && silent {
			return nil
		}
		return []byte("RTSP/1.0 200 OK\r\n\r\n")
	})
	open := New(nil, func(context.Context, camera.Options) (camera.Device, error) { add("opened"); return nil, io.EOF })
	try := func(want ...string) {
		t.Helper()
		if _, err := open(t.Context(), camera.Options{Source: url, OpenTimeout: 2 * time.Second}); err == nil {
			t.Error("opened")
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(log, want) {
			t.Errorf("%q, want %q", log, want)
		}
		log = nil
	}
	try("OPTIONS", "opened", "DESCRIBE")
	try("DESCRIBE")
	try("DESCRIBE")
	mu.Lock()
	silent = false
	mu.Unlock()
	try("DESCRIBE", "opened", "DESCRIBE")
	try("OPTIONS", "opened") // explained just now
}

// Streams are opened one after the other, and one that waits for its turn does not look like a driver that hangs.
func TestOpenedInTurn(t *testing.T) {
	t.Parallel()
	var within, steps atomic.Int32
	release := make(chan struct{})
	open := inTurn(func(context.Context, camera.Options) (camera.Device, error) {
		if within.Add(1) > 1 {
			t.Error("two at a time")
		}
		<-release
		within.Add(-1)
		return nil, nil
	})
	step := camera.Options{Step: func() { steps.Add(1) }}
	done := make(chan struct{})
	for range 2 {
		go func() { open(context.Background(), step); done <- struct{}{} }()
	}
	for steps.Load() < 4 { // 1 of the first, the others of the one that waits
		time.Sleep(10 * time.Millisecond)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(ctx, step); err == nil {
		t.Error("one that is no longer wanted still waits")
	}
	close(release)
	<-done
	<-done
}

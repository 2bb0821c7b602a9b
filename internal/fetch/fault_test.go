package fetch

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// raw is a server that says exactly these things, one a connection, in turns, and holds the connection until the client leaves.
func raw(t *testing.T, say ...func(c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 4096))
				say[i%len(say)](c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return "http://" + ln.Addr().String()
}

// hold waits until the client hangs up.
func hold(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func text(s string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, s); hold(c) }
}

// drip sends head at once and then a byte at a time.
func drip(head string, every time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			time.Sleep(every)
			_, err = c.Write([]byte("x"))
		}
	}
}

// impatient gives a server a quarter of a second.
func impatient(c *Config) {
	c.Limits.HeaderTimeout, c.Limits.IdleTimeout, c.Limits.RateWindow, c.Limits.MinRate = 250*time.Millisecond, 250*time.Millisecond, 250*time.Millisecond, 1000
	c.Limits.Attempts = 2
}

func TestFault_U2_TruncatedTamperedWrongLength(t *testing.T) {
	data := random(300_000)
	cases := map[string]struct {
		served []byte
		want   error
	}{
		"first byte":  {append([]byte{^data[0]}, data[1:]...), ErrDigest},
		"middle byte": {bytes.Join([][]byte{data[:150_000], {^data[150_000]}, data[150_001:]}, nil), ErrDigest},
		"last byte":   {append(bytes.Clone(data[:299_999]), ^data[299_999]), ErrDigest},
		"one short":   {data[:299_999], ErrSize},
		"one long":    {append(bytes.Clone(data), 0), ErrSize},
		"empty":       {nil, ErrSize},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := &object{data: c.served, etag: `"1"`}
			url := serve(t, o)
			cl := client(t, nil, url)
			r := want(t, data, url)
			if err := cl.File(limit(t), r); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			only(t, r)
			if n := len(o.requests()); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestFault_U3_Endless(t *testing.T) {
	data := random(100_000)
	var sent atomic.Int64
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for { // chunked: no length is given
			n, err := w.Write(data)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	c := client(t, nil, url)
	r := want(t, data, url)
	if err := c.File(limit(t), r); !errors.Is(err, ErrSize) {
		t.Errorf("got %v", err)
	}
	only(t, r)
	if got := c.Stats().Received; got > 100_000 {
		t.Errorf("%d bytes taken of 100000 signed", got)
	}
}

func TestFault_U3_DripAndStall(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
	cases := map[string]func(net.Conn){
		"drip":              drip(ok, 20*time.Millisecond),
		"drip of a header":  drip("HTTP/1.1 200 OK\r\nX-Drip: ", 20*time.Millisecond),
		"stalled":           text(ok + "and no more"),
		"stalled header":    text("HTTP/1.1 200 OK\r\nX: y"),
		"silent":            hold,
		"chunks that stall": text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
		"a 500 that stalls": text("HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\n"),
		"early hints":       drip("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX:", 20*time.Millisecond),
	}
	for name, say := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := raw(t, say)
			c := client(t, impatient, url)
			r := want(t, random(100_000), url)
			start := time.Now()
			err := c.File(limit(t), r)
			var status *StatusError
			if !errors.Is(err, ErrStalled) && !errors.As(err, &status) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("it took %v", d)
			}
			start = time.Now()
			if _, err := c.Get(limit(t), url, 200_000); err == nil || time.Since(start) > 20*time.Second {
				t.Errorf("small: %v after %v", err, time.Since(start))
			}
		})
	}
}

func TestFault_U3_StalledUpload(t *testing.T) {
	url := raw(t, func(c net.Conn) { time.Sleep(time.Second) }) // reads the head and nothing more
	c := client(t, impatient, url)
	if _, err := c.Put(limit(t), url, bytes.NewReader(random(16<<20)), 16<<20, "x/y"); err == nil {
		t.Error("no error")
	} else {
		t.Log(err)
	}
}

func TestFault_U3_WrongContentLength(t *testing.T) {
	body := strings.Repeat("z", 1000)
	answer := func(head string) string { return "HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n" + body }
	for head, want := range map[string]error{
		"Content-Length: 999":                        ErrSize,
		"Content-Length: 1001":                       ErrSize,
		"Content-Length: 99999999999999":             ErrSize,
		"Content-Length: -5":                         nil,
		"Content-Length: 1000\r\nContent-Length: 99": nil,
		"Content-Length: 99999999999999999999999":    nil,
	} {
		url := raw(t, text(answer(head)))
		c := client(t, nil, url)
		r := Request{URLs: []string{url}, Path: t.TempDir() + "/model", Size: 1000, SHA256: sum([]byte(body))}
		err := c.File(limit(t), r)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%q: %v", head, err)
		}
		only(t, r)
	}
	// the right one, and then more: net/http does not hand it out
	url := raw(t, text(answer("Content-Length: 1000")+"and more"))
	c := client(t, nil, url)
	r := Request{URLs: []string{url}, Path: t.TempDir() + "/model", Size: 1000, SHA256: sum([]byte(body))}
	if err := c.File(limit(t), r); err != nil {
		t.Error(err)
	}
	arrived(t, r, []byte(body))
}

func TestFault_U3_GzipBomb(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 100<<20))
	z.Close()
	var asked atomic.Value
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	c := client(t, nil, url)
	r := want(t, random(100<<10), url)
	if err := c.File(limit(t), r); err == nil || !strings.Contains(err.Error(), `encoded as "gzip"`) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Get(limit(t), url, 1<<20); err == nil || !strings.Contains(err.Error(), `encoded as "gzip"`) {
		t.Errorf("got %v", err)
	}
	if got := c.Stats().Received; got != 0 || asked.Load() != "identity" {
		t.Errorf("%d bytes taken; asked for %v", got, asked.Load())
	}
	only(t, r)
}

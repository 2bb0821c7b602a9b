package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		os.Exit(child(job))
	}
	goleak.VerifyTestMain(m)
}

// object is a file on a server that counts what it is asked, with the range requests of net/http.
type object struct {
	mu     sync.Mutex
	data   []byte
	etag   string
	asked  []string                                          // the Range of each request, "" without
	before func(w http.ResponseWriter, r *http.Request) bool // true: it answered itself
}

func (o *object) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked = append(o.asked, r.Header.Get("Range"))
	data, etag, before := o.data, o.etag, o.before
	o.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (o *object) requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

func (o *object) set(data []byte, etag string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data, o.etag = data, etag
}

// cutAt makes the first n requests break off after so many bytes.
func (o *object) cutAt(n int, bytes int) {
	left := n
	o.before = func(w http.ResponseWriter, r *http.Request) bool {
		o.mu.Lock()
		cut := left > 0
		left--
		o.mu.Unlock()
		if cut {
			o.mu.Lock()
			data, etag := o.data, o.etag
			o.mu.Unlock()
			lw := &limitedWriter{ResponseWriter: w, left: bytes}
			lw.Header().Set("Content-Type", "application/octet-stream")
			if etag != "" {
				lw.Header().Set("ETag", etag)
			}
			http.ServeContent(lw, r, "", time.Time{}, strings.NewReader(string(data)))
			panic(http.ErrAbortHandler)
		}
		return false
	}
}

// limitedWriter breaks off; what it took is sent.
type limitedWriter struct {
	http.ResponseWriter
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	n, err := l.ResponseWriter.Write(p[:min(len(p), l.left)])
	l.left -= n
	_ = http.NewResponseController(l.ResponseWriter).Flush()
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

func random(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func serveTLS(t testing.TB, h http.Handler) (url, ca string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return s.URL, ca
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// quick are limits for tests: generous where a slow machine could be taken for a slow server.
func quick() Limits {
	return Limits{HeaderTimeout: 20 * time.Second, IdleTimeout: 20 * time.Second, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond, RetryAfterMax: 50 * time.Millisecond, Attempts: 4}
}

func client(t testing.TB, change func(*Config), urls ...string) *Client {
	t.Helper()
	cfg := Config{Hosts: urls, AllowLoopbackHTTP: true, Limits: quick()}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// want is a request for data in a new folder.
func want(t testing.TB, data []byte, urls ...string) Request {
	t.Helper()
	return Request{URLs: urls, Path: filepath.Join(t.TempDir(), "model"), Size: int64(len(data)), SHA256: sum(data)}
}

// only checks that the folder of a request holds exactly those files.
func only(t testing.TB, r Request, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(r.Path))
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if err != nil || !slices.Equal(got, names) {
		t.Errorf("the folder holds %q, want %q (%v)", got, names, err)
	}
}

func arrived(t testing.TB, r Request, data []byte) {
	t.Helper()
	if got, err := os.ReadFile(r.Path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes and not the %d signed (%v)", len(got), len(data), err)
	}
	only(t, r, "model")
}

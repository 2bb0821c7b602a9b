package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
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

func TestFileArrivesVerifiedAndIsNotFetchedTwice(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 3 << 20} {
		o := &object{data: random(n), etag: `"1"`}
		url, ca := serveTLS(t, o)
		c := client(t, func(c *Config) { c.TLS.CA = ca }, url)
		r := want(t, o.data, url+"/m")
		var steps []int64
		r.Progress = func(done, total int64) { steps = append(steps, done); _ = total }
		if err := c.File(limit(t), r); err != nil {
			t.Fatal(n, err)
		}
		arrived(t, r, o.data)
		if !slices.IsSorted(steps) || steps[0] != 0 || steps[len(steps)-1] != int64(n) {
			t.Errorf("progress %v", steps)
		}
		if err := c.File(limit(t), r); err != nil || len(o.requests()) > 1 {
			t.Errorf("again: %v, %d requests", err, len(o.requests()))
		}
		if s := c.Stats(); s.Received != int64(n) || n > 0 && s.Files != 1 || s.Retries+s.Restarted+s.Resumed != 0 {
			t.Errorf("%+v", s)
		}
	}
}

func TestAnotherFileOfThatNameStaysUntilTheNewOneIsWhole(t *testing.T) {
	o := &object{data: random(200_000)}
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, o.data, url)
	write(t, r.Path, []byte("the old one"))
	o.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true }
	if err := c.File(limit(t), r); err == nil {
		t.Fatal("no error")
	}
	if b, err := os.ReadFile(r.Path); err != nil || string(b) != "the old one" {
		t.Errorf("%q, %v", b, err)
	}
	only(t, r, "model")
	o.before = nil
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, o.data)
}

func TestWhatCannotBeAskedIsRefusedBeforeAnyRequest(t *testing.T) {
	c := client(t, nil, "https://models.example.com", "http://127.0.0.1:1")
	good := Request{URLs: []string{"https://models.example.com/m"}, Path: "/nonexistent/x", Size: 1, SHA256: sum(nil)}
	for url, want := range map[string]string{
		"https://evil.example.com/m?sig=SECRET":     "evil.example.com is not in the list",
		"https://models.example.com:444/m":          "is not in the list",
		"http://models.example.com/m":               "elsewhere https",
		"http://localhost:2/m":                      "is not in the list",
		"ftp://models.example.com/m":                "only https",
		"file:///etc/passwd":                        "only https",
		"https://models.example.com@evil.example/m": "a name or password",
		"https://u:SECRET@models.example.com/m":     "a name or password",
		"https://models.example.com.evil.example/m": "is not in the list",
		"https://models.example.com/%zz?sig=SECRET": "cannot be parsed",
		"//models.example.com/m":                    "only https",
	} {
		r := good
		r.URLs = []string{url}
		if err := c.File(limit(t), r); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", url, err)
		}
		if _, err := c.Bytes(limit(t), url, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
		if _, err := c.Put(limit(t), url, strings.NewReader("x"), 1, "text/plain"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
	for name, change := range map[string]func(*Request){
		"digest":   func(r *Request) { r.SHA256 = "abc" },
		"size":     func(r *Request) { r.Size = -1 },
		"no URL":   func(r *Request) { r.URLs = nil },
		"no path":  func(r *Request) { r.Path = "" },
		"a folder": func(r *Request) {},
	} {
		r := good
		change(&r)
		if err := c.File(limit(t), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/empty", nil)
	for name, cfg := range map[string]Config{
		"no host":         {},
		"no scheme":       {Hosts: []string{"models.example.com"}},
		"a path":          {Hosts: []string{"https://models.example.com/x"}},
		"http":            {Hosts: []string{"http://127.0.0.1"}},
		"http elsewhere":  {Hosts: []string{"http://models.example.com"}, AllowLoopbackHTTP: true},
		"no CA":           {Hosts: []string{"https://h"}, TLS: TLSFiles{CA: dir + "/none"}},
		"empty CA":        {Hosts: []string{"https://h"}, TLS: TLSFiles{CA: dir + "/empty"}},
		"key alone":       {Hosts: []string{"https://h"}, TLS: TLSFiles{Key: dir + "/empty"}},
		"bad certificate": {Hosts: []string{"https://h"}, TLS: TLSFiles{Cert: dir + "/empty", Key: dir + "/empty"}},
	} {
		if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "fetch: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBytes(t *testing.T) {
	o := &object{data: []byte(`{"signed":{}}`)}
	url := serve(t, o)
	c := client(t, nil, url)
	if b, err := c.Bytes(limit(t), url+"/1.root.json", 100); err != nil || !bytes.Equal(b, o.data) {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := c.Bytes(limit(t), url+"/1.root.json", int64(len(o.data))); err != nil || !bytes.Equal(b, o.data) {
		t.Errorf("to the byte: %q, %v", b, err)
	}
	if _, err := c.Bytes(limit(t), url, 12); !errors.Is(err, ErrSize) {
		t.Errorf("one byte too many: %v", err)
	}
	o.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusNotFound)
		return true
	}
	var status *StatusError
	if _, err := c.Bytes(limit(t), url, 12); !errors.As(err, &status) || status.Code != 404 || errors.Is(err, ErrPortal) {
		t.Errorf("none there: %v", err)
	}
	if n := len(o.requests()); n != 4 {
		t.Errorf("%d requests for 4 calls", n)
	}
	o.before = func(w http.ResponseWriter, r *http.Request) bool { // no length, and no end
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return true
			}
		}
	}
	if _, err := c.Bytes(limit(t), url, 1<<20); !errors.Is(err, ErrSize) {
		t.Errorf("endless: %v", err)
	}
	if got := c.Stats().Received; got > 2<<20 {
		t.Errorf("%d bytes read of an endless answer where 1 MiB was allowed", got)
	}
}

// budget grants what the test says.
type budget struct {
	mu    sync.Mutex
	left  int64
	pause time.Duration
	asked int64
}

func (b *budget) Allow(n int64) (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked += n
	if n > b.left {
		return time.Hour, false
	}
	b.left -= n
	return b.pause, true
}

func TestBudgetStopsAndTheRestComesLater(t *testing.T) {
	o := &object{data: random(1 << 20), etag: `"1"`}
	url := serve(t, o)
	b := &budget{left: 300_000, pause: time.Microsecond}
	c := client(t, func(c *Config) { c.Budget = b }, url)
	r := want(t, o.data, url)
	var spent *BudgetError
	if err := c.File(limit(t), r); !errors.As(err, &spent) || spent.Wait != time.Hour {
		t.Fatalf("got %v", err)
	}
	first := c.Stats().Received
	if first == 0 || first > 300_000 {
		t.Errorf("%d bytes on a budget of 300000", first)
	}
	if err := c.File(limit(t), r); !errors.As(err, &spent) {
		t.Fatalf("got %v", err)
	}
	if n := len(o.requests()); n != 1 {
		t.Errorf("%d requests: one was made on a budget that was spent", n)
	}
	b.left = 1 << 30
	before := b.left
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, o.data)
	if s := c.Stats(); s.Received != 1<<20 || s.Resumed != 1 {
		t.Errorf("%+v", s)
	}
	if used := before - b.left; used < 1<<20-first || used > 1<<20-first+blockSize {
		t.Errorf("%d granted for %d", used, 1<<20-first)
	}
	if _, err := c.Put(limit(t), url, strings.NewReader("much"), 4, "text/plain"); err != nil {
		t.Error(err)
	}
	b.left = 3
	if _, err := c.Put(limit(t), url, strings.NewReader("much"), 4, "text/plain"); !errors.As(err, &spent) {
		t.Errorf("put: %v", err)
	}
}

func TestSecondCallForTheSameFileIsTurnedAway(t *testing.T) {
	o := &object{data: random(1000)}
	inside, leave := make(chan bool), make(chan bool)
	o.before = func(http.ResponseWriter, *http.Request) bool { close(inside); <-leave; return false }
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, o.data, url)
	var first error
	var wg sync.WaitGroup
	wg.Go(func() { first = c.File(limit(t), r) })
	<-inside
	if err := c.File(limit(t), r); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	close(leave)
	wg.Wait()
	if first != nil {
		t.Error(first)
	}
	arrived(t, r, o.data)
}

func TestPut(t *testing.T) {
	data := random(300_000)
	var mu sync.Mutex
	var got []byte
	fail := 2
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if fail--; fail >= 0 { // without reading it
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.Method != http.MethodPut || r.ContentLength != int64(len(data)) || r.Header.Get("Content-Type") != "image/jpeg" {
			t.Errorf("%s, %d bytes, %v", r.Method, r.ContentLength, r.Header)
		}
		got, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
	}))
	c := client(t, nil, url)
	digest, err := c.Put(limit(t), url+"/snapshot.jpg?sig=SECRET", bytes.NewReader(data), int64(len(data)), "image/jpeg")
	if err != nil || digest != sum(data) || !bytes.Equal(got, data) {
		t.Errorf("%s, %v, %d bytes", digest, err, len(got))
	}
	if s := c.Stats(); s.Retries != 2 || s.Sent < int64(len(data)) {
		t.Errorf("%+v", s)
	}
	if _, err := c.Put(limit(t), url, bytes.NewReader(data), int64(len(data))+1, "image/jpeg"); err == nil || !strings.Contains(err.Error(), "300001 bytes") {
		t.Errorf("fewer bytes than said: %v", err)
	}
	if _, err := c.Put(limit(t), url, bytes.NewReader(data), int64(len(data))-1, "image/jpeg"); err == nil {
		t.Error("more bytes than said: no error")
	}
	mu.Lock()
	fail = 1000
	mu.Unlock()
	if _, err := c.Put(limit(t), url+"?sig=SECRET", bytes.NewReader(data), int64(len(data)), "image/jpeg"); err == nil || !strings.Contains(err.Error(), "4 tries in a row") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("got %v", err)
	}
}

// broken is a file on a disk that fails after its digest was computed.
type broken struct {
	*bytes.Reader
	seeks int
}

var errDisk = errors.New("the disk is gone")

func (b *broken) Seek(o int64, w int) (int64, error) { b.seeks++; return b.Reader.Seek(o, w) }
func (b *broken) Read(p []byte) (int, error) {
	if b.seeks > 2 {
		return 0, errDisk
	}
	return b.Reader.Read(p)
}

func TestPutOfAFileThatCannotBeReadIsNotTriedAgain(t *testing.T) {
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	c := client(t, nil, url)
	_, err := c.Put(limit(t), url, &broken{Reader: bytes.NewReader(random(100_000))}, 100_000, "x/y")
	if !errors.Is(err, errDisk) || c.Stats().Retries != 0 {
		t.Errorf("%v, %d retries", err, c.Stats().Retries)
	}
}

func TestAbsentURLQueriesInErrorsAndLogs(t *testing.T) {
	var log bytes.Buffer
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cut":
			panic(http.ErrAbortHandler)
		case "/redirect":
			http.Redirect(w, r, "https://elsewhere.example/login?token=SECRET", http.StatusFound)
		default:
			w.WriteHeader(500)
		}
	}))
	c := client(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}, url, "https://127.0.0.1:1")
	for _, u := range []string{url + "/cut?sig=SECRET", url + "/redirect?sig=SECRET", url + "/500?sig=SECRET", "https://127.0.0.1:1/refused?sig=SECRET"} {
		_, err := c.Bytes(limit(t), u, 10)
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v", err)
		}
		t.Log(err)
	}
	if strings.Contains(log.String(), "SECRET") || log.Len() == 0 {
		t.Errorf("%s", &log)
	}
}

func ExampleClient_File() {
	c, err := New(Config{Hosts: []string{"https://models.example.com"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	err = c.File(context.Background(), Request{URLs: []string{"https://elsewhere.example.com/m"}, Path: "m", Size: 1, SHA256: strings.Repeat("0", 64)})
	fmt.Println(err)
	// Output: fetch: https://elsewhere.example.com/m: the host elsewhere.example.com is not in the list of those that may be asked
}

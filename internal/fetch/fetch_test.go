package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

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
		if _, err := c.Get(limit(t), url, 1); err == nil || !strings.Contains(err.Error(), want) {
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

func TestGet(t *testing.T) {
	o := &object{data: []byte(`{"signed":{}}`)}
	url := serve(t, o)
	c := client(t, nil, url)
	if b, err := c.Get(limit(t), url+"/1.root.json", 100); err != nil || !bytes.Equal(b, o.data) {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := c.Get(limit(t), url+"/1.root.json", int64(len(o.data))); err != nil || !bytes.Equal(b, o.data) {
		t.Errorf("to the byte: %q, %v", b, err)
	}
	if _, err := c.Get(limit(t), url, 12); !errors.Is(err, ErrSize) {
		t.Errorf("one byte too many: %v", err)
	}
	o.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusNotFound)
		return true
	}
	var status *StatusError
	if _, err := c.Get(limit(t), url, 12); !errors.As(err, &status) || status.Code != 404 || errors.Is(err, ErrPortal) || !errors.Is(err, fs.ErrNotExist) {
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
	if _, err := c.Get(limit(t), url, 1<<20); !errors.Is(err, ErrSize) {
		t.Errorf("endless: %v", err)
	}
	if got := c.Stats().Received; got > 2<<20 {
		t.Errorf("%d bytes read of an endless answer where 1 MiB was allowed", got)
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
		_, err := c.Get(limit(t), u, 10)
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

func TestClientCertificateIsShownAndReadAnew(t *testing.T) {
	o := &object{data: []byte("for friends")}
	s := httptest.NewUnstartedServer(o)
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	der, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir+"/cert", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	write(t, dir+"/key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	c := client(t, func(c *Config) { c.TLS = TLSFiles{CA: dir + "/cert", Cert: dir + "/cert", Key: dir + "/key"} }, s.URL)
	if b, err := c.Get(limit(t), s.URL, 100); err != nil || !bytes.Equal(b, o.data) {
		t.Errorf("%q, %v", b, err)
	}
	c.Close() // the next connection reads the files again
	write(t, dir+"/key", nil)
	if _, err := c.Get(limit(t), s.URL, 100); err == nil || !strings.Contains(err.Error(), dir+"/cert") {
		t.Errorf("got %v", err)
	}
	without := client(t, func(c *Config) { c.TLS.CA = dir + "/cert" }, s.URL)
	if _, err := without.Get(limit(t), s.URL, 100); err == nil {
		t.Error("let in without a certificate")
	}
}

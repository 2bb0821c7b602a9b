package fetch

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestFault_N10_CaptivePortal(t *testing.T) {
	html := "<!DOCTYPE html><html><body>Welcome to the hotel"
	answer := func(kind, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			if kind != "" {
				w.Header().Set("Content-Type", kind)
			}
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	status := func(code int, location string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", location)
			w.WriteHeader(code)
			return true
		}
	}
	cases := map[string]func(http.ResponseWriter, *http.Request) bool{
		"a page":                     answer("text/html; charset=utf-8", html),
		"a page of the right size":   answer("text/html", html+strings.Repeat(" ", 1000-len(html))),
		"a page that says otherwise": answer("application/octet-stream", html+strings.Repeat(" ", 1000-len(html))),
		"with blanks in front":       answer("application/json", "\ufeff\r\n  <HTML>"+strings.Repeat(" ", 1000-14)),
		"a script":                   answer("application/octet-stream", "<script>location='/'</script>"+strings.Repeat(" ", 1000-29)),
		"a comment in front":         answer("", "\r\n<!-- hotel --><HTML>"+strings.Repeat(" ", 1000-24)),
		"XHTML, said nowhere":        answer("text/plain", "<?xml version=\"1.0\"?><!DOCTYPE html>"+strings.Repeat(" ", 1000-36)),
		"XHTML":                      answer("application/xhtml+xml", html),
		"redirected to a login":      status(302, "http://10.0.0.1/login?back=x"),
		"redirected to another's":    status(307, "https://portal.hotel.example/start"),
		"511":                        status(511, ""),
	}
	for name, before := range cases {
		t.Run(name, func(t *testing.T) {
			o := &object{before: before}
			url := serve(t, o)
			c := client(t, nil, url)
			r := want(t, random(1000), url)
			if err := c.File(limit(t), r); !errors.Is(err, ErrPortal) {
				t.Errorf("got %v", err)
			}
			only(t, r)
			if b, err := c.Get(limit(t), url, 5000); !errors.Is(err, ErrPortal) || b != nil {
				t.Errorf("small: %q, %v", b, err)
			}
			if s := c.Stats(); s.Portals != 2 || s.Retries != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestFault_N10_HijackedTLS(t *testing.T) {
	o := &object{data: random(10)}
	url, ca := serveTLS(t, o) // its certificate is for example.com and 127.0.0.1
	named := strings.Replace(url, "127.0.0.1", "localhost", 1)
	plain := strings.Replace(serve(t, o), "http:", "https:", 1)
	c := client(t, func(c *Config) { c.TLS.CA = ca }, named, plain)
	for _, u := range []string{named, plain} {
		r := want(t, o.data, u)
		if err := c.File(limit(t), r); !errors.Is(err, ErrPortal) {
			t.Errorf("%s: %v", u, err)
		}
		only(t, r)
	}
	c = client(t, nil, url) // the right name, an authority that we do not know
	if _, err := c.Get(limit(t), url, 10); err == nil || !strings.Contains(err.Error(), "the authority not configured") {
		t.Errorf("got %v", err)
	}
	late := time.Now().AddDate(90, 0, 0)
	c = client(t, func(c *Config) { c.TLS.CA, c.Now = ca, func() time.Time { return late } }, url)
	if _, err := c.Get(limit(t), url, 10); err == nil || !strings.Contains(err.Error(), "the clock may be wrong") {
		t.Errorf("got %v", err)
	}
	if n := len(o.requests()); n != 0 {
		t.Errorf("%d requests got through", n)
	}
}

func TestFault_N10_PortalInTheMiddleOfAFile(t *testing.T) {
	data := random(1 << 20)
	o := &object{data: data, etag: `"1"`}
	o.cutAt(1, 500_000)
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, data, url)
	r.Progress = func(done, _ int64) {
		if done == 500_000 {
			o.mu.Lock()
			o.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(w, "<html>pay here")
				return true
			}
			o.mu.Unlock()
		}
	}
	if err := c.File(limit(t), r); !errors.Is(err, ErrPortal) {
		t.Fatalf("got %v", err)
	}
	only(t, r, "model.part", "model.part.journal")
	o.before, r.Progress = nil, nil
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, data)
	if s := c.Stats(); s.Received != 1<<20 {
		t.Errorf("%+v: what was there was fetched again", s)
	}
}

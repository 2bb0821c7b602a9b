package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestFault_U7_StatusCodes(t *testing.T) {
	for code, tries := range map[int]int{400: 1, 401: 1, 403: 1, 404: 1, 410: 1, 408: 4, 425: 4, 429: 4, 500: 4, 501: 1, 502: 4, 503: 4, 504: 4, 204: 1, 304: 1, 206: 1} {
		o := &object{before: func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true }}
		url := serve(t, o)
		c := client(t, nil, url)
		r := want(t, random(100), url)
		var status *StatusError
		if err := c.File(limit(t), r); !errors.As(err, &status) || status.Code != code {
			t.Errorf("%d: %v", code, err)
		}
		if absent := code == 403 || code == 404 || code == 410; absent != errors.Is(getError(t, c, url), fs.ErrNotExist) {
			t.Errorf("%d: not there is %v", code, !absent)
		}
		if n := len(o.requests()) - min(3, tries); n != tries { // the rest are Get's
			t.Errorf("%d: asked %d times, want %d", code, n, tries)
		}
		only(t, r)
	}
}

func getError(t *testing.T, c *Client, url string) error {
	t.Helper()
	_, err := c.Get(limit(t), url, 100)
	return err
}

func TestFault_U7_ServerThatComesBack(t *testing.T) {
	o := &object{data: random(1000)}
	var n atomic.Int64
	o.before = func(w http.ResponseWriter, _ *http.Request) bool {
		if n.Add(1) <= 3 {
			w.WriteHeader(500)
			return true
		}
		return false
	}
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, o.data, url)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, o.data)
}

func TestFault_U7_Redirects(t *testing.T) {
	data := random(1000)
	good := &object{data: data}
	goodURL, ca := serveTLS(t, good)
	stranger := &object{data: data}
	strangerURL := serve(t, stranger)
	plain := &object{data: data}
	plainURL := serve(t, plain)
	var target string
	hop := &object{before: func(w http.ResponseWriter, r *http.Request) bool {
		to := target
		if to == "loop" {
			to = "/loop?" + strconv.Itoa(int(time.Now().UnixNano()))
		}
		http.Redirect(w, r, to, http.StatusFound)
		return true
	}}
	hopURL, hopCA := serveTLS(t, hop)
	both := t.TempDir() + "/both.pem"
	a, _ := os.ReadFile(ca)
	b, _ := os.ReadFile(hopCA)
	write(t, both, append(a, b...))
	c := client(t, func(c *Config) { c.TLS.CA = both }, hopURL, goodURL, plainURL)
	cases := map[string]error{
		goodURL + "/m":                      nil,
		"loop":                              ErrRedirect,
		strangerURL + "/m":                  ErrRedirect,
		plainURL + "/m":                     ErrRedirect, // allowed to ask, but not from https
		"https://evil.example/m?sig=SECRET": ErrRedirect,
		"file:///etc/passwd":                ErrRedirect,
	}
	refused := int64(0)
	for to, expect := range cases {
		target = to
		before := len(hop.requests())
		r := want(t, data, hopURL+"/m")
		err := c.File(limit(t), r)
		if !errors.Is(err, expect) {
			t.Errorf("%s: %v", to, err)
		}
		if expect != nil {
			only(t, r)
			refused++
			if err == nil || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%v", err)
			}
		} else {
			arrived(t, r, data)
		}
		if n := len(hop.requests()) - before; n > maxRedirects+1 {
			t.Errorf("%s: %d requests", to, n)
		}
	}
	if n := len(stranger.requests()) + len(plain.requests()); n != 0 {
		t.Errorf("strangers were asked %d times", n)
	}
	if s := c.Stats(); s.RedirectsRefused != refused {
		t.Errorf("%+v", s)
	}
	target = goodURL
	if _, err := c.Put(limit(t), hopURL, bytes.NewReader(data), 1000, "x/y"); !errors.Is(err, ErrRedirect) {
		t.Errorf("an upload: %v", err)
	}
}

func TestFault_N13_RetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	wrong := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	date := func(t time.Time) string { return t.Format(http.TimeFormat) }
	cases := map[string]struct {
		after, date string
		min, max    time.Duration
	}{
		"seconds":             {"120", "", 120 * time.Second, 180 * time.Second},
		"nearly the cap":      {"290", "", 290 * time.Second, 300 * time.Second},
		"a year":              {"31536000", "", 270 * time.Second, 300 * time.Second},
		"more than fits":      {"99999999999999999999999", "", 270 * time.Second, 300 * time.Second},
		"a date":              {date(now.Add(100 * time.Second)), date(now), 100 * time.Second, 160 * time.Second},
		"a date in a year":    {date(now.AddDate(1, 0, 0)), date(now), 270 * time.Second, 300 * time.Second},
		"a date in the past":  {date(now.Add(-time.Hour)), date(now), 0, 60 * time.Second},
		"a date, no date now": {date(now), "", 270 * time.Second, 300 * time.Second},
		"negative":            {"-1", "", 0, 60 * time.Second},
		"rubbish":             {"soon", "", 0, 60 * time.Second},
		"nothing":             {"", "", 0, 60 * time.Second},
	}
	for name, tc := range cases {
		j := job{c: client(t, func(c *Config) { c.Limits = Limits{}; c.Now = func() time.Time { return wrong } }, "https://h")}
		j.pause.Min, j.pause.Max = time.Second, time.Minute
		h := http.Header{"Retry-After": {tc.after}, "Date": {tc.date}}
		seen := map[time.Duration]bool{}
		for range 20 {
			w := j.wait(j.retryAfter(h))
			if seen[w] = true; w < tc.min || w > tc.max {
				t.Errorf("%s: %v, want %v to %v", name, w, tc.min, tc.max)
			}
		}
		if len(seen) < 3 {
			t.Errorf("%s: a fleet would come back at once: %v", name, seen)
		}
	}

	o := &object{data: random(1000)}
	var n atomic.Int64
	o.before = func(w http.ResponseWriter, _ *http.Request) bool {
		if n.Add(1) > 2 {
			return false
		}
		w.Header().Set("Retry-After", "31536000")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	url := serve(t, o)
	c := client(t, nil, url) // with a cap of 50 ms
	r := want(t, o.data, url)
	var told []error
	r.Waits = func(why error) { told = append(told, why) }
	start := time.Now()
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || !strings.Contains(told[0].Error(), "503") {
		t.Errorf("why it waits was told as %v", told)
	}
	if d := time.Since(start); d < 80*time.Millisecond {
		t.Errorf("after %v: the server asked for patience", d)
	}
	arrived(t, r, o.data)
}

func TestFault_N13_WaitEndsWithTheContext(t *testing.T) {
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "300")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	c := client(t, func(c *Config) { c.Limits = Limits{} }, url)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	r := want(t, random(10), url)
	if err := c.File(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	only(t, r)
}

// A small file is given up soon, so that people are told why; a large one is not.
func TestSmallFilesAreGivenUpSoon(t *testing.T) {
	for _, c := range []struct{ allowed, tries int }{{0, 3}, {2, 2}} {
		asked := 0
		url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(http.StatusBadGateway) }))
		client := client(t, func(conf *Config) { conf.Limits.Attempts = c.allowed }, url)
		if _, err := client.Get(limit(t), url, 100); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d tries in a row", c.tries)) || asked != c.tries {
			t.Errorf("asked %d times: %v", asked, err)
		}
	}
}

// A try that brings bytes is no reason to give up; one that drips is.
func TestProgressResetsTheAttempts(t *testing.T) {
	for step, ok := range map[int]bool{100_000: true, 1000: false} {
		o := &object{data: random(2 << 20), etag: `"1"`}
		o.cutAt(1000, step)
		url := serve(t, o)
		c := client(t, nil, url)
		r := want(t, o.data, url)
		err := c.File(limit(t), r)
		if ok != (err == nil) {
			t.Errorf("cut every %d bytes: %v", step, err)
		}
		if n := len(o.requests()); !ok && n != 4 {
			t.Errorf("%d tries", n)
		}
	}
}

package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
)

func TestChangedObjectsAreBegunAnew(t *testing.T) {
	old, data := random(1<<20), random(1<<20 + 1)[:1<<20]
	type next = func(o *object) func(w http.ResponseWriter, r *http.Request) bool
	header := func(kv ...string) next {
		return func(o *object) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Range") == "" {
					return false
				}
				w.Header().Set("Content-Type", "application/octet-stream")
				for i := 0; i < len(kv); i += 2 {
					w.Header().Set(kv[i], kv[i+1])
				}
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(data[500_000:])
				return true
			}
		}
	}
	cases := map[string]struct {
		then     next
		requests int
	}{
		"If-Range, 200": {nil, 2},
		"no ranges at all": {func(o *object) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool { r.Header.Del("Range"); return false }
		}, 2},
		"206 in spite of another ETag": {header("ETag", `"2"`, "Content-Range", "bytes 500000-1048575/1048576"), 3},
		"206 without the ETag":         {header("Content-Range", "bytes 500000-1048575/1048576"), 3},
		"another range":                {header("ETag", `"1"`, "Content-Range", "bytes 400000-1048575/1048576"), 3},
		"another length":               {header("ETag", `"1"`, "Content-Range", "bytes 500000-1048576/1048577", "Content-Length", "548577"), 3},
		"an earlier end":               {header("ETag", `"1"`, "Content-Range", "bytes 500000-600000/1048576"), 3},
		"no Content-Range":             {header("ETag", `"1"`), 3},
		"rubbish as Content-Range":     {header("ETag", `"1"`, "Content-Range", "bytes -1-9223372036854775808/*"), 3},
		"416": {func(o *object) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				}
				return r.Header.Get("Range") != ""
			}
		}, 3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o := &object{data: old, etag: `"1"`}
			o.cutAt(1, 500_000)
			url := serve(t, o)
			c := client(t, nil, url)
			r := want(t, data, url)
			r.Progress = func(done, _ int64) {
				if done == 500_000 {
					o.set(data, `"2"`)
					if tc.then != nil {
						o.mu.Lock()
						o.before = tc.then(o)
						o.mu.Unlock()
					}
				}
			}
			if err := c.File(limit(t), r); err != nil {
				t.Fatal(err)
			}
			arrived(t, r, data)
			if s := c.Stats(); s.Restarted != 1 {
				t.Errorf("%+v", s)
			}
			if n := len(o.requests()); n != tc.requests {
				t.Errorf("%d requests %q, want %d", n, o.requests(), tc.requests)
			}
		})
	}
}

func TestObjectThatKeepsChangingIsGivenUp(t *testing.T) {
	data := random(1 << 20)
	var n atomic.Int64
	o := &object{data: data}
	o.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n.Add(1)))
		lw := &limitedWriter{ResponseWriter: w, left: 200_000}
		lw.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = lw.Write(data)
		panic(http.ErrAbortHandler)
	}
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, data, url)
	if err := c.File(limit(t), r); !errors.Is(err, ErrChanging) {
		t.Errorf("got %v", err)
	}
	if s := c.Stats(); s.Restarted != maxRestarts+1 {
		t.Errorf("%+v", s)
	}
	only(t, r, "model.part", "model.part.journal")
}

func TestMirrors(t *testing.T) {
	data := random(1 << 20)
	good := &object{data: data, etag: `"g"`}
	other := &object{data: data, etag: `"other server, other tag"`}
	lying := &object{data: append([]byte{^data[0]}, data[1:]...), etag: `"x"`}
	gone := http.NotFoundHandler()
	goodURL, otherURL, lyingURL, goneURL := serve(t, good), serve(t, other), serve(t, lying), serve(t, gone)
	c := client(t, nil, goodURL, otherURL, lyingURL, goneURL, "http://127.0.0.1:1")

	r := want(t, data, goneURL, "http://127.0.0.1:1", lyingURL, goodURL)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, data)
	if n := len(lying.requests()); n != 1 {
		t.Errorf("the lying mirror was asked %d times", n)
	}

	// a cut without progress: the next mirror continues, under another tag
	good.cutAt(1, 50_000)
	r = want(t, data, goodURL, otherURL)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, data)
	if q := other.requests(); len(q) != 1 || q[0] != "bytes=50000-" {
		t.Errorf("the second mirror was asked for %q", q)
	}

	// the beginning from a liar, the rest from the honest one: begun anew, and nobody blamed for the mixture
	lying.cutAt(1, 50_000)
	good.before = nil
	r = want(t, data, lyingURL, goodURL)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, data)

	r = want(t, data, goneURL, lyingURL)
	err := c.File(limit(t), r)
	var status *StatusError
	if !errors.Is(err, ErrDigest) || !errors.As(err, &status) {
		t.Errorf("both reasons: %v", err)
	}
	only(t, r)
}

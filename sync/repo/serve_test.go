package repo

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

func TestServeGivesRangesAndNothingElse(t *testing.T) {
	r := made(t)
	if _, err := r.Add(bundle(t, "0123456789"), "bottles/1", nil); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, r.Public()) }()
	base := "http://" + l.Addr().String()
	get := func(path, ranged string) (int, string, http.Header) {
		req, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ranged != "" {
			req.Header.Set("Range", ranged)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body), res.Header
	}
	files, err := filepath.Glob(filepath.Join(r.Public(), "targets", "bottles", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	name := "/targets/bottles/" + filepath.Base(files[0])
	if code, body, h := get(name, "bytes=4-"); code != http.StatusPartialContent || body != "456789" || h.Get("ETag") == "" {
		t.Errorf("%d %q %v", code, body, h)
	}
	for _, path := range []string{"/", "/metadata/", "/../keys/root-1.key", "/..%2fkeys%2froot-1.key", "/settings.json", "/metadata/9.root.json"} {
		if code, body, _ := get(path, ""); code != http.StatusNotFound {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

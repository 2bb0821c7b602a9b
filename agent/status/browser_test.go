//go:build browser

package status

import (
	"context"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// dump renders the page in a browser and returns the DOM after the scripts ran.
func dump(t *testing.T, url string) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium on this machine (apt-get install chromium)")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--no-first-run", "--user-data-dir="+t.TempDir(), "--virtual-time-budget=8000", "--dump-dom", url).Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return string(out)
}

// silentAfter answers the page so often and then no more, as a device whose plug was pulled.
func silentAfter(pages int, change func()) func(*Server) {
	return func(s *Server) {
		next := s.http.Handler
		s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				if pages--; pages < 0 {
					panic(http.ErrAbortHandler)
				}
				defer change()
			}
			next.ServeHTTP(w, r)
		})
	}
}

func TestBrowserShowsNewStatesAndPictures(t *testing.T) {
	d := &device{picture: bottle}
	d.set(working(time.Now()))
	s := serve(t, d, silentAfter(1000, func() { d.set(troubled(time.Now())) }))
	dom := dump(t, "http://"+s.Addr()+"/")
	for _, want := range []string{"Clean the lens", "with trouble</title>", "src=\"blob:", `id="stale" role="alert" hidden=""`} {
		if !strings.Contains(dom, want) {
			t.Errorf("not on the page: %s", want)
		}
	}
	if strings.Contains(dom, "91.2 %") {
		t.Error("an answer that no longer holds is still on the page")
	}
}

func TestBrowserSaysWhenNoAnswerComes(t *testing.T) {
	d := &device{picture: bottle}
	d.set(working(time.Now()))
	s := serve(t, d, silentAfter(2, func() {}))
	dom := dump(t, "http://"+s.Addr()+"/")
	for _, want := range []string{"No answer from the device since", "is from then, not from now", `<body class="stale">`, "<title>No answer</title>"} {
		if !strings.Contains(dom, want) {
			t.Errorf("not on the page: %s", want)
		}
	}
}

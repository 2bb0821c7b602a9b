package status

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// ask sends one request and returns code, body and header.
func ask(t testing.TB, s *Server, method, path string, change ...func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(r)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func TestURLs(t *testing.T) {
	d := &device{picture: bottle}
	d.set(working(noon))
	s := serve(t, d)
	for _, c := range []struct {
		path, kind, has string
		code            int
	}{
		{"/", "text/html; charset=utf-8", "scratched", 200},
		{"/page.css", "text/css; charset=utf-8", "--paper", 200},
		{"/page.js", "text/javascript; charset=utf-8", "morph", 200},
		{"/healthz", "text/plain; charset=utf-8", "ok", 200},
		{"/readyz", "text/plain; charset=utf-8", "ready", 200},
		{"/api/v1/status", "application/json", `"scratched"`, 200},
		{"/metrics", "text/plain", "heron_frames_total", 200},
		{"/snapshot/front.jpg", "image/jpeg", "\xff\xd8", 200},
		{"/snapshot/front.jpg?width=320", "image/jpeg", "\xff\xd8", 200},
		{"/snapshot/front.jpg?width=1e9", "text/plain; charset=utf-8", "from 16 to 4096", 400},
		{"/snapshot/back.jpg", "text/plain; charset=utf-8", "this device has: front", 404},
		{"/snapshot/front", "text/plain; charset=utf-8", "/snapshot/NAME.jpg", 404},
		{"/snapshot/front.jpg?draw=2", "text/plain; charset=utf-8", "draw is 0 or 1", 400},
		{"/stream/back.mjpg", "text/plain; charset=utf-8", "this device has: front", 404},
		{"/stream/front.jpg", "text/plain; charset=utf-8", "/stream/NAME.mjpg", 404},
		{"/stream/front.mjpg?fps=11", "text/plain; charset=utf-8", "from 0.1 to 10", 400},
		{"/stream/front.mjpg?fps=NaN", "text/plain; charset=utf-8", "from 0.1 to 10", 400},
		{"/stream/front.mjpg?width=9999", "text/plain; charset=utf-8", "from 16 to 4096", 400},
		{"/stream/front.mjpg?draw=yes", "text/plain; charset=utf-8", "draw is 0 or 1", 400},
		{"/favicon.ico", "text/plain; charset=utf-8", "not found", 404},
		{"/page.go", "text/plain; charset=utf-8", "not found", 404},
	} {
		code, body, h := ask(t, s, "GET", c.path)
		if code != c.code || !strings.HasPrefix(h.Get("Content-Type"), c.kind) || !strings.Contains(body, c.has) {
			t.Errorf("GET %s: %d %s %.200q", c.path, code, h.Get("Content-Type"), body)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("GET %s: without the headers that protect: %v", c.path, h)
		}
		if code, body, _ := ask(t, s, "HEAD", c.path); code != c.code || body != "" {
			t.Errorf("HEAD %s: %d with a body of %d bytes", c.path, code, len(body))
		}
	}
}

func TestReadyTellsWhyNot(t *testing.T) {
	d := &device{}
	s := serve(t, d)
	d.set(troubled(noon)) // offline and covered: the device still does its job
	if code, body, _ := ask(t, s, "GET", "/readyz"); code != 200 || body != "ready\n" {
		t.Errorf("degraded: %d %q", code, body)
	}
	d.set(broken(noon))
	code, body, _ := ask(t, s, "GET", "/readyz")
	want := "model-refused: Model bottles 1.4.2 is refused: labels.txt has 5 labels, the model answers 4; Put the label file that belongs to this model into the bundle\n" +
		"camera-lost: Camera front: cannot open /dev/video0: no such file or directory; Plug the camera in; heron camera list shows what is there\n"
	if code != 503 || body != want {
		t.Errorf("failed: %d %q", code, body)
	}
	d.set(Snapshot{State: Failed})
	if code, _, _ := ask(t, s, "GET", "/readyz"); code != 503 {
		t.Errorf("failed without reasons: %d", code)
	}
	if code, _, _ := ask(t, s, "GET", "/healthz"); code != 200 {
		t.Errorf("healthz of a process that lives: %d", code)
	}
}

func TestStatusIsTheSnapshot(t *testing.T) {
	d := &device{}
	s := serve(t, d)
	d.set(troubled(noon))
	_, body, _ := ask(t, s, "GET", "/api/v1/status")
	var got Snapshot
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := troubled(noon)
	want.fill(noon)
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		t.Errorf("got  %s\nwant %s", a, b)
	}
	d.set(Snapshot{Cameras: []Camera{{Last: &Last{}}}})
	if _, body, _ = ask(t, s, "GET", "/api/v1/status"); strings.Contains(body, "null") || strings.Contains(body, "0001-01-01T00:00:00Z\",\n  \"next") {
		t.Errorf("an empty snapshot has null: %s", body)
	}
}

func TestPictureSaysWhatItsOwnFrameBecame(t *testing.T) {
	d := &device{picture: bottle}
	d.set(troubled(noon))
	s := serve(t, d)
	r, err := http.Get("http://" + s.Addr() + "/snapshot/front.jpg")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got, err := url.PathUnescape(r.Header.Get("Heron-Caption")); err != nil || got != "frame 7: größer 91.0 %" {
		t.Errorf("caption %q, %v", got, err)
	}
}

func TestPictureFailuresHaveTheirReason(t *testing.T) {
	d := &device{}
	d.set(working(noon))
	s := serve(t, d)
	if code, body, _ := ask(t, s, "GET", "/snapshot/front.jpg"); code != 503 || body != "no picture of front: the camera has delivered no frame yet\n" {
		t.Errorf("%d %q", code, body)
	}
	d.picture = func(context.Context, string, int) ([]byte, error) { return []byte("<script>"), nil }
	if code, body, _ := ask(t, s, "GET", "/snapshot/front.jpg"); code != 503 || !strings.Contains(body, "not a JPEG") {
		t.Errorf("%d %q", code, body)
	}
}

func TestPicturesAtATimeAreBounded(t *testing.T) {
	hold, inside := make(chan struct{}), make(chan struct{}, maxPictures)
	d := &device{picture: func(context.Context, string, int) ([]byte, error) {
		inside <- struct{}{}
		<-hold
		return nil, errors.New("late")
	}}
	d.set(working(noon))
	s := serve(t, d)
	done := make(chan struct{})
	for range maxPictures {
		go func() {
			defer func() { done <- struct{}{} }()
			res, err := http.Get("http://" + s.Addr() + "/snapshot/front.jpg")
			if err == nil {
				res.Body.Close()
			}
		}()
	}
	for range maxPictures {
		<-inside
	}
	if code, body, _ := ask(t, s, "GET", "/snapshot/front.jpg"); code != 503 || !strings.Contains(body, "too many pictures") {
		t.Errorf("%d %q", code, body)
	}
	close(hold)
	for range maxPictures {
		<-done
	}
}

func TestListenErrorsSayWhatToDo(t *testing.T) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for listen, want := range map[string]string{
		first.Addr().String(): " is in use by another program; end it (find it with: ss -ltnp 'sport = :",
		"192.0.2.1:8642":      "this device has no address 192.0.2.1:8642; set status.listen to one it has, or to 0.0.0.0:8642 for all",
	} {
		s, err := New(Config{Listen: listen}, &device{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Listen()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), listen) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", listen, err)
		}
		if err := s.Run(context.Background()); err == nil {
			t.Errorf("%s: Run went on", listen)
		}
	}
	for _, listen := range []string{"", "here", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", ":-1"} {
		if _, err := New(Config{Listen: listen}, &device{}); err == nil || !strings.HasPrefix(err.Error(), "status.listen: ") {
			t.Errorf("%q: %v", listen, err)
		}
	}
}

func TestRunEndsWithRequestsUnderWay(t *testing.T) {
	inside := make(chan struct{}, 1)
	d := &device{picture: func(ctx context.Context, _ string, _ int) ([]byte, error) {
		inside <- struct{}{}
		<-ctx.Done() // ends with the server, long before its own deadline
		return nil, ctx.Err()
	}}
	d.set(working(noon))
	s, err := New(Config{Listen: "127.0.0.1:0"}, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, asked := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(ctx) }()
	go func() {
		defer close(asked)
		if res, err := http.Get("http://" + s.Addr() + "/snapshot/front.jpg"); err == nil {
			res.Body.Close()
		}
	}()
	<-inside
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not end")
	}
	<-asked
	if _, err := net.DialTimeout("tcp", s.Addr(), time.Second); err == nil {
		t.Error("the address is still listened on")
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: not within 30 s", what)
}

package line

import (
	"context"
	"image"
	"image/jpeg"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"testing"
	"time"

	"heron/camera"
)

// started runs a camera until the test ends.
func started(t *testing.T, cfg CameraConfig) *Camera {
	t.Helper()
	c, err := NewCamera(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the camera did not stop")
		}
	})
	return c
}

// parts opens the stream.
func parts(t *testing.T, url string) *multipart.Reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/x-mixed-replace" {
		t.Fatalf("content type %q, %v", kind, err)
	}
	return multipart.NewReader(resp.Body, params["boundary"])
}

func TestStreamIsPicturesWithLengths(t *testing.T) {
	c := started(t, CameraConfig{FPS: 30, Seed: 1})
	r := parts(t, c.URL())
	for range 3 {
		p, err := r.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(p.Header.Get("Content-Length"))
		cr := &counted{r: p}
		img, err := jpeg.Decode(cr)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, cr)
		if b := img.Bounds(); b.Dx() != Width || b.Dy() != Height {
			t.Errorf("picture of %v", b)
		}
		if cr.n != n {
			t.Errorf("Content-Length %d, part of %d bytes", n, cr.n)
		}
	}
	if c.Frames() < 3 {
		t.Errorf("%d frames counted, 3 seen", c.Frames())
	}
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

// A camera that nobody watches must not cost anything, and a second viewer must not double the work.
func TestDrawsOnlyForViewers(t *testing.T) {
	c := started(t, CameraConfig{FPS: 50, Seed: 1})
	time.Sleep(100 * time.Millisecond)
	if n := c.Frames(); n != 0 {
		t.Errorf("%d frames without a viewer", n)
	}
	a, b := parts(t, c.URL()), parts(t, c.URL())
	for range 3 {
		if _, err := a.NextPart(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.NextPart(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTruthIsWhatIsShown(t *testing.T) {
	c, err := NewCamera(CameraConfig{Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	line := c.stage.timeline
	at := func(d time.Duration) time.Time { return c.zero.Add(d) }
	seen := map[Class]int{}
	for since := time.Duration(0); since < 5*time.Minute; {
		p, _ := line.at(since)
		seen[p.class]++
		if got, ok := c.Truth(at(p.start+slide), at(p.end-1)); !ok || got.Class != p.class || got.Covered {
			t.Fatalf("at rest: %+v, %v; it shows %v", got, ok, p.class)
		}
		if got, ok := c.Truth(at(p.start+slide/2), at(p.end-1)); ok {
			t.Fatalf("sliding in: %+v is judged", got)
		}
		if got, ok := c.Truth(at(p.end-time.Millisecond), at(p.end+time.Millisecond)); ok {
			t.Fatalf("across a change: %+v is judged", got)
		}
		if rest := p.end - p.start - slide; rest < restMin || rest > restMin+restRange {
			t.Fatalf("rests for %v", rest)
		}
		since = p.end
	}
	for _, class := range Classes() {
		if seen[class] < 20 {
			t.Errorf("%v was shown %d times in five minutes", class, seen[class])
		}
	}
	if _, ok := c.Truth(at(-2*time.Second), at(-time.Second)); ok {
		t.Error("judged before the camera began")
	}
}

func TestTruthUnderTheHand(t *testing.T) {
	c, err := NewCamera(CameraConfig{Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Cover(true)
	c.Cover(true) // twice is once
	from := time.Now()
	time.Sleep(20 * time.Millisecond)
	to := time.Now()
	if !c.Covered() {
		t.Fatal("not covered")
	}
	if got, ok := c.Truth(from, to); !ok || !got.Covered {
		t.Errorf("under the hand: %+v, %v", got, ok)
	}
	time.Sleep(time.Millisecond)
	c.Cover(false)
	if c.Covered() {
		t.Error("still covered")
	}
	if got, ok := c.Truth(from, to); !ok || !got.Covered {
		t.Errorf("afterwards, of then: %+v, %v", got, ok)
	}
	if _, ok := c.Truth(to, time.Now().Add(time.Second)); ok {
		t.Error("half covered is judged")
	}
}

// Heron's own eyes must see the hand for what it is, and nothing wrong with the line.
func TestQualityFactsAgree(t *testing.T) {
	picture := NewPicture()
	drawHand(picture, 1)
	if facts := new(camera.Quality).Assess(frame(picture), true); len(facts) != 1 || facts[0] != camera.Covered {
		t.Errorf("the hand is %v", facts)
	}
	for seed := range uint64(4) {
		Draw(seed, Classes()[seed%4], picture)
		if facts := new(camera.Quality).Assess(frame(picture), true); len(facts) > 0 {
			t.Errorf("seed %d is %v", seed, facts)
		}
	}
}

func frame(p *image.RGBA) *camera.Frame {
	f := &camera.Frame{Width: Width, Height: Height, Stride: 3 * Width, At: time.Now()}
	for y := range Height {
		for x := range Width {
			c := p.RGBAAt(x, y)
			f.Pix = append(f.Pix, c.B, c.G, c.R)
		}
	}
	return f
}

func TestTimelineForgetsButGoesOn(t *testing.T) {
	l := newTimeline(1)
	last, _ := l.at(48 * time.Hour)
	if len(l.plans) > keptPlans || l.dropped == 0 {
		t.Errorf("%d visits kept, %d forgotten", len(l.plans), l.dropped)
	}
	again, before := l.at(48 * time.Hour)
	if *again != *last || before == nil {
		t.Error("the same time gives another visit")
	}
	if _, ok := l.class(0, time.Second); ok {
		t.Error("a forgotten time is judged")
	}
}

func TestNewCameraRefuses(t *testing.T) {
	for _, cfg := range []CameraConfig{{FPS: -1}, {Quality: 101}, {Addr: "256.0.0.1:0"}} {
		if c, err := NewCamera(cfg); err == nil {
			c.Close()
			t.Errorf("%+v was taken", cfg)
		}
	}
}

package line

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"net"
	"net/http"
	"sync"
	"time"
)

// CameraConfig of a Camera.
type CameraConfig struct {
	Addr    string  // host:port to listen on; default 127.0.0.1:0
	FPS     float64 // frames a second; default 15
	Seed    uint64  // of the line's programme
	Quality int     // of the JPEGs; default 85
}

// Camera is the line's camera: it serves a live MJPEG stream over HTTP (multipart/x-mixed-replace, a Content-Length for every part) at URL,
// and knows what it showed when. It draws only while somebody watches. Its methods may be called from any goroutine.
type Camera struct {
	cfg   CameraConfig
	ln    net.Listener
	zero  time.Time
	stage stage

	mu      sync.Mutex
	jpeg    []byte        // newest picture; replaced, never written into
	fresh   chan struct{} // closed when jpeg is replaced
	viewers int
	frames  uint64
	covers  []coverage
}

// coverage is a time during which a hand was over the lens; a zero to means it still is.
type coverage struct{ from, to time.Time }

const keptCovers = 10_000

// NewCamera listens on the configured address; nothing is drawn or answered before Run. Close it with Close if Run is never called.
func NewCamera(cfg CameraConfig) (*Camera, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.FPS == 0 {
		cfg.FPS = 15
	}
	if cfg.Quality == 0 {
		cfg.Quality = 85
	}
	if cfg.FPS < 0 || cfg.Quality < 1 || cfg.Quality > 100 {
		return nil, fmt.Errorf("demo camera: %v frames a second at quality %d: the rate must be above 0, the quality 1 to 100", cfg.FPS, cfg.Quality)
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("demo camera: %w", err)
	}
	return &Camera{cfg: cfg, ln: ln, zero: time.Now(), fresh: make(chan struct{}), stage: stage{timeline: newTimeline(cfg.Seed)}}, nil
}

// URL is where the stream is.
func (c *Camera) URL() string { return "http://" + c.ln.Addr().String() + "/line.mjpg" }

// Close frees the address of a camera that was never run.
func (c *Camera) Close() error { return c.ln.Close() }

// Run draws and serves until ctx ends; then every stream ends too.
func (c *Camera) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /line.mjpg", c.serve)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(c.ln) }()
	err := c.film(ctx, served)
	stop() // the streams' handlers see it
	patience, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if srv.Shutdown(patience) != nil {
		srv.Close()
	}
	if err == nil { // else it was film that saw the server end
		<-served
	}
	return err
}

// film draws a frame at every tick while there are viewers, until ctx ends (nil) or the server fails.
func (c *Camera) film(ctx context.Context, served <-chan error) error {
	tick := time.NewTicker(time.Duration(float64(time.Second) / c.cfg.FPS))
	defer tick.Stop()
	picture := NewPicture()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return fmt.Errorf("demo camera: serve: %w", err)
		case <-tick.C:
		}
		if !c.watched() {
			continue
		}
		if err := c.shoot(picture); err != nil {
			return fmt.Errorf("demo camera: %w", err)
		}
	}
}

func (c *Camera) watched() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.viewers > 0
}

// shoot draws the present and publishes it.
func (c *Camera) shoot(picture *image.RGBA) error {
	now := time.Now()
	if c.coveredAt(now) {
		drawHand(picture, uint64(now.UnixNano()))
	} else {
		c.stage.draw(picture, now.Sub(c.zero))
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: c.cfg.Quality}); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jpeg = b.Bytes()
	c.frames++
	close(c.fresh)
	c.fresh = make(chan struct{})
	return nil
}

// drawHand is what a lens sees under a hand: a dull warm glow without structure.
func drawHand(dst *image.RGBA, seed uint64) {
	d := newDice(seed, 7)
	for y := range Height {
		grain := d.IntN(3)
		row := dst.Pix[y*dst.Stride:][:4*Width]
		for x := 0; x < len(row); x += 4 {
			glow := (x/4+y)/140 + grain // 0 to 9
			row[x], row[x+1], row[x+2], row[x+3] = uint8(46+2*glow), uint8(20+glow), uint8(16+glow), 255
		}
	}
}

const boundary = "heron-frame"

func (c *Camera) serve(w http.ResponseWriter, r *http.Request) {
	c.watch(1)
	defer c.watch(-1)
	w.Header().Set("Content-Type", "multipart/x-mixed-replace; boundary="+boundary)
	w.Header().Set("Cache-Control", "no-store")
	rc := http.NewResponseController(w)
	for {
		picture, err := c.next(r.Context())
		if err != nil {
			return
		}
		if err := rc.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return
		}
		// the boundary comes first and last, so that a reader knows a part's end without waiting for the next
		if _, err := fmt.Fprintf(w, "--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", boundary, len(picture), picture); err != nil {
			return
		}
		if err := rc.Flush(); err != nil {
			return
		}
	}
}

func (c *Camera) watch(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.viewers += n
}

// next waits for a picture that is newer than the call.
func (c *Camera) next(ctx context.Context) ([]byte, error) {
	c.mu.Lock()
	fresh := c.fresh
	c.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-fresh:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jpeg, nil
}

// Cover puts a hand over the lens, or takes it away.
func (c *Camera) Cover(on bool) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.covers)
	covered := n > 0 && c.covers[n-1].to.IsZero()
	switch {
	case on && !covered:
		if n == keptCovers {
			c.covers = append(c.covers[:0], c.covers[keptCovers/2:]...)
		}
		c.covers = append(c.covers, coverage{from: now})
	case !on && covered:
		c.covers[n-1].to = now
	}
}

// Covered says whether a hand is over the lens now.
func (c *Camera) Covered() bool { return c.coveredAt(time.Now()) }

func (c *Camera) coveredAt(t time.Time) bool {
	covered, err := c.covered(t, t)
	return err == nil && covered
}

var errMixed = errors.New("covered for a part of the time")

// covered says whether the lens was covered during all of [from, to] (true), none of it (false), or a part (errMixed).
func (c *Camera) covered(from, to time.Time) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.covers {
		open := h.to.IsZero()
		if !h.from.After(from) && (open || h.to.After(to)) {
			return true, nil
		}
		if h.from.Before(to) && (open || h.to.After(from)) {
			return false, errMixed
		}
	}
	return false, nil
}

// Truth is what the camera showed.
type Truth struct {
	Class   Class
	Covered bool // a hand was over the lens; Class means nothing
}

// Truth says what every frame drawn in [from, to] showed, or false where frames of that time differ, show a bottle on the move, or are
// none of this camera's. A reader that gets its frames late asks for an interval that begins earlier by its delay.
func (c *Camera) Truth(from, to time.Time) (Truth, bool) {
	covered, err := c.covered(from, to)
	if err != nil {
		return Truth{}, false
	}
	if covered {
		return Truth{Covered: true}, true
	}
	class, ok := c.stage.timeline.class(from.Sub(c.zero), to.Sub(c.zero))
	return Truth{Class: class}, ok
}

// Now is what the camera shows at this moment, moving or not.
func (c *Camera) Now() Truth {
	now := time.Now()
	p, _ := c.stage.timeline.at(now.Sub(c.zero))
	return Truth{Class: p.class, Covered: c.coveredAt(now)}
}

// Frames counts the frames drawn.
func (c *Camera) Frames() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames
}

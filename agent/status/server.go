// Package status is the page on the device: HTML for the technician, JSON for programs, metrics for scrapers.
//
// It knows nothing of Heron but its own Snapshot, which the agent fills. Everything it serves is in the binary:
// the page works where there is no internet.
package status

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Provider is asked at every request, by several goroutines at a time.
type Provider interface {
	// Snapshot tells the present state. It must not block on devices or the network.
	Snapshot() Snapshot
	// Picture returns the newest frame of a configured camera as JPEG. Its error's text is shown to people.
	Picture(ctx context.Context, camera string, o PictureOptions) (Picture, error)
	// Card makes a JPEG that says in words why there is no picture.
	Card(width, height int, title string, lines ...string) ([]byte, error)
}

// PictureOptions say what is wanted of the newest frame.
type PictureOptions struct {
	MaxWidth int     // 0: as it is
	Draw     bool    // draw what this very frame became into it
	Age      bool    // draw its age where it is not from now
	Have     FrameID // nothing is encoded where this is still the newest; zero: encode it whatever it is
}

// FrameID tells a frame from all others of its camera.
type FrameID struct {
	Seq uint64
	At  time.Time // capture
}

// Picture is one frame, with what this very frame became: the page polls results and pictures at different moments,
// and a label under another bottle would be a lie.
type Picture struct {
	JPEG    []byte
	Caption string // one line; empty when the frame became nothing
	Frame   FrameID
	Age     time.Duration // since capture
	Same    bool          // the newest frame is the one asked about: there is no JPEG
}

// Config of a Server.
type Config struct {
	Listen   string   // "host:port" (status.listen)
	DeviceID string   // a name under which the page may be asked for
	Hosts    []string // more such names (status.hosts)
	Log      *slog.Logger
}

// Validate checks Listen; errors name the YAML path.
func (c Config) Validate() error {
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("status.listen: %q is not host:port, as in 127.0.0.1:8642", c.Listen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("status.listen: %q is not a port from 0 to 65535", port)
	}
	return nil
}

const (
	maxConns        = 64 // open connections
	maxConnsPerAddr = 16 // of them from one address that is not this device
	maxPictures     = 4  // pictures made at a time
	maxHeader       = 16 << 10
	headerTimeout   = 5 * time.Second
	readTimeout     = 10 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = 60 * time.Second
	pictureTimeout  = 5 * time.Second
	shutdownTimeout = 2 * time.Second
)

// Server serves the page. Make it with New, claim the address with Listen, serve with Run.
type Server struct {
	cfg      Config
	provider Provider
	hosts    map[string]bool
	pictures chan struct{} // a slot for each picture being made
	streams  *streams
	ln       *limitListener
	http     *http.Server
	html     *template.Template
	metrics  http.Handler
}

// New makes a Server; it starts nothing and opens nothing.
func New(cfg Config, p Provider) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, provider: p, hosts: ownNames(cfg), pictures: make(chan struct{}, maxPictures), streams: newStreams(p), html: parsePage()}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{s})
	s.metrics = promhttp.HandlerFor(reg, promhttp.HandlerOpts{DisableCompression: true, MaxRequestsInFlight: 4})
	s.http = &http.Server{
		Handler:           s.guard(s.routes()),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug), // what strangers send is not our failure
	}
	return s, nil
}

// Listen claims the address, so that a port in use is known before anything else starts. Run does it where it was not done.
func (s *Server) Listen() error {
	if s.ln != nil {
		return nil
	}
	ln, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return listenError(s.cfg.Listen, err)
	}
	s.ln = newLimitListener(ln, maxConns, maxConnsPerAddr)
	return nil
}

func listenError(addr string, err error) error {
	_, port, _ := net.SplitHostPort(addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("status page: %s is in use by another program; end it (find it with: ss -ltnp 'sport = :%s') or set status.listen to another port", addr, port)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("status page: no permission to listen on %s; set status.listen to a port from 1024 up", addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("status page: this device has no address %s; set status.listen to one it has, or to 0.0.0.0:%s for all", addr, port)
	}
	return fmt.Errorf("status page: listen on %s: %w; correct status.listen", addr, err)
}

// Addr is the address that Listen claimed, with the real port; empty before.
func (s *Server) Addr() string {
	if s.ln == nil {
		return ""
	}
	return s.ln.Addr().String()
}

// RefusedConns counts connections that were closed at once because too many were open.
func (s *Server) RefusedConns() uint64 {
	if s.ln == nil {
		return 0
	}
	return s.ln.refused.Load()
}

// Close gives up the address that Listen claimed, where Run was never called.
func (s *Server) Close() error {
	if s.ln == nil {
		return nil
	}
	return s.ln.Close()
}

// Run serves until ctx ends, then gives requests under way a moment to finish. It returns nil after a regular end.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("status page: serve on %s: %w", s.cfg.Listen, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if s.http.Shutdown(grace) != nil {
		_ = s.http.Close() // whoever still reads has had his time
	}
	<-served
	s.streams.wait()
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", s.page)
	mux.HandleFunc("/page.css", asset("page.css", "text/css; charset=utf-8"))
	mux.HandleFunc("/page.js", asset("page.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("/healthz", s.healthz)
	mux.HandleFunc("/readyz", s.readyz)
	mux.HandleFunc("/api/v1/status", s.status)
	mux.HandleFunc("/snapshot/{file}", s.snapshot)
	mux.HandleFunc("/stream/{file}", s.stream)
	mux.Handle("/metrics", s.metrics)
	return mux
}

// take asks the provider and completes what it left out.
func (s *Server) take() Snapshot {
	snap := s.provider.Snapshot()
	snap.Live = s.streams.count()
	snap.fill(time.Now())
	return snap
}

// ownNames are the names by which this device may be asked for, in lower case.
func ownNames(cfg Config) map[string]bool {
	names := map[string]bool{"localhost": true}
	host, _ := os.Hostname() // a device without a name has only the others
	for _, n := range append([]string{cfg.DeviceID, host}, cfg.Hosts...) {
		if n = strings.ToLower(strings.TrimSuffix(n, ".")); n != "" {
			names[n] = true
		}
	}
	return names
}

package measure

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Service says how a heron run is configured for a measurement.
type Service struct {
	Program  string // bin/heron
	Dir      string // for its files; the outbox lies here too unless Outbox says otherwise
	Outbox   string
	Broker   int    // port
	Source   string // of every camera
	Bundle   string
	Cameras  int      // default 1
	FPS      float64  // of each
	Compress string   // default none
	Ignore   []string // labels that make no events
}

// Heron is a running heron run.
type Heron struct {
	*Process
	Page int // port
	Log  string
}

// StartHeron writes a configuration and starts heron run with it.
func StartHeron(s Service) (*Heron, error) {
	h := &Heron{Page: FreePort(), Log: filepath.Join(s.Dir, "heron.log")}
	if s.Outbox == "" {
		s.Outbox = filepath.Join(s.Dir, "outbox.db")
	}
	if s.Compress == "" {
		s.Compress = "none"
	}
	var b strings.Builder
	b.WriteString("device: {group: bench, id: dev-1}\ncameras:\n")
	for i := range max(s.Cameras, 1) {
		fmt.Fprintf(&b, "  - {name: cam%d, source: %q, fps: %g}\n", i+1, s.Source, s.FPS)
	}
	fmt.Fprintf(&b, "models:\n  - {slot: main, bundle: %q, threads: 1}\n", s.Bundle)
	if len(s.Ignore) > 0 {
		b.WriteString("events:\n  labels:\n")
		for _, label := range s.Ignore {
			fmt.Fprintf(&b, "    %s: {ignore: true}\n", label)
		}
	}
	fmt.Fprintf(&b, "outbox: {path: %q}\n", s.Outbox)
	fmt.Fprintf(&b, "uplink: {broker: \"mqtt://127.0.0.1:%d\", results: every, compress: %s}\n", s.Broker, s.Compress)
	fmt.Fprintf(&b, "status: {listen: \"127.0.0.1:%d\"}\n", h.Page)
	conf := filepath.Join(s.Dir, "heron.yaml")
	if err := os.WriteFile(conf, []byte(b.String()), 0o644); err != nil {
		return nil, err
	}
	var err error
	h.Process, err = Start(h.Log, s.Program, "run", "--config", conf)
	return h, err
}

// Status is the part of /api/v1/status that measurements look at.
type Status struct {
	State  string
	Outbox struct {
		State   string
		Records int64
		Acked   uint64
		Commits uint64
		Written uint64
	}
	Uplink struct{ State string }
	Events struct{ Entered, Exited uint64 }
	Vision struct {
		State    string
		PID      int
		Restarts uint64
	}
	Cameras []struct{ Inferred uint64 }
}

// Status asks the running service.
func (h *Heron) Status() (s Status, err error) {
	c := http.Client{Timeout: 2 * time.Second}
	r, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/status", h.Page))
	if err != nil {
		return s, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return s, fmt.Errorf("status: %s", r.Status)
	}
	return s, json.NewDecoder(r.Body).Decode(&s)
}

// Tail is the end of its log.
func (h *Heron) Tail() string {
	b, _ := os.ReadFile(h.Log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

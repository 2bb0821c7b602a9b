package vision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os/exec"
	"slices"
	"sync"
	"time"

	"heron/inference"
)

// ClientConfig says how heron gets its heron-vision. Exactly one of Command and Socket is set.
type ClientConfig struct {
	Command []string // spawn this with a socket pair …
	Socket  string   // … or connect to this unix socket, on which somebody starts one process a connection
	Env     []string // added to the child's environment when spawned

	Config Config

	HelloTimeout     time.Duration // from connect to hello; default 20 s
	LoadTimeout      time.Duration // one model loaded; default 20 s
	BeatTimeout      time.Duration // no beat: the process hangs or is stopped; default 1 s
	InferenceTimeout time.Duration // one inference; default 5 s
	MaxMemory        int64         // resident bytes; default 1 GiB
	OneShot          bool          // the caller is gone before a model that was held back is tried again, so nothing is promised of it
	EngineRetry      time.Duration // an engine that was lost is first tried again after so long, then after twice as long, …; default 5 s

	OnObservation func(Observation) // called in order, never two at a time; must not block
	OnShadow      func(Shadow)      // what a staged candidate said; must not block
	OnChange      func(ClientStats) // state changed: connected, lost (with cause), ready, refused; must not block or call the Client

	Log *slog.Logger // also gets the child's stderr; nil is slog.Default
}

// States of a Client.
const (
	StateStarting  = "starting"   // no hello yet
	StateLoading   = "loading"    // models are being loaded
	StateRunning   = "running"    // every model has been loaded or refused, one at least loaded
	StateReplacing = "replacing"  // a process was lost; the next one is started at once or after RetryIn
	StateCrashLoop = "crash-loop" // three processes in a row were lost young; RetryIn says when the next one starts
	StateRefused   = "refused"    // no model is usable; Refusals says why
	StateEnded     = "ended"      // all sources have ended and everything was delivered
	StateStopped   = "stopped"    // Run has returned because its context ended, or has not been called
)

// ClientStats is a copy of the client's counters and state.
type ClientStats struct {
	State      string            // one of the State constants
	Since      time.Time         // of State
	PID        int               // of the present process; 0 is none
	Restarts   uint64            // processes lost so far; each is replaced
	ByCause    map[string]uint64 // the same by cause: one of the Cause constants
	LastCause  string            // of the last loss
	LastReason string            // the same in a line for people
	LastSlot   string            // slot whose model is to blame; empty: none in particular
	LastOwn    bool              // the process ended itself, and nothing in particular is to blame: a model at work may have done it
	LastAt     time.Time         // when
	RetryIn    time.Duration     // while waiting to start again
	Refusals   []Refused         // slots whose model was refused
	Standby    []Standby         // engines that slots should rather run on
	Fallbacks  uint64            // losses of an engine that another one answered
	Returns    uint64            // engines taken back into use
	Engines    []EngineReport
	Cameras    []CameraStats // of the last beat
	Slots      []SlotStats   // of the last beat
	RSS        int64         // of the process, bytes
	Version    string        // of the process
}

// Refused is a model that heron-vision would not take, with its reason.
type Refused struct {
	Slot     string `json:"slot"`
	Code     string `json:"code"` // that of inference.Refusal, or "crashed", "hung", "memory": loading or running it ended the process again and again
	Reason   string `json:"reason"`
	NextStep string `json:"next_step,omitempty"`
}

// Picture is the answer to Snapshot.
type Picture struct {
	JPEG          []byte
	At            time.Time
	Width, Height int
	Last          *Observation // what this very frame became; nil when it was not classified

	Frame FrameID
	Age   time.Duration // since capture, when it was encoded
	Same  bool          // the newest frame is the one that was named as known: there is no JPEG
}

// ErrNotRunning is the answer to requests while there is no process that could take them.
var ErrNotRunning = errors.New("heron-vision is not running")

// Client starts, watches and replaces heron-vision. Its methods may be called from any goroutine.
type Client struct {
	cfg   ClientConfig
	log   *slog.Logger
	known known
	pace  pace

	tell sync.Mutex // orders calls of OnChange

	mu        sync.Mutex
	stats     ClientStats
	retryAt   time.Time
	lostAt    time.Time // of the last loss, until its replacement is ready
	session   *session  // nil between processes
	refused   map[string]Refused
	bounds    map[string]float64 // of SetPace: camera → frames a second
	boundsSet uint64             // times they changed
	courses   map[string]*course // by slot: the engines it has and had

	candidates map[string]*contender // by slot: staged beside the live model
	cleared    map[string]bool       // slots whose model was changed: what its predecessor did to processes is forgotten
	plugs      plugs
	startErr   error         // the last start failed in a way that waiting will not mend
	changed    chan struct{} // closed at the next change

	single bool                  // one process, and the end: for trials and looks
	look   chan<- []EngineReport // wants a look at every engine; nil: nobody does
}

// pace is how long the client waits before it tries something again.
type pace struct {
	min, max time.Duration // between processes lost in a row; doubling
	refused  time.Duration // before a refused model is tried again; doubling up to an hour where it took processes down
}

// known is what was configured, for checking what the process says.
type known struct {
	cameras map[string]CameraConfig
	slots   map[string]SlotConfig
}

// NewClient checks c and starts nothing.
func NewClient(c ClientConfig) (*Client, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("vision client: %w", err)
	}
	orDuration(&c.HelloTimeout, 20*time.Second)
	orDuration(&c.LoadTimeout, 20*time.Second)
	orDuration(&c.BeatTimeout, time.Second)
	orDuration(&c.InferenceTimeout, 5*time.Second)
	orDuration(&c.EngineRetry, 5*time.Second)
	if c.MaxMemory <= 0 {
		c.MaxMemory = 1 << 30
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	k := known{map[string]CameraConfig{}, map[string]SlotConfig{}}
	c.Config.Cameras = slices.Clone(c.Config.Cameras)
	for i := range c.Config.Cameras {
		orDuration(&c.Config.Cameras[i].Stall, defaultStall)
		k.cameras[c.Config.Cameras[i].Name] = c.Config.Cameras[i]
	}
	courses := map[string]*course{}
	for _, s := range c.Config.Slots {
		k.slots[s.Slot] = s
		courses[s.Slot] = &course{}
	}
	return &Client{courses: courses, candidates: map[string]*contender{}, cleared: map[string]bool{}, cfg: c, plugs: plugs{sysfs: sysfsOf(c.Env)}, log: c.Log, known: k, pace: pace{500 * time.Millisecond, time.Minute, time.Minute}, refused: map[string]Refused{}, changed: make(chan struct{}),
		stats: ClientStats{State: StateStopped, Since: time.Now(), ByCause: map[string]uint64{}}}, nil
}

const defaultStall = 5 * time.Second

func orDuration(d *time.Duration, standard time.Duration) {
	if *d <= 0 {
		*d = standard
	}
}

func (c *ClientConfig) check() error {
	if (len(c.Command) == 0) == (c.Socket == "") {
		return errors.New("set either a command or a socket")
	}
	slots, cameras := map[string]bool{}, map[string]bool{}
	for _, s := range c.Config.Slots {
		if s.Slot == "" || slots[s.Slot] || !okName(s.Slot) {
			return fmt.Errorf("slot name %q is empty, used twice or not plain text", s.Slot)
		}
		slots[s.Slot] = true
	}
	for _, m := range c.Config.Cameras {
		switch {
		case m.Name == "" || cameras[m.Name] || !okName(m.Name):
			return fmt.Errorf("camera name %q is empty, used twice or not plain text", m.Name)
		case m.Slot != "" && !slots[m.Slot]:
			return fmt.Errorf("camera %q wants model slot %q, which does not exist", m.Name, m.Slot)
		case !(m.FPS >= 0 && m.FPS <= 1000) || m.Width < 0 || m.Height < 0:
			return fmt.Errorf("camera %q: size %d×%d or rate %v is out of range", m.Name, m.Width, m.Height, m.FPS)
		}
		cameras[m.Name] = true
	}
	if n := max(len(slots), len(cameras)); n > maxList {
		return fmt.Errorf("%d cameras or slots are more than %d", n, maxList)
	}
	return nil
}

// Stats copies the counters.
func (c *Client) Stats() ClientStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.ByCause = maps.Clone(s.ByCause)
	s.Engines, s.Cameras, s.Slots = slices.Clone(s.Engines), slices.Clone(s.Cameras), slices.Clone(s.Slots)
	s.Standby = c.standbys(time.Now())
	s.RetryIn = 0
	if !c.retryAt.IsZero() {
		s.RetryIn = max(0, time.Until(c.retryAt))
	}
	s.Refusals = make([]Refused, 0, len(c.refused))
	for _, slot := range c.cfg.Config.Slots {
		if r, ok := c.refused[slot.Slot]; ok {
			s.Refusals = append(s.Refusals, r)
		}
	}
	return s
}

// change applies f to the state, then tells waiters and OnChange.
func (c *Client) change(f func()) {
	c.tell.Lock()
	defer c.tell.Unlock()
	c.mu.Lock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if c.cfg.OnChange != nil {
		c.cfg.OnChange(c.Stats())
	}
}

// state sets State; c.mu is held.
func (c *Client) state(s string) {
	if c.stats.State != s {
		c.stats.State, c.stats.Since = s, time.Now()
	}
}

// WaitReady waits until every slot is loaded (nil). It returns the first refusal (*inference.Refusal), an error when heron-vision
// cannot be started or goes down again and again, or ctx's error. Run must be running or be started soon.
func (c *Client) WaitReady(ctx context.Context) error {
	for {
		c.mu.Lock()
		done, err := c.ready()
		changed, reason := c.changed, c.stats.LastReason
		c.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if reason != "" {
				return fmt.Errorf("waiting for heron-vision: %w (%s)", ctx.Err(), reason)
			}
			return fmt.Errorf("waiting for heron-vision: %w", ctx.Err())
		}
	}
}

// ready says whether waiting is over; c.mu is held.
func (c *Client) ready() (bool, error) {
	for _, slot := range c.cfg.Config.Slots {
		if r, ok := c.refused[slot.Slot]; ok {
			return true, &inference.Refusal{Code: r.Code, What: r.Reason, NextStep: r.NextStep}
		}
	}
	switch {
	case c.startErr != nil:
		return true, c.startErr
	case c.stats.State == StateCrashLoop:
		return true, errors.New(c.stats.LastReason)
	}
	return c.stats.State == StateRunning || c.stats.State == StateEnded, nil
}

// connect starts a process or connects to one.
func (c *Client) connect(ctx context.Context) (net.Conn, *process, error) {
	if c.cfg.Socket == "" {
		return spawn(c.cfg.Command, c.cfg.Env, c.log)
	}
	d := net.Dialer{Timeout: c.cfg.HelloTimeout}
	conn, err := d.DialContext(ctx, "unix", c.cfg.Socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w; is heron-vision.socket active?", err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w; heron must be in the socket's group", err)
	}
	return conn, nil, err
}

// hopeless tells errors of a start that only people can mend.
func hopeless(err error) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

package vision

import (
	"context"
	"time"
)

// ClientConfig says how heron gets its heron-vision.
type ClientConfig struct {
	Command []string // spawn this with a socket pair …
	Socket  string   // … or connect to this unix socket, on which somebody starts one process a connection
	Env     []string // added to the child's environment when spawned

	Config Config

	HelloTimeout     time.Duration // from connect to hello; default 20 s
	LoadTimeout      time.Duration // all models loaded; default 20 s
	BeatTimeout      time.Duration // no beat: the process hangs or is stopped; default 1 s
	InferenceTimeout time.Duration // one inference; default 5 s
	MaxMemory        int64         // resident bytes; default 1 GiB

	OnObservation func(Observation) // called in order from one goroutine; must not block
	OnChange      func(ClientStats) // state changed: connected, lost (with cause), ready, refused; must not block
}

// ClientStats is a copy of the client's counters and state.
type ClientStats struct {
	State      string    // starting, loading, running, replacing, crash-loop, refused, ended
	Since      time.Time // of State
	PID        int
	Restarts   uint64            // replacements so far
	ByCause    map[string]uint64 // replacements by cause: exit, stall, inference-timeout, no-beat, stopped, load-timeout, memory, protocol, …
	LastCause  string            // of the last replacement: one of the keys above
	LastReason string            // the same in a line for people
	LastAt     time.Time         // when
	RetryIn    time.Duration     // while waiting to start again
	Refusals   []Refused         // slots whose model was refused
	Engines    []EngineReport
	Cameras    []CameraStats
	Slots      []SlotStats
	RSS        int64 // of the process, bytes
	Version    string
}

// Refused is a model that heron-vision would not take, with its reason.
type Refused struct {
	Slot     string `json:"slot"`
	Code     string `json:"code"`
	Reason   string `json:"reason"`
	NextStep string `json:"next_step,omitempty"`
}

// Picture is the answer to Classify and Snapshot requests.
type Picture struct {
	JPEG          []byte
	At            time.Time
	Width, Height int
	Last          *Observation // of that camera, if any
}

// The methods of Client (built in this package):
//
//	func NewClient(ClientConfig) (*Client, error)
//	func (*Client) Run(ctx context.Context) error        // blocks; starts, watches and replaces the process until ctx ends; nil after all sources ended
//	func (*Client) Stats() ClientStats
//	func (*Client) Snapshot(ctx context.Context, camera string, maxWidth int) (Picture, error)
//	func (*Client) Classify(ctx context.Context, slot, path string) (Observation, error) // a picture file, by the same path as frames
//	func (*Client) WaitReady(ctx context.Context) error  // all slots loaded (nil) or the first refusal (*inference.Refusal) or ctx's end
var _ context.Context

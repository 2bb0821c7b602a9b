// Package vision is the boundary between heron, which holds the network, the keys and the disk, and heron-vision,
// which holds cameras and native runtimes: the protocol on their socket, the Client in heron (start, deadlines, kill, replace)
// and Serve in heron-vision (camera → inference → report).
//
// One connection is one heron-vision process, and the process's life is the connection's.
package vision

import (
	"slices"
	"time"

	"heron/camera"
	"heron/inference"
)

// Observation is what one frame became. It names everything needed to judge it later.
type Observation struct {
	Camera string            `json:"cam"`
	Slot   string            `json:"slot"`
	Frame  uint64            `json:"frame"`            // number of the frame at its camera
	At     time.Time         `json:"at"`               // capture, wall clock
	MonoMS int64             `json:"mono_ms"`          // capture, since boot (CLOCK_BOOTTIME)
	AgeMS  float64           `json:"age_ms"`           // from capture to the end of inference
	Model  string            `json:"model"`            // Spec.ID
	Engine string            `json:"engine"`           // "onnx", "scripted", …
	LatMS  float64           `json:"lat_ms"`           // inference alone
	PrepMS float64           `json:"prep_ms"`          // preprocessing alone
	Top    []inference.Score `json:"top,omitempty"`    // best first; the first is "unknown" where the best is under its threshold; empty when the frame was unfit
	Facts  []string          `json:"facts,omitempty"`  // black, covered, frozen, …
	Jumped bool              `json:"jumped,omitempty"` // the camera's own timestamps went back or jumped since the frame before; At has not
	Name   string            `json:"name,omitempty"`   // file name of a picture
	Error  string            `json:"error,omitempty"`  // inference failed on this frame
	Code   string            `json:"code,omitempty"`   // that of the inference.Refusal, where Error is one
}

// CameraConfig is one camera for heron-vision.
type CameraConfig struct {
	Name   string        `json:"name"`
	Source string        `json:"source"`
	Width  int           `json:"width,omitempty"`
	Height int           `json:"height,omitempty"`
	FPS    float64       `json:"fps"`   // how often to classify at most; 0 is every frame
	Stall  time.Duration `json:"stall"` // no new frame for so long: the source is replaced
	Slot   string        `json:"slot"`  // model slot that classifies it; empty: none

	View         camera.View     `json:"view,omitzero"`
	Controls     camera.Controls `json:"controls,omitzero"`
	Username     string          `json:"username,omitempty"`
	PasswordFile string          `json:"password_file,omitempty"` // read by heron-vision
}

// SlotConfig is one model slot.
type SlotConfig struct {
	Slot          string   `json:"slot"`
	Bundle        string   `json:"bundle"`                   // a folder (heron has unpacked archives)
	Engines       []string `json:"engines"`                  // in order of preference, each as inference.ParseChoice has it; empty: the bundle's own order
	Threads       int      `json:"threads"`                  // 0: the engine's choice
	EnforceBudget bool     `json:"enforce_budget,omitempty"` // a model over its manifest's budget is refused; else it is only logged
	Spin          bool     `json:"spin"`                     // let the engine's threads wait busily: faster, and a core is never free

	Known *inference.Known `json:"known,omitempty"` // what an accelerator has to answer, from when it worked
}

// Config is all that heron-vision is told at start; a change of it is a new process.
type Config struct {
	Cameras []CameraConfig `json:"cameras"`
	Slots   []SlotConfig   `json:"slots"`
}

// CameraStats is a camera's state in every beat.
type CameraStats struct {
	Name       string  `json:"name"`
	State      string  `json:"state"`          // opening, running, reopening, ended
	Live       bool    `json:"live,omitempty"` // frames are replaced by newer ones; files and folders keep theirs until each was looked at
	FrameAge   float64 `json:"frame_age"`      // seconds since the newest frame, −1 before the first
	Reading    float64 `json:"reading"`        // seconds that the present call into the driver has taken; 0 between calls
	Width      int     `json:"width"`
	Height     int     `json:"height"`
	Read       uint64  `json:"read"`    // frames read
	Damaged    uint64  `json:"damaged"` // frames that came and could not be decoded; Read has none of them
	Dropped    uint64  `json:"dropped"` // frames replaced by a newer one before anybody looked: the one place where frames are lost
	Jitter     float64 `json:"jitter"`  // seconds by which the time between two frames differs from that before, on average
	Inferred   uint64  `json:"inferred"`
	Reopened   uint64  `json:"reopened"`
	Errors     uint64  `json:"errors"`
	ClockJumps uint64  `json:"clock_jumps"` // of its own timestamps
	LastError  string  `json:"last_error,omitempty"`
}

// SlotStats is a model slot's state in every beat.
type SlotStats struct {
	Slot     string  `json:"slot"`
	Model    string  `json:"model,omitempty"`
	Engine   string  `json:"engine,omitempty"`
	Device   string  `json:"device,omitempty"`
	LoadMS   float64 `json:"load_ms,omitempty"`
	Digest   string  `json:"digest,omitempty"` // of the weights, hex
	Labels   int     `json:"labels,omitempty"`
	Running  float64 `json:"running"` // seconds that the present inference has taken; 0 between
	Inferred uint64  `json:"inferred"`
	Errors   uint64  `json:"errors"`

	Candidate        string  `json:"candidate,omitempty"`         // model that is staged beside the live one
	CandidateRunning float64 `json:"candidate_running,omitempty"` // seconds that its present inference has taken
}

// EngineReport says what this heron-vision can run, and why not.
type EngineReport struct {
	Engine   string `json:"engine"`
	Device   string `json:"device,omitempty"`
	Present  bool   `json:"present"`
	Usable   bool   `json:"usable"`
	Version  string `json:"version,omitempty"`
	Reason   string `json:"reason,omitempty"`
	NextStep string `json:"next_step,omitempty"`
}

// InUse says whether the engine is at work in one of the slots: on that very device, where there are several to choose from.
func (e *EngineReport) InUse(slots []SlotStats) bool {
	return slices.ContainsFunc(slots, func(s SlotStats) bool {
		return s.Engine == e.Engine && (s.Device == e.Device || inference.Choice(s.Engine, s.Device) == s.Engine)
	})
}

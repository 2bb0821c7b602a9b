package vision

import (
	"time"

	"heron/inference"
)

// The protocol on the socket between heron and heron-vision. Both come from one release, so the version must match exactly
// and a message of an unknown kind is damage, never the future: the connection is closed.
//
// A message is its length (4 bytes, big-endian, of what follows), its kind (1 byte) and its payload: JSON, and for a picture
// the length of the JSON header (4 bytes), the header, and the JPEG.

// ProtocolVersion is said in the hello; another one is refused.
const ProtocolVersion = 1

const (
	maxJSON     = 1 << 20  // bytes of a JSON payload
	maxPicture  = 16 << 20 // bytes of a picture with its header
	maxDepth    = 12       // nesting of a JSON payload; the deepest of ours has 5
	maxInFlight = 8        // requests (snapshot, classify) at one time on one connection
)

// kind is the second field of a message.
type kind byte

// From heron-vision to heron, and (from 64) the other way.
const (
	kindHello kind = iota + 1
	kindLoading
	kindLoaded
	kindRefused
	kindObservation
	kindBeat
	kindPicture
	kindClassified
	kindEnded
	kindEngineLost
	kindEngines
	kindStaged
	kindPromoted
	kindShadow

	kindConfigure kind = iota + 50
	kindRetry
	kindSnapshot
	kindClassify
	kindPace
	kindStage
	kindPromote
	kindDiscard
)

// limit is the largest payload of a kind, −1 for a kind that does not exist.
func (k kind) limit() int {
	switch {
	case k == kindPicture:
		return maxPicture
	case k >= kindHello && k <= kindShadow, k >= kindConfigure && k <= kindDiscard:
		return maxJSON
	}
	return -1
}

// hello is heron-vision's first message; nothing before it means anything.
type hello struct {
	Protocol int            `json:"protocol"`
	Version  string         `json:"version"`
	PID      int            `json:"pid"`
	Engines  []EngineReport `json:"engines"`
	Cameras  []string       `json:"cameras"` // camera drivers built in
}

// configure is heron's first message.
type configure struct {
	Config
	Held  []string          `json:"held,omitempty"`  // slots not to be loaded before a retry: loading them ended earlier processes
	Avoid map[string]avoids `json:"avoid,omitempty"` // by slot: engines that failed there
	Look  bool              `json:"look,omitempty"`  // nothing is to be run: look at every engine and tell
	// After SoftLoad and SoftInference engines that can stop are told to; heron kills some time later.
	SoftLoad      time.Duration `json:"soft_load"`
	SoftInference time.Duration `json:"soft_inference"`
	Pace          pacing        `json:"pace,omitzero"`
}

// avoids are engines to be passed over, with the reasons.
type avoids map[string]string

// loading, loaded: the progress of one slot, one after the other, so that heron knows which model and engine a crash belongs to.
type loading struct {
	Slot    string   `json:"slot"`
	Engine  string   `json:"engine,omitempty"`  // as in Engines; empty while the bundle is being read
	Engines []string `json:"engines,omitempty"` // all that the slot may run on, best first; with their devices, where some were asked for
}

type loaded struct {
	Slot    string    `json:"slot"`
	Model   string    `json:"model"`
	Engine  string    `json:"engine"`           // alone, as observations have it
	Choice  string    `json:"choice,omitempty"` // as in loading.Engines; empty: Engine
	Device  string    `json:"device,omitempty"`
	TookMS  float64   `json:"took_ms"`
	Skipped []skipped `json:"skipped,omitempty"` // engines before this one in order, and why they are not used
}

type skipped struct {
	Engine   string `json:"engine"` // as in loading.Engines
	Code     string `json:"code"`
	Reason   string `json:"reason"`
	NextStep string `json:"next_step,omitempty"`
}

// engineLost says that the engine in use does not answer rightly any more; heron replaces the process and passes the engine over.
type engineLost struct {
	Slot   string `json:"slot"`
	Engine string `json:"engine"` // as in loading.Engines
	Reason string `json:"reason"`

	Known *inference.Known `json:"known,omitempty"` // what it answered before
}

// stage asks for a candidate beside the live model of a slot; staged answers it.
type stage struct {
	ID     uint64     `json:"id"`
	Config SlotConfig `json:"config"`
	Share  float64    `json:"share"` // of the cameras' time that it may take
}

type staged struct {
	ID      uint64   `json:"id"`
	Refused *Refused `json:"refused,omitempty"`
	Model   string   `json:"model,omitempty"`
	Engine  string   `json:"engine,omitempty"`
	Device  string   `json:"device,omitempty"`
	LoadMS  float64  `json:"load_ms"`
}

// promote asks for the candidate to take the live model's place; promoted answers it, before any observation of the new model.
// With kindDiscard it asks for the candidate to be dropped.
type promote struct {
	ID   uint64 `json:"id"`
	Slot string `json:"slot"`
}

type promoted struct {
	ID      uint64   `json:"id"`
	Error   string   `json:"error,omitempty"`
	Engines []string `json:"engines,omitempty"` // as in loading
	loaded
}

// engines answers a look.
type engines struct {
	Engines []EngineReport `json:"engines"`
}

// beat comes every beatEvery, whatever cameras and engines do.
type beat struct {
	Cameras []CameraStats `json:"cameras"`
	Slots   []SlotStats   `json:"slots"`
	RSS     int64         `json:"rss"` // bytes
}

// retry asks for another try at loading a slot.
type retry struct {
	Slot string `json:"slot"`
}

// pacing bounds how often live cameras are classified, beside their configured rates. It names every camera that is bounded.
type pacing struct {
	FPS map[string]float64 `json:"fps,omitempty"` // camera → frames a second
}

type snapshot struct {
	ID       uint64    `json:"id"`
	Camera   string    `json:"camera"`
	MaxWidth int       `json:"max_width"`
	Draw     bool      `json:"draw,omitempty"`
	Age      bool      `json:"age,omitempty"`
	Have     uint64    `json:"have,omitempty"` // the frame that heron has already: it is not encoded again
	HaveAt   time.Time `json:"have_at,omitzero"`
}

// pictureHeader answers a snapshot; the JPEG follows it.
type pictureHeader struct {
	ID     uint64       `json:"id"`
	Error  string       `json:"error,omitempty"`
	Frame  uint64       `json:"frame,omitempty"`
	At     time.Time    `json:"at"`
	AgeMS  float64      `json:"age_ms,omitempty"` // since capture
	Same   bool         `json:"same,omitempty"`   // heron has the newest frame: no JPEG follows
	Width  int          `json:"width"`
	Height int          `json:"height"`
	Last   *Observation `json:"last,omitempty"`
}

type classify struct {
	ID   uint64 `json:"id"`
	Slot string `json:"slot"`
	Path string `json:"path"`
}

type classified struct {
	ID          uint64       `json:"id"`
	Error       string       `json:"error,omitempty"`
	Observation *Observation `json:"observation,omitempty"`
}

// picture is a decoded kindPicture.
type picture struct {
	pictureHeader
	JPEG []byte
}

package vision

import "time"

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

	kindConfigure kind = iota + 55
	kindRetry
	kindSnapshot
	kindClassify
)

// limit is the largest payload of a kind, −1 for a kind that does not exist.
func (k kind) limit() int {
	switch {
	case k == kindPicture:
		return maxPicture
	case k >= kindHello && k <= kindEnded, k >= kindConfigure && k <= kindClassify:
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
	Held []string `json:"held,omitempty"` // slots not to be loaded before a retry: loading them ended earlier processes
	// After SoftLoad and SoftInference engines that can stop are told to; heron kills some time later.
	SoftLoad      time.Duration `json:"soft_load"`
	SoftInference time.Duration `json:"soft_inference"`
}

// loading, loaded: the progress of one slot, one after the other, so that heron knows which model a crash belongs to.
type loading struct {
	Slot string `json:"slot"`
}

type loaded struct {
	Slot   string  `json:"slot"`
	Model  string  `json:"model"`
	Engine string  `json:"engine"`
	TookMS float64 `json:"took_ms"`
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

type snapshot struct {
	ID       uint64 `json:"id"`
	Camera   string `json:"camera"`
	MaxWidth int    `json:"max_width"`
}

// pictureHeader answers a snapshot; the JPEG follows it.
type pictureHeader struct {
	ID     uint64       `json:"id"`
	Error  string       `json:"error,omitempty"`
	At     time.Time    `json:"at"`
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

// Package message is what crosses the network, both ways: the records of each stream, the envelope they travel in,
// the state and info documents. It encodes and decodes; it keeps nothing and sends nothing.
//
// The contract is docs/contract.md; schemas are in schema/, one golden file per stream in testdata/.
package message

import (
	"encoding/json"
	"time"

	"heron/internal/clock"
)

// Stream names one kind of record; it is the last level of the telemetry topics.
type Stream string

// The streams, in order of falling worth: when space runs out, records of the last go first.
const (
	Alarm  Stream = "alarm"
	Audit  Stream = "audit"
	Event  Stream = "event"
	Clock  Stream = "clock"
	Drift  Stream = "drift"
	Rollup Stream = "rollup"
	Health Stream = "health"
	Result Stream = "result"
)

// Streams lists all of them in order of falling worth.
func Streams() []Stream {
	return []Stream{Alarm, Audit, Event, Clock, Drift, Rollup, Health, Result}
}

// Urgent streams are committed to the disk before anything else is done with them, and sealed within 50 ms.
func (s Stream) Urgent() bool { return s == Alarm || s == Audit || s == Event }

// Record is one record without its sequence number: AppendJSON appends one JSON object that has no "seq";
// the outbox puts {"seq":n, in front of it when it seals the group.
type Record interface {
	Stream() Stream
	AppendJSON(dst []byte) []byte
}

// Stamp is when something happened: wall time as then known (never rewritten) and milliseconds since boot.
// Its fields are written by appendStamp, first in every record and in the contract's words.
type Stamp struct {
	T    time.Time     `json:"-"`
	Mono time.Duration `json:"-"`
}

// Now stamps the present.
func Now() Stamp { return Stamp{T: time.Now(), Mono: clock.SinceBoot()} }

// Header is what all records of a batch share.
type Header struct {
	Group, Device string
	Epoch         string
	Boot          string
	Agent         string // version
	ConfigRev     int
	Clock         clock.Quality
}

// State is the retained document on …/state; it is the will, too.
type State struct {
	V       int       `json:"v"`
	Status  string    `json:"status"` // online, offline, updating
	Session uint64    `json:"session"`
	Boot    string    `json:"boot"`
	Since   time.Time `json:"since"`
	Reason  string    `json:"reason"` // start, reconnect, shutdown, lost (the will)
	Agent   string    `json:"agent"`
}

// Info is the retained inventory on …/info.
type Info struct {
	V        int             `json:"v"`
	Agent    string          `json:"agent"`
	Hardware string          `json:"hardware,omitempty"`
	OS       string          `json:"os,omitempty"`
	Arch     string          `json:"arch"`
	Cameras  []InfoCamera    `json:"cameras"`
	Engines  []InfoEngine    `json:"engines"`
	Commands []string        `json:"commands"`
	Schemas  map[string]int  `json:"schemas"`
	Extra    json.RawMessage `json:"extra,omitempty"`
}

// InfoCamera is one configured camera.
type InfoCamera struct {
	Name   string `json:"name"`
	Source string `json:"source"` // without user or password
}

// InfoEngine is one engine that this device has, or has not and why.
type InfoEngine struct {
	Engine  string `json:"engine"`
	Device  string `json:"device,omitempty"` // one of several that a configuration can name: usb:2-1
	Usable  bool   `json:"usable"`
	InUse   bool   `json:"in_use,omitempty"`
	Version string `json:"version,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

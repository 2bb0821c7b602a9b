package message

import (
	"encoding/json"
	"time"
)

// Desired is what should run: the retained document on …/desired of a device, or of its whole group (…/_all/desired).
// ParseDesired reads it.
type Desired struct {
	V        int              `json:"v"`
	Rev      int64            `json:"rev"` // rises with each document of this topic, from 1
	IssuedAt time.Time        `json:"issued_at,omitzero"`
	IssuedBy string           `json:"issued_by,omitempty"` // for the audit; nothing is decided by it
	Models   []DesiredModel   `json:"models,omitempty"`
	Config   *DesiredConfig   `json:"config,omitempty"`
	Firmware *DesiredFirmware `json:"firmware,omitempty"`
}

// DesiredModel is what should run in one slot.
type DesiredModel struct {
	Slot      string    `json:"slot"`
	Target    string    `json:"target"`              // an entry of the signed repository, such as bottles/1.4.2
	Rollout   *Rollout  `json:"rollout,omitempty"`   // nil: every device, at once
	Shadow    *Duration `json:"shadow,omitempty"`    // beside the live model, before the switch; 0s: not at all; nil: the device's own setting
	Probation *Duration `json:"probation,omitempty"` // watched after the switch; likewise
}

// Rollout says which devices a target is for, and when. All that is given must hold.
type Rollout struct {
	Percent   *float64          `json:"percent,omitempty"`   // of the devices, 0…100; nil: all
	Salt      string            `json:"salt,omitempty"`      // another salt draws other devices first
	NotBefore time.Time         `json:"not_before,omitzero"` // by the device's clock, once it is in sync
	Window    string            `json:"window,omitempty"`    // 22:00-05:00, the device's local time; see internal/daily
	Labels    map[string]string `json:"labels,omitempty"`    // the device's label must match the glob: site: lyon-*
}

// DesiredConfig is a change to the settings: a JSON merge patch (RFC 7386) over what the device was started with.
type DesiredConfig struct {
	Rev   int64           `json:"rev"`
	Patch json.RawMessage `json:"patch"` // an object; {} takes all changes back
}

// DesiredFirmware names the operating system that should run.
type DesiredFirmware struct {
	Target string `json:"target"`
}

// Reported is what does run: the retained document on …/reported.
type Reported struct {
	V        int               `json:"v"`
	At       time.Time         `json:"at"`
	Rev      int64             `json:"rev"`                 // of the device's own desired document answered; 0: none seen
	GroupRev int64             `json:"group_rev,omitempty"` // of its group's
	Error    string            `json:"error,omitempty"`     // a desired document that could not be read, and where
	Slots    []ReportedSlot    `json:"slots"`
	Config   *ReportedConfig   `json:"config,omitempty"`
	Firmware *ReportedFirmware `json:"firmware,omitempty"`
	Hold     *Hold             `json:"hold,omitempty"` // a technician's: nothing is changed until then
}

// Steps of a model on its way, in order; the last three are ends without a switch, or after one that was taken back.
const (
	StepWaiting    = "waiting" // the document is understood; ReportedSlot.Decision says for what
	StepOffered    = "offered"
	StepMetadata   = "metadata"
	StepReserved   = "reserved"
	StepFetched    = "fetched"
	StepVerified   = "verified"
	StepStored     = "stored"
	StepTried      = "tried"
	StepShadow     = "shadow"
	StepSwapped    = "swapped"
	StepProbation  = "probation"
	StepConfirmed  = "confirmed"
	StepRolledBack = "rolled-back"
	StepRefused    = "refused"
	StepFailed     = "failed"
)

// ReportedSlot is one slot: what runs, what is on its way and how far, what ran before.
type ReportedSlot struct {
	Slot     string         `json:"slot"`
	Source   string         `json:"source,omitempty"` // device, group: whose document counts here
	Rev      int64          `json:"rev,omitempty"`    // of that document
	Target   string         `json:"target,omitempty"` // wanted by it
	Active   *ReportedModel `json:"active,omitempty"` // nil: no model
	Staged   *ReportedModel `json:"staged,omitempty"`
	Previous *ReportedModel `json:"previous,omitempty"`
	Step     string         `json:"step,omitempty"`     // one of the Step words; empty: nothing was ever asked
	Decision string         `json:"decision,omitempty"` // at waiting: why; see sync/desired
	Percent  int            `json:"percent,omitempty"`  // of the step
	Since    time.Time      `json:"since,omitzero"`     // of the step
	Error    string         `json:"error,omitempty"`    // one line for people
	Refused  []Refusal      `json:"refused,omitempty"`  // newest first, at most eight
}

// ReportedModel is one version of a model on this device.
type ReportedModel struct {
	Target  string    `json:"target,omitempty"` // empty: it came with the configuration
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Digest  string    `json:"digest,omitempty"` // sha256 of the bundle, hex
	Engine  string    `json:"engine,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Refusal is a bundle that this device will not run again.
type Refusal struct {
	Target string    `json:"target"`
	Digest string    `json:"digest,omitempty"`
	Step   string    `json:"step,omitempty"`  // that stopped it: tried, shadow, probation
	Check  string    `json:"check,omitempty"` // what it did not pass there: golden, latency, crash
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// States of a configuration patch.
const (
	ConfigStaged    = "staged"    // accepted, not yet in force
	ConfigProbation = "probation" // in force; taken back at Until unless the broker is heard
	ConfigApplied   = "applied"
	ConfigReverted  = "reverted" // no contact: taken back, and not tried again
	ConfigRefused   = "refused"  // Error says where
)

// ReportedConfig is how the newest patch fares.
type ReportedConfig struct {
	Rev    int64     `json:"rev"`
	Source string    `json:"source,omitempty"` // device, group
	State  string    `json:"state"`
	Error  string    `json:"error,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// ReportedFirmware is how the operating system fares.
type ReportedFirmware struct {
	Target string `json:"target,omitempty"`
	State  string `json:"state"`
	Error  string `json:"error,omitempty"`
}

// Hold keeps everything as it is for a while.
type Hold struct {
	Until  time.Time `json:"until"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Command is one act asked for, on …/cmd/{type}/{id}. ParseCommand reads it.
type Command struct {
	V         int             `json:"v"`
	ID        string          `json:"id"`                  // as in the topic; a repeat of it is answered, not done again
	ExpiresAt time.Time       `json:"expires_at"`          // not begun later than this
	IssuedAt  time.Time       `json:"issued_at,omitzero"`  // with a clock out of sync, ExpiresAt-IssuedAt counts from receipt
	IssuedBy  string          `json:"issued_by,omitempty"` // for the audit
	Args      json.RawMessage `json:"args,omitempty"`      // an object; what is in it depends on the type
}

// Status of a command.
const (
	StatusAccepted  = "accepted" // kept on disk; it will be done or answered, whatever happens
	StatusRunning   = "running"
	StatusSucceeded = "succeeded"
	StatusFailed    = "failed"
	StatusRejected  = "rejected" // not begun, and never will be
	StatusExpired   = "expired"
	StatusCanceled  = "canceled"
)

// Answer is what a Command is answered, on …/res/{type}/{id}; there are several, the last of which is final.
type Answer struct {
	V       int             `json:"v"`
	ID      string          `json:"id"`
	Status  string          `json:"status"`
	At      time.Time       `json:"at"`
	Phase   string          `json:"phase,omitempty"`
	Percent int             `json:"percent,omitempty"`
	Code    string          `json:"code,omitempty"`    // for programs: busy, interrupted, rate-limited, …
	Message string          `json:"message,omitempty"` // for people
	Data    json.RawMessage `json:"data,omitempty"`
}

// Final says whether nothing follows this status.
func (a Answer) Final() bool { return a.Status != StatusAccepted && a.Status != StatusRunning }

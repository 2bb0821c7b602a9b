package models

import (
	"encoding/json"
	"time"
)

// Step is how far a model has come. Each is journalled when it is complete, before the next begins.
type Step string

// The way of a model, and its ends.
const (
	StepOffered    Step = "offered"     // asked for
	StepMetadata   Step = "metadata"    // size and digest known, from signed metadata
	StepReserved   Step = "reserved"    // there is room for it
	StepFetched    Step = "fetched"     // the archive is here
	StepVerified   Step = "verified"    // it is what was signed, and each file is what its manifest says
	StepStored     Step = "stored"      // in its folder, for good
	StepTried      Step = "tried"       // a process of its own ran it
	StepShadow     Step = "shadow"      // it answered beside the live model
	StepSwitching  Step = "switching"   // about to take the live model's place
	StepProbation  Step = "probation"   // it is live, and watched
	StepConfirmed  Step = "confirmed"   // end: it stays
	StepRefused    Step = "refused"     // end: it never ran live, and its digest is refused from now on
	StepRolledBack Step = "rolled-back" // end: it ran live, and was replaced by the one before
	StepSuperseded Step = "superseded"  // end: something else was asked for meanwhile
)

// Wish is what should run in a slot.
type Wish struct {
	Target    string        `json:"target"`              // name in the signed repository
	Rev       int64         `json:"rev,omitempty"`       // rises with each wish of a document; not above the last one: ignored. 0 is a local wish
	Doc       int64         `json:"doc,omitempty"`       // rev of that document, as people know it; 0: unknown or a local wish
	Who       string        `json:"who,omitempty"`       // for the audit: fleet, technician
	Shadow    time.Duration `json:"shadow"`              // beside the live model; 0 skips it
	Probation time.Duration `json:"probation"`           // watched after the switch; 0 skips it
	NotBefore time.Time     `json:"not_before,omitzero"` // before it nothing is fetched
	Window    string        `json:"window,omitempty"`    // "22:00-05:00", local time: fetch and switch only then
	File      string        `json:"file,omitempty"`      // of Activate: an archive or folder, unsigned
	Retry     bool          `json:"retry,omitempty"`     // it is here already, and was found damaged
}

// Offer is what signed metadata says of a target.
type Offer struct {
	Target   string          `json:"target"`
	Size     int64           `json:"size"`               // bytes of the archive
	SHA256   string          `json:"sha256"`             // of the archive, hex; the name of its folder
	Manifest string          `json:"manifest,omitempty"` // SHA-256 of manifest.json where that is signed, too; needed for a bundle made by a patch
	Custom   json.RawMessage `json:"custom,omitempty"`   // the target's custom data: see Custom
}

// Bundle is a model on this device. The zero value is none.
type Bundle struct {
	Digest   string    `json:"digest,omitempty"`   // of the signed archive; empty for the configured folder
	Target   string    `json:"target,omitempty"`   // by which it came
	Model    string    `json:"model,omitempty"`    // name@version
	Engine   string    `json:"engine,omitempty"`   // on which it was tried
	Manifest string    `json:"manifest,omitempty"` // SHA-256 of its manifest.json: whoever loads it compares
	Labels   string    `json:"labels,omitempty"`   // SHA-256 of its label file: histograms compare where they are equal
	Dir      string    `json:"-"`                  // where it lies; empty: none
	Since    time.Time `json:"since,omitzero"`     // live since, as the clock then was
}

// IsNone says that there is no model.
func (b Bundle) IsNone() bool { return b.Dir == "" }

// Refused is a digest that is not tried again.
type Refused struct {
	Digest string `json:"-"`
	Target string `json:"target"`
	Slot   string `json:"slot"`
	Step   Step   `json:"step"` // the last that it completed
	Stop
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	N      uint64    `json:"n"` // rising: the oldest are forgotten first
}

// Stop is where a model was stopped, and by what. Journals of Heron before it had none: then it is the step after the last complete one.
type Stop struct {
	Stopped Step   `json:"stopped,omitempty"` // the step that it did not pass
	Check   string `json:"check,omitempty"`   // what of it: golden, latency, crash
}

// Where is "tried: golden".
func (s Stop) Where() string {
	if s.Check == "" {
		return string(s.Stopped)
	}
	return string(s.Stopped) + ": " + s.Check
}

// after fills in what a journal did not say.
func (s Stop) after(at Step) Stop {
	if s.Stopped == "" {
		s.Stopped = at.next()
	}
	return s
}

// next is the step that is under way when s is the last complete one.
func (s Step) next() Step {
	switch s {
	case StepOffered:
		return StepMetadata
	case StepMetadata:
		return StepReserved
	case StepReserved:
		return StepFetched
	case StepFetched:
		return StepVerified
	case StepVerified:
		return StepStored
	case StepStored:
		return StepTried
	case StepTried:
		return StepShadow
	case StepShadow:
		return StepSwitching
	}
	return s
}

// Outcome is how the last wish ended.
type Outcome struct {
	Target string `json:"target"`
	Rev    int64  `json:"rev,omitempty"` // Wish.Rev
	Doc    int64  `json:"doc,omitempty"` // Wish.Doc
	Digest string `json:"digest,omitempty"`
	Model  string `json:"model,omitempty"`
	Step   Step   `json:"step"`
	At     Step   `json:"at_step,omitempty"` // of a refusal: the last that it completed
	Stop
	Reason string    `json:"reason,omitempty"`
	When   time.Time `json:"when"`
}

// Counts are over the life of the journal.
type Counts struct {
	Offers, Installed, Confirmed, Refused, RolledBack, Superseded, Failures uint64
}

// record is all that a slot remembers. The live part and the next one are independent: a model on probation is watched while another is fetched.
type record struct {
	V         int        `json:"v"`
	Active    *Bundle    `json:"active,omitempty"`   // nil: the configured one, or none
	Previous  *Bundle    `json:"previous,omitempty"` // the last that was confirmed before; nil likewise
	Older     *Bundle    `json:"older,omitempty"`    // Previous's own, kept until Active is confirmed
	Probation *probation `json:"probation,omitempty"`
	Next      *next      `json:"next,omitempty"`
	Last      *Outcome   `json:"last,omitempty"`
	Rev       int64      `json:"rev,omitempty"`
	Doc       int64      `json:"doc,omitempty"` // of the wish that Rev is of
	Counts    Counts     `json:"counts"`
	Unsaid    []Entry    `json:"unsaid,omitempty"` // audit entries that may not have been handed over
}

// asked notes the newest wish that a document made.
func (r *record) asked(w Wish) {
	if w.Rev > r.Rev {
		r.Rev, r.Doc = w.Rev, w.Doc
	}
}

// probation is the watch over a new live model.
type probation struct {
	Want   time.Duration `json:"want"`
	Spent  time.Duration `json:"spent"`  // with frames, as last journalled
	Starts int           `json:"starts"` // of this agent, without a minute of health since
	Losses int           `json:"losses"` // processes, before the last start
	Wish   Wish          `json:"wish"`
	Offer  Offer         `json:"offer"`
	Ref    *Sample       `json:"ref,omitempty"`  // what the model before it did
	Same   bool          `json:"same,omitempty"` // its labels are those of the model before it
}

// next is a model on its way.
type next struct {
	Wish     Wish          `json:"wish"`
	Offer    Offer         `json:"offer,omitzero"`
	Bundle   Bundle        `json:"bundle,omitzero"`
	Step     Step          `json:"step"`
	Attempts int           `json:"attempts,omitempty"` // failures in a row that say nothing of the model
	Vain     int           `json:"vain,omitempty"`     // of them, whole transfers for nothing
	Strikes  int           `json:"strikes,omitempty"`  // tries of this step that began and did not end well; written before each
	Error    string        `json:"error,omitempty"`
	Check    string        `json:"check,omitempty"`   // of Error, if it was a *Fault
	Ref      *Sample       `json:"ref,omitempty"`     // the live model in the shadow run
	PutOff   time.Duration `json:"put_off,omitempty"` // how long ago, by the device's own running time, activity first kept the switch waiting; noted now and then
	live     Bundle        // what runs, for the job
}

type hold struct {
	Until time.Time     `json:"until,omitzero"`
	For   time.Duration `json:"for,omitempty"` // as asked: a clock that was set back does not make it longer
}

// decodeRecord reads a slot's record and refuses one that could not have been written.
func decodeRecord(b []byte) (*record, error) {
	r := &record{}
	if err := decode(b, r); err != nil {
		return nil, err
	}
	if r.V != 1 {
		return nil, damage("a record has version %d; this Heron reads 1", r.V)
	}
	for _, u := range []*Bundle{r.Active, r.Previous, r.Older} {
		if u != nil && !isDigest(u.Digest) {
			return nil, damage("a record names a model without a digest")
		}
	}
	if n := r.Next; n != nil && n.Step != StepOffered && !isDigest(n.Offer.SHA256) {
		return nil, damage("a record says %q of a model without a digest", n.Step)
	}
	return r, nil
}

func (r *record) clone() *record {
	out := &record{}
	if err := decode(encode(r), out); err != nil {
		panic(err)
	}
	return out
}

// isDigest: 64 lower-case hex digits, so nothing else ever becomes a path.
func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, c := range s {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

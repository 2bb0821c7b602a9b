package models

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"heron/internal/daily"
)

// Source finds out what a target is, and fetches it. The agent makes it of signed metadata and a client for files.
type Source interface {
	// Resolve reads the target's size and digest from signed metadata. Errors are tried again later, unless they hold a *Refusal.
	Resolve(ctx context.Context, target string) (Offer, error)
	// Fetch leaves the archive at f.Path, whole and of the signed size and digest, or fails. It resumes by itself what an earlier call began, and
	// may keep files beside it whose names begin with f.Path. A *Later in the error says that it waits.
	Fetch(ctx context.Context, f Fetching) error
}

// Fetching is one fetch. Where Source can make the bundle of one that is here and a patch, it leaves a folder at Path instead;
// Offer.Manifest must then be signed.
type Fetching struct {
	Offer    Offer
	Path     string
	Have     []Bundle                // bundles on this device, whole
	Progress func(done, total int64) // may be called often
	Waits    func(why error)         // a try failed and another follows; it ends with progress
}

// Eyes are heron-vision. A *Refusal in an error is a verdict on the model; ErrUnavailable says that nothing could be found out; any other error of
// Try, Stage and Promote is held against the model, three times.
type Eyes interface {
	// Try runs the bundle in a process of its own: contract, labels, golden pictures, finite answers, latency and memory.
	Try(ctx context.Context, slot string, b Bundle) (Trial, error)
	// Stage loads it beside the live model, for at most share (0…1) of the cameras' time.
	Stage(ctx context.Context, slot string, b Bundle, share float64) error
	// Promote puts the staged one in the live one's place. After an error Replace is called, as nobody knows which is live.
	Promote(ctx context.Context, slot string) error
	// Discard drops a staged one; none is fine.
	Discard(slot string)
	// Replace gives the slot another bundle by a new process; a bundle that IsNone leaves the slot without a model. An error is tried again.
	Replace(slot string, b Bundle) error
}

// Watcher counts what the models of a slot do. Meter is one.
type Watcher interface {
	Shadow(slot string) ShadowStats
	Live(slot string) LiveStats
	// Reset begins the counts anew: those of the shadow run, or those of the live model.
	Reset(slot string, shadow bool)
}

// Trial is what trying a model found.
type Trial struct {
	Model     string // name@version
	Engine    string
	LatencyMS float64 // 0: not measured
	RSSMB     float64 // 0: not measured
}

// ErrUnavailable: the device, not the model, is why something could not be done.
var ErrUnavailable = errors.New("not possible now")

// Refusal is a verdict: this model is no good on this device. Its digest is refused from then on.
type Refusal struct {
	Reason string // one line for people
	Check  string // what it did not pass, in a word: one of the Check constants, or the Source's or the Eyes' own
}

func (e *Refusal) Error() string { return e.Reason }

// Fault is a try that came to no verdict, and what it looked like: CheckCrash, CheckHang. It is a strike.
type Fault struct {
	Check string
	Err   error
}

func (e *Fault) Error() string { return e.Err.Error() }
func (e *Fault) Unwrap() error { return e.Err }

// What a model did not pass.
const (
	CheckArchive    = "archive"    // it cannot be unpacked, or is not what its manifest says
	CheckSize       = "size"       // it is larger than anything that is taken
	CheckTerms      = "terms"      // the signed custom data cannot be read
	CheckLatency    = "latency"    // it is too slow
	CheckMemory     = "memory"     // it takes too much
	CheckErrors     = "errors"     // frames without an answer
	CheckNotFinite  = "not-finite" // answers with NaN or infinity
	CheckHang       = "hang"       // no answer in time
	CheckCrash      = "crash"      // it took its process down
	CheckLost       = "lost"       // its process was ended again and again beside it, or the device stopped
	CheckConfidence = "confidence" // it is less sure than the model before, or than in training
	CheckUnknown    = "unknown"    // too many answers below their threshold
	CheckDrift      = "drift"      // its answers are others than those of the model before, or than in training
	CheckAgreement  = "agreement"  // it says otherwise than the model before, frame by frame
	CheckFiles      = "files"      // they are damaged
	CheckJournal    = "journal"    // what would protect from it cannot be written
)

// Entry is one line of the audit.
type Entry struct {
	When   time.Time `json:"when"`
	Slot   string    `json:"slot"`
	Who    string    `json:"who"`
	What   string    `json:"what"` // offer, install, confirm, refuse, rollback, supersede, hold, release, forget
	Target string    `json:"target,omitempty"`
	Rev    int64     `json:"rev,omitempty"` // of the document that asked for it
	Digest string    `json:"digest,omitempty"`
	Result string    `json:"result"` // ok, or the step where it ended
	Detail string    `json:"detail,omitempty"`
}

// Config is what New needs.
type Config struct {
	Dir        string            // of the store and the journal
	Slots      map[string]string // configured bundle by slot: folder or archive; empty: none
	Source     Source
	Eyes       Eyes
	Watcher    Watcher
	MaxBytes   int64                    // of all bundles; 0: 1 GiB
	KeepFree   int64                    // bytes of the disk that stay free; 0: 64 MiB
	Share      float64                  // of the cameras' time for a shadow run; 0: 0.25
	Unsigned   bool                     // Activate is allowed
	Now        func() time.Time         // as trustworthy as it gets; nil: time.Now
	Busy       func(slot string) string // why the switch is put off: local activity; nil: never. Must not block
	BusyAtMost time.Duration            // a switch is put off for; 0: for as long as Busy says. The count outlives a restart, to a 24th of it
	Audit      func(Entry)              // called in order for each slot, at least once for each entry; nil: nobody
	Changed    func()                   // State has changed; must not block or call back
}

// validate checks, and fills in the standard values.
func (c *Config) validate() error {
	if c.Dir == "" || c.Source == nil || c.Eyes == nil || c.Watcher == nil {
		return errors.New("models: Dir, Source, Eyes and Watcher are needed")
	}
	for s := range c.Slots {
		if s == "" || checkName(s) != nil || strings.Contains(s, "/") {
			return fmt.Errorf("models: the slot %q is no name", s)
		}
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.KeepFree == 0 {
		c.KeepFree = 64 << 20
	}
	if c.Share == 0 {
		c.Share = 0.25
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Busy == nil {
		c.Busy = func(string) string { return "" }
	}
	if c.Audit == nil {
		c.Audit = func(Entry) {}
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	return nil
}

// How long a wish may ask for.
const (
	MaxProbation = 7 * 24 * time.Hour
	MaxShadow    = 24 * time.Hour
)

func (w *Wish) validate() error {
	switch {
	case w.Target == "" || len(w.Target) > 256 || strings.ContainsFunc(w.Target, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("the target %.300q is no name of 1 to 256 characters", w.Target)
	case w.Shadow < 0 || w.Shadow > MaxShadow:
		return fmt.Errorf("a shadow run of %v; expected 0 to %v", w.Shadow, MaxShadow)
	case w.Probation < 0 || w.Probation > MaxProbation:
		return fmt.Errorf("a probation of %v; expected 0 to %v", w.Probation, MaxProbation)
	case w.Rev < 0:
		return fmt.Errorf("rev is %d; expected 0 or more", w.Rev)
	}
	_, err := inWindow(w.Window, time.Time{})
	return err
}

// inWindow says whether the time of day lies in "22:00-05:00"; an empty window is always open.
func inWindow(window string, t time.Time) (bool, error) {
	if window == "" {
		return true, nil
	}
	w, err := daily.ParseWindow(window)
	return err == nil && w.Open(t), err
}

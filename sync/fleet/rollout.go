package fleet

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"heron/sync/message"
)

// States of a rollout.
const (
	Running    = "running"
	Paused     = "paused" // by a person, or by itself: Reason says which; percent stays as it is
	Done       = "done"
	Aborted    = "aborted"     // given up; those that have the new target keep it
	RolledBack = "rolled-back" // given up, and the group is told to run the previous target again
)

// Rollout is the retained document on {root}/{group}/_all/rollout: all that a manager must know to go on with what another began.
type Rollout struct {
	V        int       `json:"v"`
	Seq      int64     `json:"seq"` // rises with each writing: the highest counts, see over
	ID       string    `json:"id"`
	Slot     string    `json:"slot"`
	Target   string    `json:"target"`
	Previous string    `json:"previous,omitempty"` // what the group's desired document named before; empty: nothing
	Plan     Plan      `json:"plan"`
	State    string    `json:"state"`
	Reason   string    `json:"reason,omitempty"`
	At       Position  `json:"at"`
	Owner    Owner     `json:"owner"`
	Counts   Counts    `json:"counts"`
	Started  time.Time `json:"started"`
	Updated  time.Time `json:"updated"`
	History  []Event   `json:"history"` // newest last, at most maxHistory
}

const (
	maxHistory   = 50
	maxShadow    = message.Duration(24 * time.Hour) // as in sync/models
	maxProbation = message.Duration(7 * 24 * time.Hour)
)

// Plan is how to go about it.
type Plan struct {
	Percent      []float64         `json:"percent"`       // of the waves, rising, the last one 100 as a rule
	Wait         message.Duration  `json:"wait"`          // a wave lasts at least so long
	MaxFailed    int               `json:"max_failed"`    // devices; one more and the rollout stops by itself
	MinConfirmed float64           `json:"min_confirmed"` // percent of the selected devices that are online
	Salt         string            `json:"salt"`
	NotBefore    time.Time         `json:"not_before,omitzero"`
	Window       string            `json:"window,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Shadow       *message.Duration `json:"shadow,omitempty"` // 0s: none; nil: the devices' own setting
	Probation    *message.Duration `json:"probation,omitempty"`
}

// Position is how far it has come.
type Position struct {
	Wave     int       `json:"wave"` // from 0
	Rev      int64     `json:"rev"`  // of the group's desired document that says so
	FirstRev int64     `json:"first_rev"`
	Since    time.Time `json:"since"` // of the wave
}

// Owner is who drives it.
type Owner struct {
	By      string `json:"by"`                // a person, as given
	Manager string `json:"manager"`           // the run of heron fleet that wrote last
	Driving bool   `json:"driving,omitempty"` // it is still at it; false: nobody is, until heron fleet resume
}

// Event is one decision.
type Event struct {
	At   time.Time `json:"at"`
	Who  string    `json:"who"`
	What string    `json:"what"`
}

// ParseRollout reads the document as strictly as it was written.
func ParseRollout(b []byte) (Rollout, error) {
	var r Rollout
	if len(b) > message.MaxDocument {
		return r, fmt.Errorf("%d bytes; at most %d", len(b), message.MaxDocument)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Rollout{}, err
	}
	return r, r.Validate()
}

// Validate names the first field that cannot be.
func (r Rollout) Validate() error {
	switch {
	case r.V != 1:
		return fmt.Errorf("v: %d; this is written for 1", r.V)
	case !slices.Contains([]string{Running, Paused, Done, Aborted, RolledBack}, r.State):
		return fmt.Errorf("state: %q is unknown", r.State)
	case r.At.Wave < 0 || r.At.Wave >= max(1, len(r.Plan.Percent)):
		return fmt.Errorf("at.wave: %d of %d", r.At.Wave, len(r.Plan.Percent))
	}
	if err := r.Plan.Validate(); err != nil {
		return fmt.Errorf("plan.%w", err)
	}
	return r.desired(message.Desired{V: 1}, max(r.At.Rev, 1)).Validate()
}

// Validate names the first field that cannot be.
func (p Plan) Validate() error {
	if len(p.Percent) == 0 || len(p.Percent) > 20 {
		return fmt.Errorf("percent: %d waves; 1 to 20", len(p.Percent))
	}
	for i, v := range p.Percent {
		if !(v > 0 && v <= 100) || i > 0 && v <= p.Percent[i-1] {
			return fmt.Errorf("percent: %v does not rise within 0 and 100", p.Percent)
		}
	}
	switch {
	case p.MaxFailed < 0:
		return errors.New("max_failed: less than 0")
	case !(p.MinConfirmed > 0 && p.MinConfirmed <= 100):
		return fmt.Errorf("min_confirmed: %v is not within 0 and 100", p.MinConfirmed)
	case p.Wait < 0 || time.Duration(p.Wait) > 30*24*time.Hour:
		return errors.New("wait: not within 0 and 30 days")
	case p.Shadow != nil && !(*p.Shadow >= 0 && *p.Shadow <= maxShadow):
		return fmt.Errorf("shadow: %v is not within 0 and 24 h, as devices take it", time.Duration(*p.Shadow))
	case p.Probation != nil && !(*p.Probation >= 0 && *p.Probation <= maxProbation):
		return fmt.Errorf("probation: %v is not within 0 and seven days, as devices take it", time.Duration(*p.Probation))
	}
	if err := p.asked(p.Percent[0]).Validate(); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "rollout."))
	}
	return nil
}

// asked is what a document says of the plan at so many percent.
func (p Plan) asked(percent float64) *message.Rollout {
	return &message.Rollout{Percent: &percent, Salt: p.Salt, NotBefore: p.NotBefore, Window: p.Window, Labels: p.Labels}
}

// Percent of the present wave.
func (r Rollout) Percent() float64 { return r.Plan.Percent[r.At.Wave] }

// over says which of two documents counts. Two that were written at the same moment may come in any order, another one to each reader:
// all must choose the same.
func (r Rollout) over(o Rollout) bool {
	return cmp.Or(cmp.Compare(r.Seq, o.Seq), cmp.Compare(r.Owner.Manager, o.Owner.Manager)) > 0
}

// Last says whether the present wave is the last.
func (r Rollout) Last() bool { return r.At.Wave == len(r.Plan.Percent)-1 }

// Active says whether it is neither done nor given up.
func (r Rollout) Active() bool { return r.State == Running || r.State == Paused }

// desired is what the group's document must say now, made from what it said before: other slots are left alone.
func (r Rollout) desired(before message.Desired, rev int64) message.Desired {
	m := message.DesiredModel{Slot: r.Slot, Target: r.Target, Shadow: r.Plan.Shadow, Probation: r.Plan.Probation}
	m.Rollout = r.Plan.asked(r.Percent())
	switch {
	case r.State == RolledBack: // at once: what is live is what nobody wants
		m = message.DesiredModel{Slot: r.Slot, Target: r.Previous, Shadow: new(message.Duration)}
	case r.State == Aborted && r.Previous == "":
		m.Target = "" // nothing is asked of the slot
	}
	return withModel(before, m, rev, r.Owner.By, r.Updated)
}

// withModel puts m in its slot's place.
func withModel(d message.Desired, m message.DesiredModel, rev int64, by string, now time.Time) message.Desired {
	d.V, d.Rev, d.IssuedAt, d.IssuedBy = 1, rev, now, by
	d.Models = slices.Clone(d.Models)
	i := slices.IndexFunc(d.Models, func(o message.DesiredModel) bool { return o.Slot == m.Slot })
	switch {
	case i >= 0 && m.Target == "":
		d.Models = slices.Delete(d.Models, i, i+1)
	case i >= 0:
		d.Models[i] = m
	case m.Target != "":
		d.Models = append(d.Models, m)
	}
	return d
}

// target that a document names for a slot; empty: none.
func target(d *message.Desired, slot string) string {
	if d != nil {
		for _, m := range d.Models {
			if m.Slot == slot {
				return m.Target
			}
		}
	}
	return ""
}

// note adds a decision to the history.
func (r *Rollout) note(now time.Time, who, format string, args ...any) {
	r.History = append(slices.Clone(r.History), Event{now, who, fmt.Sprintf(format, args...)})
	if over := len(r.History) - maxHistory; over > 0 {
		r.History = r.History[over:]
	}
}

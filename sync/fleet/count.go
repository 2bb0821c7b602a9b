package fleet

import (
	"fmt"
	"slices"
	"strings"

	"heron/sync/message"
)

// Counts of a rollout's devices. Selected = Confirmed + Pending + Failed.
type Counts struct {
	Devices    int `json:"devices"`    // of the group
	Online     int `json:"online"`     // of these
	Unanswered int `json:"unanswered"` // online, and have not answered the present rev
	Own        int `json:"own"`        // follow a desired document of their own
	Selected   int `json:"selected"`
	Confirmed  int `json:"confirmed"`
	Pending    int `json:"pending"`
	Failed     int `json:"failed"` // refused, rolled back, or given up
	// Of the selected that are online, on which the next wave depends.
	SelectedOnline  int `json:"selected_online"`
	ConfirmedOnline int `json:"confirmed_online"`
}

// Outcome of a rollout on one device.
type Outcome string

// Outcomes.
const (
	Unanswered  Outcome = "unanswered"   // has not said a word to this rollout
	NotSelected Outcome = "not selected" // by percent or labels
	OwnDocument Outcome = "own document" // the device's own desired document counts in this slot
	Pending     Outcome = "pending"
	Confirmed   Outcome = "confirmed"
	Failed      Outcome = "failed"
	RefusedIt   Outcome = "refused"
	WentBack    Outcome = "rolled back"
)

// Fate is what became of the rollout on one device.
type Fate struct {
	Outcome Outcome `json:"outcome"`
	Step    string  `json:"step,omitempty"`
	Percent int     `json:"percent,omitempty"`
	Detail  string  `json:"detail,omitempty"` // one line
	Current bool    `json:"current"`          // answers the present rev
}

// notSelected are the decisions by which a device is not among those chosen; with any other it will install in time.
func notSelected(decision string) bool {
	return decision == "not-selected" || decision == "labels"
}

// Fate of the rollout on a device, from its reported document.
func (r Rollout) Fate(d Device) Fate {
	s := d.Slot(r.Slot)
	if d.Reported == nil || d.Reported.GroupRev < r.At.FirstRev {
		if s != nil && s.Source == "device" {
			return Fate{Outcome: OwnDocument}
		}
		return Fate{Outcome: Unanswered}
	}
	f := Fate{Current: d.Reported.GroupRev >= r.At.Rev}
	switch {
	case s == nil:
		f.Outcome = Failed
		f.Detail = "the device has no slot " + r.Slot
		if d.Reported.Error != "" {
			f.Detail = Clean(d.Reported.Error)
		}
	case s.Source == "device":
		f.Outcome = OwnDocument
	case s.Step == message.StepWaiting && notSelected(s.Decision): // whatever target it names then
		f.Outcome, f.Detail = NotSelected, s.Decision
	case s.Target != r.Target:
		f.Outcome = Unanswered
		f.Current = false
		if d.Reported.Error != "" {
			f.Outcome, f.Detail = Failed, Clean(d.Reported.Error)
		}
	default:
		f.judge(s, d.Reported.Hold)
	}
	return f
}

func (f *Fate) judge(s *message.ReportedSlot, hold *message.Hold) {
	f.Step, f.Percent, f.Detail = s.Step, s.Percent, Clean(s.Error)
	switch s.Step {
	case message.StepConfirmed:
		f.Outcome = Confirmed
	case message.StepRefused:
		f.Outcome = RefusedIt
	case message.StepRolledBack:
		f.Outcome = WentBack
	case message.StepFailed:
		f.Outcome = Failed
	case message.StepWaiting:
		switch f.Outcome, f.Detail = Pending, s.Decision; {
		case notSelected(s.Decision):
			f.Outcome = NotSelected
		case s.Decision == "refused": // it cannot even be begun here
			f.Outcome, f.Detail = RefusedIt, Clean(s.Error)
		case s.Error != "": // what it waits for
			f.Detail += ": " + Clean(s.Error)
		}
	default:
		f.Outcome = Pending
	}
	if f.Outcome == Pending && hold != nil && f.Detail == "" {
		f.Detail = "held until " + hold.Until.Format("15:04")
	}
	if f.Detail == "" && (f.Outcome == RefusedIt || f.Outcome == WentBack) {
		f.Detail = lastRefusal(s, s.Target)
	}
}

// lastRefusal is the newest reason for which target was refused, in one line.
func lastRefusal(s *message.ReportedSlot, target string) string {
	for _, r := range s.Refused {
		if r.Target == target {
			return RefusalLine(r)
		}
	}
	return ""
}

// Reason for which a slot does not run what it is asked to, in one line; empty where there is none.
func Reason(s message.ReportedSlot) string {
	if s.Error != "" {
		return Clean(s.Error)
	}
	return lastRefusal(&s, s.Target)
}

// RefusalLine is a refusal in one line: "[tried: golden] golden picture golden/0.png is ok, not scratched".
func RefusalLine(r message.Refusal) string {
	line, at := r.Reason, r.Step
	if r.Check != "" {
		at += ": " + r.Check
	}
	if at != "" {
		line = "[" + at + "] " + line
	}
	return Clean(line)
}

// bad outcomes count against max_failed.
func (o Outcome) bad() bool { return o == Failed || o == RefusedIt || o == WentBack }

// selected outcomes are those of devices that the rollout chose.
func (o Outcome) selected() bool { return o == Pending || o == Confirmed || o.bad() }

// Count adds up a group's devices, and names those that failed, sorted.
func (r Rollout) Count(group string, devices []Device) (c Counts, failed []string) {
	for _, d := range devices {
		if d.Group != group || d.State == nil && d.Reported == nil {
			continue
		}
		f, online := r.Fate(d), d.Online()
		c.Devices++
		c.add(f, online)
		if f.Outcome.bad() {
			failed = append(failed, strings.TrimRight(fmt.Sprintf("%s %s %s", d.ID, f.Outcome, f.Detail), " "))
		}
	}
	slices.Sort(failed)
	return c, failed
}

func (c *Counts) add(f Fate, online bool) {
	if online {
		c.Online++
		if !f.Current && f.Outcome != OwnDocument {
			c.Unanswered++
		}
	}
	switch {
	case f.Outcome == OwnDocument:
		c.Own++
	case f.Outcome == Pending:
		c.Pending++
	case f.Outcome == Confirmed:
		c.Confirmed++
	case f.Outcome.bad():
		c.Failed++
	}
	if f.Outcome.selected() {
		c.Selected++
		if online {
			c.SelectedOnline++
			if f.Outcome == Confirmed {
				c.ConfirmedOnline++
			}
		}
	}
}

package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"heron/agent/status"
	"heron/sync/desired"
	"heron/sync/message"
	"heron/sync/models"
	"heron/sync/uplink"
	"heron/vision"
)

// reported is what this device says of what it runs.
func (a *Agent) reported() *message.Reported {
	o, u := a.orders, a.updates
	if o == nil {
		return nil
	}
	o.mu.Lock()
	done := decided{}
	if o.decided != nil {
		done = *o.decided
	}
	r := &message.Reported{V: 1, Rev: done.rev, GroupRev: done.groupRev, Error: o.problem, Slots: []message.ReportedSlot{}, Config: a.opt.Settings.report()}
	o.mu.Unlock()
	wants := map[string]desired.Want{}
	for _, w := range done.wanted.Models {
		wants[w.Slot] = w
	}
	running := a.vision.Stats().Slots
	engines := map[string]string{} // slot → what its model runs on
	for _, b := range running {
		engines[b.Slot] = b.Engine
	}
	refused, states, held := u.now(func() []models.SlotState { return a.configured(running) })
	for _, s := range states {
		out := reportedSlot(s, engines[s.Slot])
		if w, ok := wants[s.Slot]; ok {
			out.Source, out.Rev, out.Target = w.Source, w.Rev, w.Target
			d, waits := done.waiting[s.Slot]
			switch {
			case waits && s.Target == w.Target && d.Verdict != "refused": // it began before the rollout left this device out, and goes on
			case waits:
				out.Step, out.Decision, out.Error = message.StepWaiting, d.Verdict, d.Text
			case s.Rev < w.Order: // its step is still of what was asked before
				out.Step, out.Decision, out.Error, out.Percent = message.StepOffered, "", "", 0
			}
		}
		for _, f := range refused {
			if f.Slot == s.Slot && len(out.Refused) < 8 {
				out.Refused = append(out.Refused, message.Refusal{Target: f.Target, Digest: f.Digest, Step: string(f.Stopped), Check: f.Check, Reason: f.Reason, At: f.At})
			}
		}
		out.Since = u.stepSince(s.Slot, out.Step+out.Target)
		r.At = latest(r.At, out.Since)
		r.Slots = append(r.Slots, out)
	}
	if f := done.wanted.Firmware; f != nil { // silence would be taken for work
		r.Firmware = &message.ReportedFirmware{Target: f.Target, State: "refused", Error: "this version of heron updates no operating system; nothing is done about it"}
	}
	if held > 0 {
		r.Hold = &message.Hold{Until: time.Now().Add(held).UTC().Truncate(time.Minute)}
	}
	return r
}

// now is what the models say of themselves; without a repository they are as configured.
func (u *updates) now(configured func() []models.SlotState) ([]models.Refused, []models.SlotState, time.Duration) {
	if u == nil {
		return nil, configured(), 0
	}
	return u.models.Refused(), u.models.State(), u.models.Held()
}

// configured are the slots as they run when nothing but the configuration says what is in them.
func (a *Agent) configured(running []vision.SlotStats) (out []models.SlotState) {
	for _, m := range a.conf.Models {
		s := models.SlotState{Slot: m.Slot}
		for _, r := range running {
			if model, _, _ := strings.Cut(r.Model, "#"); r.Slot == m.Slot && model != "" {
				s.Active = models.Bundle{Dir: m.Bundle, Model: model}
			}
		}
		out = append(out, s)
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// stepSince is since when a slot's step has been what it is: a time that does not change with each look.
func (u *updates) stepSince(slot, step string) time.Time {
	if u == nil { // nothing is ever on its way
		return time.Time{}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.steps[slot] != step || u.since[slot].IsZero() {
		u.steps[slot], u.since[slot] = step, time.Now().UTC().Truncate(time.Second)
	}
	return u.since[slot]
}

func reportedSlot(s models.SlotState, engine string) message.ReportedSlot {
	out := message.ReportedSlot{Slot: s.Slot, Active: reportedModel(s.Active), Previous: reportedModel(s.Previous), Staged: reportedModel(s.Staged), Percent: s.Percent, Error: s.Error}
	if out.Active != nil && engine != "" {
		out.Active.Engine = engine
	}
	if s.Target != "" && out.Staged == nil {
		out.Staged = &message.ReportedModel{Target: s.Target}
	}
	out.Step = stepWord(s)
	if s.Step == models.StepRefused || s.Step == models.StepRolledBack {
		out.Error = fmt.Sprintf("[%s] %s", s.Last.Where(), s.Last.Reason)
	}
	if s.Deferred != "" {
		out.Step, out.Decision, out.Error = message.StepWaiting, "deferred", s.Deferred
	}
	if out.Error == "" {
		out.Error = s.Trouble
	}
	return out
}

// stepWord is the contract's word for where a slot is.
func stepWord(s models.SlotState) string {
	switch s.Step {
	case models.StepSwitching:
		return message.StepSwapped
	case models.StepSuperseded: // withdrawn, with nothing in its place: what is live stays
		return message.StepConfirmed
	}
	return string(s.Step)
}

func reportedModel(b models.Bundle) *message.ReportedModel {
	if b.IsNone() {
		return nil
	}
	name, version, _ := strings.Cut(b.Model, "@")
	return &message.ReportedModel{Target: b.Target, Name: name, Version: version, Digest: b.Digest, Engine: b.Engine, Since: b.Since}
}

// documents are what the uplink keeps at the broker beside state and info.
func (a *Agent) documents() []uplink.Document {
	var docs []uplink.Document
	if r := a.reported(); r != nil && a.orders.ready() {
		if b, err := json.Marshal(r); err == nil { // our own types hold nothing that could fail
			docs = append(docs, uplink.Document{Topic: "reported", Payload: b, Retained: true})
		}
	}
	return append(docs, a.adapters.documents()...)
}

// updateViews adds to the page what is on its way to each slot.
func (a *Agent) updateViews(s *status.Snapshot) {
	if a.updates == nil {
		return
	}
	r := a.reported()
	for i := range s.Models {
		for _, slot := range r.Slots {
			if slot.Slot != s.Models[i].Slot {
				continue
			}
			up := &status.Update{Step: slot.Step, Percent: slot.Percent, Target: slot.Target, Decision: slot.Decision, Reason: slot.Error, Rev: slot.Rev, HoldUntil: a.holdUntil()}
			if up.Target == "" && slot.Staged != nil {
				up.Target = slot.Staged.Target
			}
			if slot.Previous != nil {
				up.Previous = slot.Previous.Name + "@" + slot.Previous.Version
			}
			s.Models[i].Update = up
		}
	}
}

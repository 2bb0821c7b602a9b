package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"heron/agent/status"
	"heron/inference"
	"heron/vision"
)

// How often every engine is looked at for the page and the inventory: it costs a process of half a second.
const (
	lookFirst  = 3 * time.Second // after the start, when the models are loaded
	lookChange = 10 * time.Second
	lookEvery  = time.Hour
)

// lookAtEngines keeps the list of engines true: at the start, after an engine was lost or came back, and once an hour.
func (a *Agent) lookAtEngines(ctx context.Context) error {
	t := time.NewTimer(lookFirst)
	defer t.Stop()
	var looked time.Time
	var seen uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		s := a.vision.Stats()
		changes := 1 + s.Fallbacks + s.Returns
		if s.State == vision.StateRunning && (changes != seen || time.Since(looked) > lookEvery) {
			looked, seen = time.Now(), changes
			a.lookOnce(ctx)
		}
		t.Reset(lookChange)
	}
}

// lookOnce asks heron-vision for every engine. What cannot be looked at keeps its last answer.
func (a *Agent) lookOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	list, err := vision.Look(ctx, a.lookConf)
	if err != nil {
		if ctx.Err() == nil {
			a.log.Warn("the engines could not be looked at", "error", err)
		}
		return
	}
	a.mu.Lock()
	a.engines = list
	a.mu.Unlock()
}

// assessEngines tells of engines that were lost, and of those that the configuration names and that never started. An engine that only the
// bundle would rather have is the page's affair: most devices of a fleet have no accelerator.
func assessEngines(f facts) (out []reason) {
	for _, s := range f.vision.Standby {
		named := slices.ContainsFunc(f.models, func(m Model) bool { return m.Slot == s.Slot && slices.Contains(m.Engine, s.Engine) })
		if !s.Lost && !named {
			continue
		}
		in := ""
		if i := slices.IndexFunc(f.vision.Slots, func(b vision.SlotStats) bool { return b.Slot == s.Slot }); i >= 0 && f.vision.Slots[i].Engine != "" {
			b := f.vision.Slots[i]
			if on := inference.Choice(b.Engine, b.Device); s.Engine != on && s.Engine != b.Engine { // else it did until now
				in = " runs on " + on + ","
			}
		}
		out = append(out, reason{Code: "engine-fallback", Camera: s.Slot + "/" + s.Engine, Severity: "warning", NextStep: s.NextStep,
			Text: fmt.Sprintf("model slot %s%s not on %s: %s", s.Slot, in, s.Engine, s.Reason)})
	}
	return out
}

// standbyViews are the engines that a slot should rather run on.
func standbyViews(slot string, vs vision.ClientStats) (out []status.Standby) {
	for _, s := range vs.Standby {
		if s.Slot == slot {
			out = append(out, status.Standby{Engine: s.Engine, Code: s.Code, Reason: s.Reason, NextStep: s.NextStep, Lost: s.Lost, Since: s.Since, RetryInS: s.RetryIn.Seconds()})
		}
	}
	return out
}

// engineViews are the engines as last looked at, and those at work that no look has told of yet. a.mu is held.
func (a *Agent) engineViews(vs vision.ClientStats) (out []status.Engine) {
	known := a.knownEngines(vs)
	for _, e := range known {
		out = append(out, status.Engine{Engine: e.Engine, Device: e.Device, Present: e.Present, Usable: e.Usable, InUse: e.InUse(vs.Slots),
			Version: e.Version, Reason: e.Reason, NextStep: e.NextStep})
	}
	for i, s := range vs.Slots {
		here := status.Engine{Engine: s.Engine, Device: s.Device, Present: true, Usable: true, InUse: true}
		told := func(e vision.EngineReport) bool { return e.InUse(vs.Slots[i : i+1]) }
		if s.Engine != "" && !slices.ContainsFunc(known, told) && !slices.Contains(out, here) {
			out = append(out, here)
		}
	}
	return out
}

// knownEngines are those of the last look; before it, what the hello said. a.mu is held.
func (a *Agent) knownEngines(vs vision.ClientStats) []vision.EngineReport {
	if a.engines != nil {
		return a.engines
	}
	return vs.Engines
}

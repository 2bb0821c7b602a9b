package agent

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"heron/agent/board"
	"heron/sync/message"
	"heron/sync/outbox"
	"heron/sync/uplink"
	"heron/vision"
)

// States of the device, best first.
const (
	stateOK       = "ok"
	stateDegraded = "degraded" // does its job in part, or with a helper missing
	stateFailed   = "failed"   // no camera is being classified
)

// reason is one thing that is not as it should be.
type reason struct {
	Code, Camera   string // together its identity
	Severity       string // warning, critical
	Text, NextStep string
	Since          time.Time // filled in by the watch
}

// facts is what assess judges: copies of counters, nothing live.
type facts struct {
	now       time.Time
	started   time.Time
	cameras   []Camera
	models    []Model
	vision    vision.ClientStats
	outbox    outbox.Stats
	uplink    uplink.Stats
	linked    bool                 // a broker is configured
	unfit     map[string][]string  // camera → facts of its last frame
	reopened  map[string]time.Time // camera → when it was last opened anew
	relapses  map[string]int       // camera → how often in a row it gave frames and failed again, each within grace of the one before
	troubles  []board.Trouble      // of the board
	orders    []board.Order        // rates that it allows
	config    *message.ReportedConfig
	stale     string    // why no new model can be installed
	moved     int64     // bytes of files, both ways, since the start
	fullAt    time.Time // when the outbox last dropped records because it was full
	damagedAt time.Time // when an outbox file was last set aside
}

// grace is how long a part may take to start, or the link to be away, before that is worth a reason.
const grace = 30 * time.Second

// damaged is how long a file that was set aside is a reason: it is over and done with, and the state of a device that runs for a year is not about that.
const damaged = time.Hour

// relapses is how often a camera may come and go before it is failing until it has held for grace: one that is silent after its first frame
// would else make four alarm records every few seconds.
const relapses = 3

// assess derives the device's state from its parts' counters. It is pure: the same facts give the same answer.
func assess(f facts) (state string, reasons []reason) {
	working := 0
	for _, cam := range f.cameras {
		r, ok := assessCamera(f, cam)
		if ok {
			working++
		}
		reasons = append(reasons, r...)
	}
	reasons = append(reasons, assessVision(f)...)
	reasons = append(reasons, assessEngines(f)...)
	reasons = append(reasons, assessOutbox(f)...)
	reasons = append(reasons, assessUplink(f)...)
	reasons = append(reasons, assessBoard(f)...)
	reasons = append(reasons, assessConfig(f.config)...)
	if f.stale != "" {
		reasons = append(reasons, reason{Code: "repository-expired", Severity: "warning", Text: "no new model is installed, the repository's metadata has " + f.stale,
			NextStep: "see that the metadata is signed and uploaded every day (heron fleet repo refresh), and that this device's clock is right; what runs goes on"})
	}
	state = stateOK
	if len(reasons) > 0 {
		state = stateDegraded
	}
	ended := f.vision.State == "ended"
	if working == 0 && !ended && f.now.Sub(f.started) > 5*time.Second {
		state = stateFailed
	}
	return state, reasons
}

// assessCamera says what is wrong with one camera, and whether its frames are being classified.
func assessCamera(f facts, cam Camera) (reasons []reason, working bool) {
	i := slices.IndexFunc(f.vision.Cameras, func(s vision.CameraStats) bool { return s.Name == cam.Name })
	if i < 0 || f.vision.State != "running" {
		return nil, false // heron-vision's own reason says why
	}
	s := f.vision.Cameras[i]
	add := func(code, severity, next, format string, args ...any) {
		reasons = append(reasons, reason{Code: code, Camera: cam.Name, Severity: severity, NextStep: next, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case s.State == "ended":
		return nil, true
	case s.State == "reopening" || s.State == "opening" && s.Errors > 0:
		add("camera-failing", "critical", nextForCamera(cam, s.LastError), "camera %s: %s", cam.Name, redactURL(s.LastError))
	case s.FrameAge > cam.Stall.Seconds():
		add("camera-stale", "critical", nextForSilent(cam.Source), "camera %s: no new frame for %.0f s", cam.Name, s.FrameAge)
	case f.now.Sub(f.reopened[cam.Name]) < grace && f.relapses[cam.Name] >= relapses:
		add("camera-failing", "critical", nextForCamera(cam, s.LastError), "camera %s is opened anew again and again%s", cam.Name, after(": ", redactURL(s.LastError)))
	case f.now.Sub(f.reopened[cam.Name]) < grace:
		add("camera-reopened", "warning", "if this comes back, check its cable, power and address", "camera %s was opened anew%s", cam.Name, after(": ", redactURL(s.LastError)))
	}
	for _, fact := range f.unfit[cam.Name] {
		if s.FrameAge > cam.Stall.Seconds() { // of a picture from before
			break
		}
		t := textOf(fact)
		add(t.code, "warning", t.next, "camera %s: %s", cam.Name, t.text)
	}
	if !f.classified(cam.Name) {
		return reasons, false
	}
	return reasons, s.State == "running" && s.FrameAge >= 0 && s.FrameAge <= cam.Stall.Seconds()
}

// classified says whether a loaded model looks at this camera.
func (f facts) classified(camera string) bool {
	return slices.ContainsFunc(f.models, func(m Model) bool {
		return slices.Contains(m.Cameras, camera) && !slices.ContainsFunc(f.vision.Refusals, func(r vision.Refused) bool { return r.Slot == m.Slot })
	})
}

// after is what is known, behind a mark; nothing where nothing is: a process that is new has no last error.
func after(mark, text string) string {
	if text == "" {
		return ""
	}
	return mark + text
}

func assessVision(f facts) (out []reason) {
	v := f.vision
	for _, r := range v.Refusals {
		out = append(out, reason{Code: "model-refused", Camera: r.Slot, Severity: "critical", NextStep: r.NextStep, Text: fmt.Sprintf("model slot %s: %s", r.Slot, r.Reason)})
	}
	switch {
	case v.State == "crash-loop":
		out = append(out, reason{Code: "vision-crash-loop", Severity: "critical", NextStep: "heron-vision's own words are in the log (journalctl -u heron)",
			Text: fmt.Sprintf("heron-vision keeps ending: %s; next try in %.0f s", v.LastReason, v.RetryIn.Seconds())})
	case v.State != "running" && v.State != "ended" && v.State != "refused" && f.now.Sub(v.Since) > 3*time.Second:
		out = append(out, reason{Code: "vision-not-running", Severity: "critical", NextStep: "wait, or see the log (journalctl -u heron)", Text: "heron-vision is " + v.State + after("; ", v.LastReason)})
	case v.Restarts > 0 && f.now.Sub(v.LastAt) < grace:
		out = append(out, reason{Code: "vision-replaced", Severity: "warning", Text: v.LastReason})
	}
	return out
}

func assessOutbox(f facts) (out []reason) {
	switch o := f.outbox; {
	case o.State == "memory":
		out = append(out, reason{Code: "disk-failing", Severity: "critical", Text: "results are kept in memory only: " + o.Reason, NextStep: "check the disk under the outbox: space, mount, health"})
	case o.State == "failed":
		out = append(out, reason{Code: "outbox-failed", Severity: "critical", Text: "results cannot be kept: " + o.Reason, NextStep: "check outbox.path"})
	case o.State == "opening" && f.now.Sub(f.started) > grace:
		out = append(out, reason{Code: "outbox-opening", Severity: "warning", Text: "the outbox is still being opened and checked; results wait in memory"})
	}
	if n := f.outbox.Quarantined; n > 0 && f.now.Sub(f.damagedAt) < damaged {
		out = append(out, reason{Code: "outbox-damaged", Severity: "warning", NextStep: "check the disk; `heron outbox verify` reads what is there now",
			Text: fmt.Sprintf("a damaged outbox was set aside; %d records were brought over, %s", f.outbox.Salvaged, lostWith(f.outbox))})
	}
	if n := f.outbox.Dropped["full"]; n > 0 && f.now.Sub(f.fullAt) < 10*time.Minute {
		out = append(out, reason{Code: "outbox-full", Severity: "warning", Text: fmt.Sprintf("the outbox is full; %d of the oldest records were dropped", n), NextStep: "bring the link back, or raise outbox.max_size"})
	}
	return out
}

func lostWith(o outbox.Stats) string {
	if o.Uncounted {
		return "how many were lost cannot be told"
	}
	return fmt.Sprintf("%d lost", o.Dropped["corrupt"])
}

func assessUplink(f facts) []reason {
	if !f.linked {
		return nil
	}
	u := f.uplink
	switch {
	case u.State == "refused":
		return []reason{{Code: "link-refused", Severity: "critical", Text: "the link to the broker is refused" + after(": ", u.Reason), NextStep: cmp.Or(u.NextStep, "check uplink.credentials and the broker's access list")}}
	case u.State != "online" && f.now.Sub(u.Since) > grace:
		return []reason{{Code: "link-down", Severity: "warning", Text: "no link to the broker" + after(": ", u.Reason), NextStep: "results are kept and sent later; check the network if this lasts"}}
	}
	return nil
}

// assessConfig is about the newest change to the settings from afar.
func assessConfig(c *message.ReportedConfig) []reason {
	const next = "correct the patch and raise config.rev in the desired document; until then the settings from before hold"
	switch {
	case c == nil:
	case c.State == message.ConfigReverted:
		return []reason{{Code: "config-reverted", Severity: "warning", Text: fmt.Sprintf("the settings of rev %d were taken back: %s", c.Rev, c.Error), NextStep: next}}
	case c.State == message.ConfigRefused:
		return []reason{{Code: "config-refused", Severity: "warning", Text: fmt.Sprintf("the settings of rev %d were not taken: %s", c.Rev, c.Error), NextStep: next}}
	case c.State == message.ConfigApplied && c.Error != "": // the file was changed by hand since
		return []reason{{Code: "config-refused", Severity: "warning", Text: fmt.Sprintf("the settings of rev %d no longer fit the device's own: %s", c.Rev, c.Error), NextStep: next}}
	}
	return nil
}

// watch remembers since when each reason holds and tells what began and what ended.
type watch struct {
	state   string
	reasons []reason
}

// update takes a new assessment and returns the reasons that began and those that ended.
func (w *watch) update(now time.Time, state string, reasons []reason) (began, ended []reason, changed bool) {
	for i := range reasons {
		if k := slices.IndexFunc(w.reasons, samePlace(reasons[i])); k >= 0 {
			reasons[i].Since = w.reasons[k].Since
			continue
		}
		reasons[i].Since = now
		began = append(began, reasons[i])
	}
	for _, old := range w.reasons {
		if !slices.ContainsFunc(reasons, samePlace(old)) {
			ended = append(ended, old)
		}
	}
	changed = state != w.state || len(began)+len(ended) > 0
	w.state, w.reasons = state, reasons
	return began, ended, changed
}

// resume says since when a reason holds that has just begun for this watch.
func (w *watch) resume(r reason, since time.Time) {
	if i := slices.IndexFunc(w.reasons, samePlace(r)); i >= 0 {
		w.reasons[i].Since = since
	}
}

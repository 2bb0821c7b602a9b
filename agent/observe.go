package agent

import (
	"context"
	"os"
	"time"

	"heron/internal/clock"
	"heron/sync/message"
	"heron/vision"
)

// seen is what the last tick saw, to tell what is new.
type seen struct {
	restarts      uint64
	up, down      meter  // bytes on the link
	day           int    // of the month, UTC
	writtenBefore uint64 // bytes written before this day
	movedBefore   int64  // bytes that files cost before this day
	full          uint64
	fullAt        time.Time
	quarantined   uint64
	damagedAt     time.Time
	offset        time.Duration // wall clock minus time since boot: a step of the wall clock changes it
	health        time.Time     // last health record
}

// clockStep is the smallest step of the wall clock that is worth a record; slewing stays far below it in one tick.
const clockStep = time.Second

// observe takes one observation from heron-vision: it becomes a result, events and part of a rollup. It never blocks.
func (a *Agent) observe(obs vision.Observation) {
	now := message.Now()
	a.mu.Lock()
	if v := a.views[obs.Camera]; v != nil {
		v.add(now.T, obs)
	}
	if v := a.slots[obs.Slot]; v != nil {
		v.add(obs)
		a.fit.saw(obs)
	}
	if a.updates != nil && (len(obs.Top) > 0 || obs.Error != "") {
		a.updates.meter.Saw(obs.Slot, lookOf(obs.Top, obs.LatMS, obs.Error, obs.Code))
	}
	if a.conf.Uplink.Results == "every" {
		a.outbox.Put(result(obs))
	}
	for _, e := range a.tracker.Step(now, obs) {
		a.putEvent(e)
	}
	for _, r := range a.rollup.Add(now, obs) {
		a.outbox.Put(r)
	}
	a.mu.Unlock()
	if a.opt.Observe != nil {
		a.opt.Observe(obs)
	}
}

func result(obs vision.Observation) message.ResultRecord {
	r := message.ResultRecord{
		Stamp:  message.Stamp{T: obs.At, Mono: time.Duration(obs.MonoMS) * time.Millisecond},
		Camera: obs.Camera, Model: obs.Model, Engine: obs.Engine, Frame: obs.Frame, LatMS: obs.LatMS, AgeMS: obs.AgeMS,
		Facts: obs.Facts, Name: obs.Name, Error: obs.Error,
	}
	for i, s := range obs.Top {
		if i == mostScores || i > 0 && s.Score < leastScore {
			break
		}
		r.Top = append(r.Top, message.Score{Label: s.Label, Score: s.Score})
	}
	return r
}

// A record carries the best answer and what comes near it; the noise below would be half of what a result costs on the link.
// The page and heron classify show five.
const (
	mostScores = 3
	leastScore = 0.01
)

func (a *Agent) putEvent(e message.EventRecord) {
	if a.conf.Uplink.Results != "rollups" {
		a.outbox.Put(e)
	}
}

// visionChanges logs what heron-vision's state becomes; the page and the records read it from Stats. What is called takes turns with itself.
func (a *Agent) visionChanges() func(vision.ClientStats) {
	var state string
	var pid int
	return func(s vision.ClientStats) {
		if (s.State == "loading" || s.State == "running") && s.State == state && s.PID == pid {
			return // one more model is loaded
		}
		state, pid = s.State, s.PID
		a.visionChanged(s)
	}
}

func (a *Agent) visionChanged(s vision.ClientStats) {
	attrs := []any{"state", s.State, "pid", s.PID}
	if s.LastReason != "" {
		attrs = append(attrs, "last", s.LastReason)
	}
	switch s.State {
	case "replacing", "crash-loop":
		a.log.Warn("heron-vision", append(attrs, "retry_in", s.RetryIn.Round(time.Millisecond))...)
	case "refused":
		for _, r := range s.Refusals {
			a.log.Error("model refused", "slot", r.Slot, "code", r.Code, "reason", r.Reason, "next", r.NextStep)
		}
	default:
		a.log.Info("heron-vision", attrs...)
	}
}

// tick judges the parts once a second: rollups, health, alarms, clock steps.
func (a *Agent) tick(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		a.look(message.Now())
		a.refreshAdapters(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (a *Agent) look(now message.Stamp) {
	f := a.gather(now.T)
	a.watchModels(f.vision)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lookAtClock(now)
	a.lookAtVision(now, f.vision)
	a.lookAtUse(now.T, f)
	for _, e := range a.tracker.Tick(now) {
		a.putEvent(e)
	}
	for _, r := range a.rollup.Flush(now) {
		a.outbox.Put(r)
	}
	state, reasons := assess(f)
	began, over, changed := a.watch.update(now.T, state, reasons)
	a.tell(now, f, began, over)
	if changed || now.T.Sub(a.seen.health).Abs() >= time.Minute {
		a.seen.health = now.T
		a.outbox.Put(a.health(now, f))
	}
}

// gather copies the counters that assess judges.
func (a *Agent) gather(now time.Time) facts {
	f := facts{now: now, started: a.started, cameras: a.conf.Cameras, models: a.conf.Models, linked: a.uplink != nil, outbox: a.outbox.Stats(), vision: a.visionStats(), config: a.opt.Settings.report(), moved: a.moved()}
	if a.uplink != nil {
		f.uplink = a.uplink.Stats()
	}
	f.stale = a.updates.stale()
	a.mu.Lock()
	defer a.mu.Unlock()
	if full := f.outbox.Dropped["full"]; full > a.seen.full {
		a.seen.full, a.seen.fullAt = full, now
	}
	if q := f.outbox.Quarantined; q > a.seen.quarantined {
		a.seen.quarantined, a.seen.damagedAt = q, now
	}
	f.fullAt, f.damagedAt = a.seen.fullAt, a.seen.damagedAt
	f.troubles, f.orders = a.fit.troubles, a.fit.orders
	f.unfit, f.reopened, f.relapses = map[string][]string{}, map[string]time.Time{}, map[string]int{}
	for name, v := range a.views {
		f.unfit[name], f.reopened[name], f.relapses[name] = v.last.Facts, v.reopenedAt, v.relapses
	}
	return f
}

// visionStats are the client's, with the bundles that never reached it.
func (a *Agent) visionStats() vision.ClientStats {
	s := a.vision.Stats()
	s.Refusals = append(s.Refusals[:len(s.Refusals):len(s.Refusals)], a.unpacked...)
	return s
}

// lookAtClock makes a record of every step of the wall clock, so that readers can correct t by boot and mono_ms.
func (a *Agent) lookAtClock(now message.Stamp) {
	offset := time.Duration(now.T.UnixNano()) - now.Mono
	if a.seen.offset != 0 {
		if step := offset - a.seen.offset; step.Abs() >= clockStep {
			a.outbox.Put(message.ClockRecord{Stamp: now, Boot: clock.BootID(), Wall: now.T, StepMS: step.Milliseconds(), Source: "step"})
			a.log.Warn("the wall clock stepped", "by", step.Round(time.Millisecond))
		}
	}
	a.seen.offset = offset
}

// lookAtVision makes an alarm of each replacement and counts the frames that were replaced by newer ones.
func (a *Agent) lookAtVision(now message.Stamp, s vision.ClientStats) {
	if s.Restarts > a.seen.restarts {
		a.replaced(now, s)
		a.seen.restarts = s.Restarts
	}
	for _, c := range s.Cameras {
		v := a.views[c.Name]
		before := v.count
		v.counted(c)
		a.rollup.Drop(c.Name, "newer-frame", int(v.count.Dropped-before.Dropped))
		if v.count.Reopened > before.Reopened && v.count.Read > 0 { // a short stall may be over before the state is looked at
			v.reopen(now.T)
		}
	}
}

// lookAtUse keeps the sums that begin anew at midnight UTC apart from those that do not.
func (a *Agent) lookAtUse(now time.Time, f facts) {
	a.seen.up.take(f.uplink.SentToday)
	a.seen.down.take(f.uplink.ReceivedToday)
	if day := now.UTC().Day(); day != a.seen.day {
		if a.seen.day != 0 {
			a.seen.writtenBefore, a.seen.movedBefore = f.outbox.Written, f.moved
		}
		a.seen.day = day
	}
}

// meter adds up a counter that falls back to zero now and then.
type meter struct {
	total uint64
	last  int64
}

func (m *meter) take(v int64) {
	if v < m.last {
		m.last = 0
	}
	m.total += uint64(v - m.last)
	m.last = v
}

func (a *Agent) health(now message.Stamp, f facts) message.HealthRecord {
	own := readProcess(os.Getpid())
	h := message.HealthRecord{
		Stamp: now, State: a.watch.state, Reasons: []string{}, UptimeS: int64(time.Since(a.started).Seconds()), CPU: own.cpu.Seconds() / max(1, time.Since(a.started).Seconds()),
		RSS:      &message.RSS{Core: own.rss, Vision: f.vision.RSS},
		DiskFree: diskFree(a.conf.Outbox.Path), Backlog: message.Backlog{Records: total(f.outbox.Records), Bytes: total(f.outbox.Bytes)},
		Link: a.linkUse(f), Written: int64(f.outbox.Written - a.seen.writtenBefore),
		Vision: message.VisionPart{State: f.vision.State, Restarts: int64(f.vision.Restarts), Last: f.vision.LastReason},
	}
	for _, r := range a.watch.reasons {
		h.Reasons = append(h.Reasons, r.Code)
	}
	h.Throttled, h.UnderVoltage = a.fit.state.Throttled, a.fit.state.UnderVoltage
	if z, ok := a.fit.state.Hottest(); ok {
		h.TempC = &z.C
	}
	if !f.outbox.Oldest.IsZero() {
		h.Backlog.OldestS = int64(now.T.Sub(f.outbox.Oldest).Seconds())
	}
	return h
}

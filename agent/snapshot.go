package agent

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"heron/agent/status"
	"heron/camera"
	"heron/inference"
	"heron/internal/clock"
	"heron/sync/message"
	"heron/vision"
)

// Snapshot tells the page, /api/v1/status and /metrics the present state. It judges anew at each call, so that the page is never
// older than the parts' own counters.
func (a *Agent) Snapshot() status.Snapshot {
	now := time.Now()
	f := a.gather(now)
	a.mu.Lock()
	defer a.mu.Unlock()
	state, reasons := assess(f)
	own := readProcess(os.Getpid())
	s := status.Snapshot{
		At: now, State: state,
		Device: status.Device{Group: a.conf.Device.Group, ID: a.conf.Device.ID, Agent: a.opt.Version, Boot: clock.BootID(),
			UptimeS: now.Sub(a.started).Seconds(), Hardware: hardware(), Started: a.started},
		Vision:  visionView(f.vision),
		Outbox:  a.outboxView(f),
		Uplink:  a.uplinkView(f),
		Board:   a.boardView(),
		Process: status.Process{RSS: own.rss, CPUS: own.cpu.Seconds(), Goroutines: runtime.NumGoroutine(), Version: runtime.Version()},
	}
	for _, r := range reasons {
		s.Reasons = append(s.Reasons, status.Reason{Code: r.Code, Since: a.watch.since(r, now), Text: r.Text, NextStep: r.NextStep, Blocking: r.Severity == "critical" && state == stateFailed})
	}
	for _, cam := range a.conf.Cameras {
		s.Cameras = append(s.Cameras, a.cameraView(now, cam, f.vision))
	}
	a.modelViews(&s, f.vision)
	a.updateViews(&s)
	t := a.tracker.Stats()
	s.Events = status.Events{Entered: t.Entered, Exited: t.Exited, Still: t.Still, Suppressed: t.Suppressed, Unfit: t.Unfit, ClockJumps: t.ClockJumps}
	return s
}

// since is when r began, as the watch remembers it; now for what the watch has not seen yet.
func (w *watch) since(r reason, now time.Time) time.Time {
	for _, known := range w.reasons {
		if known.Code == r.Code && known.Camera == r.Camera {
			return known.Since
		}
	}
	return now
}

// Picture is the newest frame of a camera as JPEG, with what it became.
func (a *Agent) Picture(ctx context.Context, camera string, o status.PictureOptions) (status.Picture, error) {
	p, err := a.vision.Snapshot(ctx, camera, vision.SnapshotOptions{MaxWidth: o.MaxWidth, Draw: o.Draw, Age: o.Age, Have: vision.FrameID(o.Have)})
	if err != nil {
		return status.Picture{}, err
	}
	return status.Picture{JPEG: p.JPEG, Caption: caption(p.Last), Frame: status.FrameID(p.Frame), Age: p.Age, Same: p.Same}, nil
}

// Card draws words in place of a picture; no heron-vision is needed for it.
func (a *Agent) Card(width, height int, title string, lines ...string) ([]byte, error) {
	return camera.EncodeJPEG(camera.Card(width, height, title, lines...), 0, 80)
}

func caption(o *vision.Observation) string {
	switch {
	case o == nil:
		return ""
	case len(o.Top) > 0:
		return fmt.Sprintf("frame %d: %s %.1f %%", o.Frame, o.Top[0].Label, 100*o.Top[0].Score)
	case len(o.Facts) > 0:
		return fmt.Sprintf("frame %d: %s, not classified", o.Frame, strings.Join(o.Facts, ", "))
	}
	return fmt.Sprintf("frame %d: %s", o.Frame, o.Error)
}

func (a *Agent) cameraView(now time.Time, cam Camera, vs vision.ClientStats) status.Camera {
	v := a.views[cam.Name]
	c := status.Camera{Name: cam.Name, Source: redactSource(cam.Source), State: "opening", FPS: v.fps(now), FrameAgeS: -1, Facts: v.last.Facts}
	for _, m := range a.conf.Models {
		if slices.Contains(m.Cameras, cam.Name) {
			c.Slot = m.Slot
		}
	}
	if i := slices.IndexFunc(vs.Cameras, func(s vision.CameraStats) bool { return s.Name == cam.Name }); i >= 0 {
		b := vs.Cameras[i]
		c.State, c.FrameAgeS, c.Width, c.Height, c.LastError = b.State, b.FrameAge, b.Width, b.Height, redactURL(b.LastError)
		if vs.State == vision.StateEnded && b.FrameAge >= 0 { // its last word is from then
			c.FrameAgeS += max(0, now.Sub(vs.Since).Seconds())
		}
	}
	c.FPSWanted = *cam.FPS
	if o := a.fit.order(cam.Name); o.Wanted > 0 {
		c.FPSWanted = o.Wanted
	}
	c.FPSNow = c.FPSWanted
	if o := a.fit.order(cam.Name); o.Slowed() {
		c.FPSNow, c.SlowedSince, c.SlowedBy = o.FPS, o.Since, o.Why
	}
	n := v.count
	c.ClockJumps = n.ClockJumps
	c.Frames, c.Dropped, c.Inferred, c.Reopened, c.Errors = n.Read, n.Dropped, n.Inferred, n.Reopened, n.Errors
	if o := v.last; !o.At.IsZero() {
		c.Last = &status.Last{Frame: o.Frame, At: o.At, Name: o.Name, Engine: o.Engine, Model: o.Model, LatMS: o.LatMS, AgeMS: o.AgeMS, Facts: o.Facts, Error: o.Error}
		for _, s := range o.Top {
			c.Last.Top = append(c.Last.Top, status.Score{Label: s.Label, Score: s.Score})
		}
	}
	return c
}

func (a *Agent) modelViews(s *status.Snapshot, vs vision.ClientStats) {
	for _, m := range a.conf.Models {
		v := status.Model{Slot: m.Slot, State: "loading"}
		if i := slices.IndexFunc(vs.Slots, func(b vision.SlotStats) bool { return b.Slot == m.Slot && b.Model != "" }); i >= 0 {
			b := vs.Slots[i]
			v.State, v.Engine = "live", b.Engine
			v.Name, v.Version = splitModel(b.Model)
			v.Digest, v.Labels, v.Device = b.Digest, b.Labels, b.Device
			s.Engine = b.Engine
		}
		if i := slices.IndexFunc(vs.Refusals, func(r vision.Refused) bool { return r.Slot == m.Slot }); i >= 0 {
			r := vs.Refusals[i]
			v.State, v.Refusal = "refused", &status.Refusal{Code: r.Code, Reason: r.Reason, NextStep: r.NextStep}
		}
		v.Standby = standbyViews(m.Slot, vs)
		v.Latency, v.Errors = a.slots[m.Slot].latency.Clone(), a.slots[m.Slot].errors
		s.Models = append(s.Models, v)
	}
	s.Engines = append(s.Engines, a.engineViews(vs)...)
}

// splitModel takes name@version#digest apart.
func splitModel(id string) (name, version string) {
	id, _, _ = strings.Cut(id, "#")
	name, version, _ = strings.Cut(id, "@")
	return name, version
}

func visionView(v vision.ClientStats) status.Vision {
	return status.Vision{State: v.State, Since: v.Since, PID: v.PID, Version: v.Version, Restarts: v.Restarts, Fallbacks: v.Fallbacks, Returns: v.Returns, ByCause: v.ByCause,
		LastCause: v.LastCause, LastReason: v.LastReason, LastAt: v.LastAt, RetryInS: v.RetryIn.Seconds(), RSS: v.RSS}
}

func (a *Agent) outboxView(f facts) status.Outbox {
	o := f.outbox
	s := status.Outbox{State: o.State, Reason: o.Reason, Since: o.Since, Epoch: o.Epoch, NextSeq: o.NextSeq, Records: total(o.Records), Bytes: total(o.Bytes),
		ByStream: map[string]int64{}, FileBytes: o.FileBytes, MaxBytes: int64(a.conf.Outbox.MaxSize), Acked: o.Acked, Dropped: o.Dropped, Commits: o.Commits,
		Written: o.Written, WrittenToday: o.Written - a.seen.writtenBefore, Quarantined: o.Quarantined, Salvaged: o.Salvaged, Dead: o.Dead}
	for stream, n := range o.Records {
		if n != 0 {
			s.ByStream[string(stream)] = n
		}
	}
	if !o.Oldest.IsZero() {
		s.OldestS = max(0, f.now.Sub(o.Oldest).Seconds())
	}
	return s
}

func (a *Agent) uplinkView(f facts) status.Uplink {
	if a.uplink == nil {
		return status.Uplink{State: "off", Reason: "no broker is configured", Since: a.started, Updates: a.budgetState()}
	}
	u := f.uplink
	s := status.Uplink{State: u.State, Reason: u.Reason, Since: u.Since, Broker: redactURL(u.Broker), Session: u.Session, InFlight: u.InFlight, Acked: u.AckedRecords,
		Resent: u.Resent, Connects: u.Connects, RTTMS: float64(u.RTT) / float64(time.Millisecond),
		BytesToday: status.Traffic{Up: uint64(u.SentToday), Down: uint64(u.ReceivedToday)}, BytesTotal: status.Traffic{Up: a.seen.up.total, Down: a.seen.down.total}, Updates: a.budgetState()}
	if !u.NextRetry.IsZero() {
		s.RetryInS = max(0, u.NextRetry.Sub(f.now).Seconds())
	}
	return s
}

// boardView is what the board said last.
func (a *Agent) boardView() status.Board {
	b := a.fit.state
	s := status.Board{Throttled: b.Throttled, UnderVoltage: b.UnderVoltage, Why: b.Why, Since: b.Since, SinceBoot: b.SinceBoot, MHz: b.MHz, MaxMHz: b.MaxMHz,
		Starved: b.Starved, Problem: b.Problem, HotFrom: a.conf.Board.Hot, Adapts: *a.conf.Board.Adapt}
	for _, z := range b.Zones {
		s.Zones = append(s.Zones, status.Zone{Zone: z.Name, C: z.C})
	}
	if z, ok := b.Hottest(); ok {
		s.Hottest = &z.C
	}
	if b.CPU != nil {
		s.CPU = &b.CPU.C
	}
	return s
}

// info is the retained inventory.
func (a *Agent) info() message.Info {
	i := message.Info{V: 1, Agent: a.opt.Version, Hardware: hardware(), OS: osName(), Arch: runtime.GOARCH, Cameras: []message.InfoCamera{}, Engines: []message.InfoEngine{},
		Commands: []string{}, Schemas: map[string]int{}}
	for _, c := range a.conf.Cameras {
		i.Cameras = append(i.Cameras, message.InfoCamera{Name: c.Name, Source: redactSource(c.Source)})
	}
	vs := a.vision.Stats()
	a.mu.Lock()
	known := a.knownEngines(vs)
	a.mu.Unlock()
	for _, e := range known {
		one := message.InfoEngine{Engine: e.Engine, Usable: e.Usable, InUse: e.InUse(vs.Slots), Version: e.Version, Reason: e.Reason}
		if inference.Choice(e.Engine, e.Device) != e.Engine {
			one.Device = e.Device
		}
		i.Engines = append(i.Engines, one)
	}
	if a.orders != nil {
		i.Commands = a.orders.commands.Types()
	}
	for _, s := range message.Streams() {
		i.Schemas[string(s)] = 1
	}
	return i
}

// hardware is the board's own name: the device tree's on a Pi or Jetson, the firmware's on a PC.
func hardware() string {
	for _, path := range []string{"/proc/device-tree/model", "/sys/class/dmi/id/product_name"} {
		if b, err := os.ReadFile(path); err == nil {
			if name := strings.TrimSpace(strings.TrimRight(string(b), "\x00")); name != "" {
				return name
			}
		}
	}
	return runtime.GOARCH
}

func osName() string {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	return runtime.GOOS
}

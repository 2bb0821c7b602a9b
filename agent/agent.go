// Package agent is the service: it reads the configuration, builds the parts, runs them, and stops them in reverse.
//
// The way of a frame: heron-vision observes (package vision) → observe decides what becomes a record (package events) →
// the outbox keeps it (sync/outbox) → the uplink delivers it (sync/uplink). Health is derived from the parts' counters, never pushed.
package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"heron/agent/diag"
	"heron/agent/events"
	"heron/agent/status"
	"heron/internal/clock"
	"heron/sync/message"
	"heron/sync/models"
	"heron/sync/outbox"
	"heron/sync/trust"
	"heron/sync/uplink"
	"heron/vision"
)

// ErrListen is in the chain when the local page's address cannot be used.
var ErrListen = errors.New("the local page cannot listen")

// Options are what the command line adds to the configuration.
type Options struct {
	Version      string
	Log          *slog.Logger
	UntilDrained bool                     // end with nil when all sources have ended and all is delivered
	Observe      func(vision.Observation) // also told of every observation; must not block
	Level        *slog.LevelVar           // of Log; nil: it cannot be changed while running
	Settings     *Settings                // where the configuration comes from; nil: it cannot be changed from afar
	Recent       *diag.Ring               // the newest lines of Log, for support bundles; nil: none are kept
}

// Agent is one running Heron.
type Agent struct {
	conf    Config
	opt     Options
	log     *slog.Logger
	started time.Time

	outbox *outbox.Outbox
	uplink *uplink.Uplink // nil: no broker is configured
	vision *vision.Client
	page   *status.Server // nil: switched off

	adapters *adapters     // nil: none
	updates  *updates      // nil: models come with the configuration only
	orders   *orders       // nil: there is nobody to give any
	floor    floor         // of the clock
	again    chan struct{} // one token: a restart was asked for

	unpacked []vision.Refused    // archives that could not be unpacked
	lookConf vision.ClientConfig // for looks at every engine

	mu      sync.Mutex // guards all below
	tracker *events.Tracker
	rollup  *events.Rollup
	views   map[string]*view      // by camera
	slots   map[string]*slotView  // by model slot
	engines []vision.EngineReport // as last looked at; nil: not yet
	watch   watch
	told    ledger
	seen    seen
	fit     adapter
}

// New builds the parts of a valid configuration. Nothing runs yet; only bundles that are archives are unpacked beside the outbox.
func New(conf Config, opt Options) (*Agent, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{conf: conf, opt: opt, log: opt.Log, started: time.Now(), again: make(chan struct{}, 1), rollup: events.NewRollup(), views: map[string]*view{}, slots: map[string]*slotView{}}
	a.floor.raise(trust.BuildTime())
	for _, cam := range conf.Cameras {
		a.views[cam.Name] = &view{}
	}
	for _, m := range conf.Models {
		a.slots[m.Slot] = &slotView{}
	}
	for _, build := range []func() error{a.buildEvents, a.buildOutbox, a.buildAlarms, a.buildUpdates, a.buildOrders, a.buildUplink, a.buildVision, a.buildBoard, a.buildPage} {
		if err := build(); err != nil {
			return nil, err
		}
	}
	if opt.Level != nil {
		_ = opt.Level.UnmarshalText([]byte(conf.Log.Level)) // validated; what a command set ends with the run
	}
	opt.Settings.bind(a)
	return a, nil
}

func (a *Agent) buildEvents() (err error) {
	a.tracker, err = events.NewTracker(a.conf.Events)
	return err
}

func (a *Agent) buildOutbox() (err error) {
	if err := os.MkdirAll(filepath.Dir(a.conf.Outbox.Path), 0o750); err != nil {
		// The service goes on with results in memory; the outbox tries the path again and again.
		a.log.Error("the state folder cannot be made; results are kept in memory only", "error", err, "next", "create it, or give it to this user, or set outbox.path")
	}
	a.outbox, err = outbox.New(outbox.Config{
		Path: a.conf.Outbox.Path, MaxBytes: int64(a.conf.Outbox.MaxSize), LossRate: a.lossRate(),
		Header: func() message.Header {
			return message.Header{Group: a.conf.Device.Group, Device: a.conf.Device.ID, Boot: clock.BootID(), Agent: a.opt.Version, Clock: clock.Now()}
		},
	})
	return err
}

// lossRate bounds the records a second that the cameras can make.
func (a *Agent) lossRate() (rate float64) {
	for _, cam := range a.conf.Cameras {
		if rate += *cam.FPS; *cam.FPS == 0 {
			rate += 60 // every frame: no camera here is faster for long
		}
	}
	return rate + 1
}

func (a *Agent) buildUplink() (err error) {
	if a.conf.Uplink.Broker == "" {
		return nil
	}
	u := a.conf.uplink()
	u.Agent, u.Info, u.Log, u.Now = a.opt.Version, a.info, a.log, a.floor.now
	a.buildAdapters()
	u.Documents = a.documents
	u.Subscribe = a.subscriptions()
	if a.updates != nil && a.adapters != nil {
		a.adapters.reported = a.reported
	}
	u.Handle = a.handle
	a.uplink, err = uplink.New(u, a.outbox)
	return err
}

func (a *Agent) buildVision() (err error) {
	slots := make([]vision.SlotConfig, 0, len(a.conf.Models))
	of := map[string]string{} // camera → slot
	var boot map[string]models.Bundle
	if a.updates != nil {
		boot = a.updates.models.Boot()
	}
	for _, m := range a.conf.Models {
		dir, err := boot[m.Slot].Dir, error(nil)
		if boot == nil {
			dir, err = models.Open(m.Bundle, a.state("bundles"))
		}
		if err != nil { // heron-vision would say less: it gets folders only
			a.unpacked = append(a.unpacked, vision.Refused{Slot: m.Slot, Code: "bundle", Reason: err.Error(), NextStep: "check models[].bundle"})
			continue
		}
		slots = append(slots, m.vision(dir))
		for _, cam := range m.Cameras {
			of[cam] = m.Slot
		}
	}
	cams := make([]vision.CameraConfig, 0, len(a.conf.Cameras))
	for _, c := range a.conf.Cameras {
		cam := c.Vision()
		cam.Slot = of[c.Name]
		cams = append(cams, cam)
	}
	conf := vision.ClientConfig{
		Socket: a.conf.Vision.Socket, Config: vision.Config{Cameras: cams, Slots: slots},
		LoadTimeout: a.conf.Vision.Load, InferenceTimeout: a.conf.Vision.Inference, MaxMemory: int64(a.conf.Vision.MaxMemory),
		EngineRetry: a.conf.Vision.Retry, OnObservation: a.observe, OnShadow: a.compared, OnChange: a.visionChanges(), Log: a.log,
	}
	if a.conf.Vision.Socket == "" {
		path, err := FindVision(a.conf.Vision.Command)
		if err != nil {
			return err
		}
		conf.Command = []string{path}
	}
	a.lookConf = vision.ClientConfig{Command: conf.Command, Socket: conf.Socket, BeatTimeout: 20 * time.Second, Log: a.log}
	a.vision, err = vision.NewClient(conf)
	return err
}

// Vision is the camera in heron-vision's words, without a model. Call Defaults first.
func (c *Camera) Vision() vision.CameraConfig {
	return vision.CameraConfig{Name: c.Name, Source: c.Source, Width: c.Size.Width, Height: c.Size.Height, FPS: *c.FPS, Stall: c.Stall,
		View: c.View, Controls: c.Controls, Username: c.Credentials.Username, PasswordFile: c.Credentials.PasswordFile}
}

// vision is the slot in heron-vision's words, with the bundle in dir.
func (m *Model) vision(dir string) vision.SlotConfig {
	return vision.SlotConfig{Slot: m.Slot, Bundle: dir, Engines: m.Engine, Threads: m.Threads, Spin: m.Spin}
}

// FindVision finds the heron-vision program: a path as it is; a bare name beside this program first, then on PATH.
// The error is a *ConfigError.
func FindVision(command string) (string, error) {
	if strings.Contains(command, "/") {
		if _, err := os.Stat(command); err != nil {
			return "", &ConfigError{File: "vision.command", What: fmt.Sprintf("%v; build it with `make build` or correct the path", err)}
		}
		return command, nil
	}
	places := filepath.SplitList(os.Getenv("PATH"))
	if self, err := os.Executable(); err == nil {
		places = slices.Insert(places, 0, filepath.Dir(self))
	}
	for _, dir := range places {
		path := filepath.Join(dir, command)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &ConfigError{File: "vision.command", What: fmt.Sprintf("%q is neither beside heron nor on PATH; build it with `make build` or name it", command)}
}

func (a *Agent) buildPage() (err error) {
	if a.conf.Status.Listen == "off" {
		return nil
	}
	a.page, err = status.New(status.Config{Listen: a.conf.Status.Listen, DeviceID: a.conf.Device.ID, Hosts: a.conf.Status.Hosts, Log: a.log}, a)
	return err
}

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"heron/agent/events"
	"heron/internal/strictyaml"
	"heron/sync/desired"
	"heron/sync/message"
)

// Settings are those of the configuration file with the patch from afar that counts laid over them. They outlive an Agent: a patch is
// put in force by an orderly stop and a new Agent in the same process, and taken back the same way.
type Settings struct {
	base    Config
	log     *slog.Logger
	patches *desired.Patches

	mu      sync.Mutex
	agent   *Agent                // that runs; nil: none yet
	inForce []byte                // what it runs with
	leaving bool                  // it is to stop: it neither offers nor hears any more
	owed    []message.AuditRecord // from before there was an outbox
}

// OpenSettings finds the patches of earlier runs beside the outbox. probation 0 is ten minutes. An error is about the program.
func OpenSettings(base Config, log *slog.Logger, probation time.Duration) (*Settings, error) {
	s := &Settings{base: base, log: log}
	file, err := settingsOf(base)
	if err != nil {
		return nil, fmt.Errorf("settings for patches: %w", err)
	}
	s.patches, err = desired.OpenPatches(desired.Config{
		Path: filepath.Join(filepath.Dir(base.Outbox.Path), "patches.json"), Of: address(base), Base: file, Probation: probation,
		Validate: func(b []byte) error { _, err := s.decode(b); return err }, Apply: s.apply, Audit: s.audit,
	})
	if s.patches == nil {
		return nil, err
	}
	if err != nil {
		log.Error("changes to the settings from afar", "error", err, "next", "check the disk under the outbox; the broker tells the patch again at the next connection")
	}
	return s, nil
}

// Config is what the next Agent is to run with.
func (s *Settings) Config() Config {
	settings := s.patches.Effective()
	conf, err := s.decode(settings)
	if err != nil { // cannot be: Effective falls back to the file's own
		s.log.Error("the settings of the file are used without any change", "error", err)
		conf = s.base
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inForce = settings
	return conf
}

// bind makes a the Agent that is stopped for a change and keeps the audit.
func (s *Settings) bind(a *Agent) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agent, s.leaving = a, false
	for _, r := range s.owed {
		a.outbox.Put(r)
	}
	s.owed = nil
}

// offer takes the patch that the documents want; nil: they have no opinion.
func (s *Settings) offer(want *desired.Setting) {
	if s == nil || s.isLeaving() {
		return
	}
	s.patches.Offer(want)
}

// tick keeps or takes back a change to the link; heard is when the broker last acknowledged anything.
func (s *Settings) tick(heard time.Time) (changed bool) {
	return !s.isLeaving() && s.patches.Tick(heard)
}

func (s *Settings) isLeaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

// report is how the newest patch fares; nil: there never was one.
func (s *Settings) report() *message.ReportedConfig {
	if s == nil {
		return nil
	}
	return s.patches.Report()
}

// apply has the Agent stopped and the next one started with settings. It does not wait, as it is called by the Agent itself; nothing of
// the old link can be taken for contact meanwhile, because an Agent that is leaving does not tick, and the next begins without having heard.
func (s *Settings) apply(settings []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent == nil || bytes.Equal(settings, s.inForce) {
		return nil
	}
	s.leaving = true
	s.agent.restartSoon()
	return nil
}

func (s *Settings) audit(r message.AuditRecord) {
	r.Stamp = message.Now()
	s.log.Info("settings", "rev", r.Rev, "who", r.Who, "result", r.Result, "detail", r.Detail)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent == nil {
		s.owed = append(s.owed, r)
		return
	}
	s.agent.outbox.Put(r)
}

// restartSoon ends Run with ErrRestart.
func (a *Agent) restartSoon() {
	select {
	case a.again <- struct{}{}:
	default: // asked for already
	}
}

// watchSettings looks once a second whether a change to the link has proved itself.
func (a *Agent) watchSettings(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		var heard time.Time
		if a.uplink != nil {
			heard = a.uplink.Stats().Heard
		}
		if a.opt.Settings.tick(heard) {
			a.changed()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// patchable is what a patch may change, as desired.Changeable lists it. Cameras go by their name, since a merge patch cannot name an
// element of a list. There is no secret in it, no path, and no program.
type patchable struct {
	Cameras map[string]patchCamera `yaml:"cameras"`
	Events  events.Config          `yaml:"events"`
	Uplink  struct {
		Broker    string        `yaml:"broker"`
		Results   string        `yaml:"results"`
		Compress  string        `yaml:"compress"`
		KeepAlive time.Duration `yaml:"keepalive"`
		Backfill  float64       `yaml:"backfill"`
	} `yaml:"uplink"`
	Vision struct {
		Inference time.Duration `yaml:"inference"`
		Load      time.Duration `yaml:"load"`
		MaxMemory Bytes         `yaml:"max_memory"`
		Retry     time.Duration `yaml:"engine_retry"`
	} `yaml:"vision"`
	Board Board `yaml:"board"`
	Log   struct {
		Level string `yaml:"level"`
	} `yaml:"log"`
}

type patchCamera struct {
	FPS *float64 `yaml:"fps"`
}

// settingsOf is what a patch may change, as JSON with sorted keys.
func settingsOf(c Config) ([]byte, error) {
	p := patchable{Cameras: map[string]patchCamera{}, Events: c.Events, Board: c.Board}
	for _, cam := range c.Cameras {
		p.Cameras[cam.Name] = patchCamera{cam.FPS}
	}
	u, v := &p.Uplink, &p.Vision
	u.Broker, u.Results, u.Compress, u.KeepAlive, u.Backfill = c.Uplink.Broker, c.Uplink.Results, c.Uplink.Compress, c.Uplink.KeepAlive, c.Uplink.Backfill
	v.Inference, v.Load, v.MaxMemory, v.Retry = c.Vision.Inference, c.Vision.Load, c.Vision.MaxMemory, c.Vision.Retry
	p.Log.Level = c.Log.Level
	b, err := yaml.MarshalWithOptions(p, yaml.JSON())
	if err != nil {
		return nil, err
	}
	tree, err := treeOf(b)
	if err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}

// decode lays settings over the file's configuration; an error names the path as a patch does.
func (s *Settings) decode(settings []byte) (Config, error) {
	c := s.base
	c.Cameras = slices.Clone(c.Cameras)
	tree, err := treeOf(settings)
	if err != nil {
		return c, err
	}
	if err := checkLeaves(nil, tree); err != nil {
		return c, err
	}
	p := patchable{Events: events.DefaultConfig()}
	if err := strictyaml.Unmarshal(settings, &p); err != nil {
		return c, errors.New(fromYAML(nil, err).What)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Cameras)) {
		i := slices.IndexFunc(c.Cameras, func(cam Camera) bool { return cam.Name == name })
		if i < 0 {
			return c, problem("cameras."+name, "there is no such camera")
		}
		c.Cameras[i].FPS = p.Cameras[name].FPS
	}
	c.Events, c.Board, c.Log.Level = p.Events, p.Board, p.Log.Level
	u, v := &c.Uplink, &c.Vision
	u.Broker, u.Results, u.Compress, u.KeepAlive, u.Backfill = p.Uplink.Broker, p.Uplink.Results, p.Uplink.Compress, p.Uplink.KeepAlive, p.Uplink.Backfill
	v.Inference, v.Load, v.MaxMemory, v.Retry = p.Vision.Inference, p.Vision.Load, p.Vision.MaxMemory, p.Vision.Retry
	c.Defaults()
	if u.Broker == "" && s.base.Uplink.Broker != "" { // it could only ever be taken back
		return c, problem("uplink.broker", "without it nothing could be heard again; the link can be switched off in the device's own configuration")
	}
	if encrypted(s.base.Uplink.Broker) && !encrypted(u.Broker) {
		// Whoever may write documents must not be able to have the password told in the clear.
		return c, problem("uplink.broker", "%q is not encrypted, and the configuration's is; that cannot be changed from afar", redactURL(u.Broker))
	}
	return c, byName(c, c.Validate())
}

// encrypted says whether a broker's address asks for TLS.
func encrypted(broker string) bool {
	return strings.HasPrefix(broker, "mqtts://") || strings.HasPrefix(broker, "wss://") || strings.HasPrefix(broker, "ssl://")
}

// byName says cameras.front where the configuration file says cameras[0].
func byName(c Config, err error) error {
	var p *Problem
	var i int
	if !errors.As(err, &p) {
		return err
	}
	if n, _ := fmt.Sscanf(p.Path, "$.cameras[%d]", &i); n == 1 && i < len(c.Cameras) {
		_, rest, _ := strings.Cut(p.Path, "]")
		return &Problem{Path: "$.cameras." + c.Cameras[i].Name + rest, What: p.What}
	}
	return err
}

// checkLeaves decodes each value by itself, so that one that does not fit is told with its path.
func checkLeaves(path []string, v any) error {
	if m, ok := v.(map[string]any); ok {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if err := checkLeaves(append(slices.Clip(path), key), m[key]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, key := range slices.Backward(path) {
		v = map[string]any{key: v}
	}
	b, err := json.Marshal(v)
	if err == nil {
		err = strictyaml.Unmarshal(b, &patchable{})
	}
	if err != nil {
		return problem(strings.Join(path, "."), "%s", fromYAML(nil, err).What)
	}
	return nil
}

// treeOf reads JSON; numbers keep their digits.
func treeOf(b []byte) (tree any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err = d.Decode(&tree)
	return tree, err
}

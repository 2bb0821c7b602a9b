package agent

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"heron/agent/diag"
	"heron/agent/status"
	"heron/camera"
	"heron/inference"
	"heron/sync/models"
	"heron/sync/uplink"
)

// Problem is one thing wrong with a configuration.
type Problem struct {
	Path string // YAML path, such as $.cameras[0].fps
	What string // the bad value and what was expected
}

func (p *Problem) Error() string { return strings.TrimPrefix(p.Path, "$.") + ": " + p.What }

func problem(path, format string, args ...any) *Problem {
	return &Problem{Path: "$." + path, What: fmt.Sprintf(format, args...)}
}

// The lengths are counted beside these patterns: {1,64} in one costs 100 kB of a device's memory.
var (
	levelForm  = regexp.MustCompile(`^[a-z0-9_-]+$`)
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// isLevel says whether a name can become a level of a topic.
func isLevel(s string) bool { return len(s) <= 64 && levelForm.MatchString(s) }

const levelHint = "expected 1 to 64 of a-z 0-9 _ -"

// Validate returns the first problem found, as a *Problem, or nil. Call Defaults first.
func (c *Config) Validate() error {
	for _, check := range []func() error{c.checkDevice, c.checkCameras, c.checkModels, c.checkEvents, c.checkOutbox, c.checkUplink, c.checkVision, c.checkRepository, c.checkUpdates, c.checkBoard, c.checkStatus, c.checkAdapters} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkDevice() error {
	if !isLevel(c.Device.Group) {
		return problem("device.group", "%q cannot be a topic level, %s", c.Device.Group, levelHint)
	}
	if !isLevel(c.Device.ID) {
		return problem("device.id", "%q cannot be a topic level, %s", c.Device.ID, levelHint)
	}
	return nil
}

var sourceSchemes = []string{"v4l2:", "usb:", "csi:", "rtsp://", "rtsps://", "http://", "https://", "snapshot+http://", "snapshot+https://",
	"gstreamer:", "file:", "pictures:", "testcard:"}

func (c *Config) checkCameras() error {
	if len(c.Cameras) == 0 {
		return problem("cameras", "none is configured; add one, for example {name: front, source: \"testcard:\"}")
	}
	seen := map[string]bool{}
	for i, cam := range c.Cameras {
		at := fmt.Sprintf("cameras[%d].", i)
		switch {
		case !isLevel(cam.Name):
			return problem(at+"name", "%q, %s", cam.Name, levelHint)
		case seen[cam.Name]:
			return problem(at+"name", "%q is used twice", cam.Name)
		case !slices.ContainsFunc(sourceSchemes, func(s string) bool { return strings.HasPrefix(cam.Source, s) }):
			return problem(at+"source", "%q begins with none of %s", redactSource(cam.Source), strings.Join(sourceSchemes, " "))
		case slices.Contains(sourceSchemes, cam.Source) && cam.Source != "csi:" && cam.Source != "testcard:":
			return problem(at+"source", "%q does not say which; docs/config.md has an example of each", cam.Source)
		case !(*cam.FPS >= 0 && *cam.FPS <= 240):
			return problem(at+"fps", "%v, expected 0 (every frame) to 240", *cam.FPS)
		case cam.Stall < 100*time.Millisecond || cam.Stall > time.Hour:
			return problem(at+"stall", "%v, expected 100ms to 1h", cam.Stall)
		}
		if err := cam.checkOpening(at); err != nil {
			return err
		}
		if err := cam.checkPicture(at); err != nil {
			return err
		}
		seen[cam.Name] = true
	}
	return nil
}

// checkOpening wants what opening wants, of whoever opens it. What Effective prints in place of user and password is no fault.
func (c *Camera) checkOpening(at string) error {
	if err := camera.CheckSource(strings.Replace(c.Source, "://…@", "://", 1)); err != nil {
		return problem(at+"source", "%s", redactURL(err.Error()))
	}
	if err := camera.CheckSize(c.Source, c.Size.Width, c.Size.Height); err != nil {
		return problem(at+"size", "%dx%d: %s", c.Size.Width, c.Size.Height, err)
	}
	return nil
}

// checkPicture is about the settings that not every camera has.
func (c *Camera) checkPicture(at string) error {
	if err := c.View.Validate(); err != nil {
		path, what, _ := strings.Cut(err.Error(), ": ")
		return problem(at+path, "%s", what)
	}
	if err := c.Controls.Validate(); err != nil {
		path, what, _ := strings.Cut(err.Error(), ": ")
		return problem(at+"controls."+path, "%s", what)
	}
	network := strings.Contains(camera.Scheme(c.Source), "http") || strings.HasPrefix(c.Source, "rtsp")
	switch cred := c.Credentials; {
	case cred == (CameraCredentials{}):
	case !network:
		return problem(at+"credentials", "are for rtsp://, http:// and snapshot+http:// cameras, and this is %s", redactSource(c.Source))
	case cred.Username == "" && !userinfo.MatchString(c.Source):
		return problem(at+"credentials.password_file", "comes without credentials.username")
	}
	return nil
}

func (c *Config) checkModels() error {
	slots, taken := map[string]bool{}, map[string]string{}
	for i, m := range c.Models {
		at := fmt.Sprintf("models[%d].", i)
		switch {
		case !isLevel(m.Slot):
			return problem(at+"slot", "%q, %s", m.Slot, levelHint)
		case slots[m.Slot]:
			return problem(at+"slot", "%q is used twice", m.Slot)
		case m.Bundle == "":
			return problem(at+"bundle", "is missing; name a folder with a manifest.json, or a .tar.zst")
		case m.Threads < 0 || m.Threads > 64:
			return problem(at+"threads", "%d, expected 0 (the engine's choice) to 64", m.Threads)
		}
		if err := m.checkEngine(at + "engine"); err != nil {
			return err
		}
		slots[m.Slot] = true
		for k, name := range m.Cameras {
			p := fmt.Sprintf("%scameras[%d]", at, k)
			if !slices.ContainsFunc(c.Cameras, func(cam Camera) bool { return cam.Name == name }) {
				return problem(p, "%q is not among the cameras", name)
			}
			if other := taken[name]; other != "" {
				return problem(p, "%q is classified by slot %q already; a camera has one slot", name, other)
			}
			taken[name] = m.Slot
		}
	}
	return nil
}

// checkEngine wants entries that can mean something somewhere; which engines can run is heron-vision's affair, and the bundle's.
func (m *Model) checkEngine(at string) error {
	for k, entry := range m.Engine {
		p := at
		if len(m.Engine) > 1 {
			p = fmt.Sprintf("%s[%d]", at, k)
		}
		engine, _, err := inference.ParseChoice(entry)
		switch {
		case err != nil:
			return problem(p, "%s", err)
		case entry == "auto":
			return problem(p, "\"auto\" is one of several, expected auto alone, or the names of engines")
		case !slices.Contains(inference.Engines(), engine):
			return problem(p, "%q is no engine, expected auto, or out of %s", entry, strings.Join(inference.Engines(), ", "))
		}
		if slices.Contains(m.Engine[:k], entry) {
			return problem(p, "%q is in the list twice; take one of them out", entry)
		}
	}
	return nil
}

func (c *Config) checkEvents() error {
	if err := c.Events.Validate(); err != nil {
		path, what, _ := strings.Cut(err.Error(), ": ")
		return problem(path, "%s", what)
	}
	return nil
}

func (c *Config) checkOutbox() error {
	if c.Outbox.MaxSize < 4<<20 {
		return problem("outbox.max_size", "%d bytes is too little, expected at least 4MiB", c.Outbox.MaxSize)
	}
	return nil
}

func (c *Config) checkUplink() error {
	u := &c.Uplink
	if !slices.Contains([]string{"every", "events", "rollups"}, u.Results) {
		return problem("uplink.results", "%q, expected every, events or rollups", u.Results)
	}
	conf := c.uplink()
	if u.Broker == "" { // the environment may name one, or a document from afar
		conf.Broker = "mqtt://localhost"
	}
	if err := conf.Validate(); err != nil {
		path, what, _ := strings.Cut(err.Error(), ": ")
		return problem(path, "%s", what)
	}
	return nil
}

// uplink is the uplink's part of the configuration in its own words.
func (c *Config) uplink() uplink.Config {
	u, cred := c.Uplink, c.Uplink.Credentials
	return uplink.Config{
		Broker: u.Broker, Group: c.Device.Group, Device: c.Device.ID, Root: u.Root,
		Username: cred.Username, PasswordFile: cred.PasswordFile, Cert: cred.Cert, Key: cred.Key, CA: cred.CA,
		Compress: u.Compress, KeepAlive: u.KeepAlive, Backfill: u.Backfill,
	}
}

func (c *Config) checkVision() error {
	switch v := c.Vision; {
	case v.Command != "" && v.Socket != "":
		return problem("vision", "command and socket exclude each other")
	case v.Inference < 100*time.Millisecond:
		return problem("vision.inference", "%v, expected at least 100ms", v.Inference)
	case v.Load < time.Second:
		return problem("vision.load", "%v, expected at least 1s", v.Load)
	case v.Retry < 10*time.Millisecond || v.Retry > time.Hour:
		return problem("vision.engine_retry", "%v, expected 10ms to 1h", v.Retry)
	case v.MaxMemory < 64<<20:
		return problem("vision.max_memory", "%d bytes is too little, expected at least 64MiB", v.MaxMemory)
	}
	return nil
}

func (c *Config) checkBoard() error {
	if h := c.Board.Hot; !(h >= 30 && h <= 120) {
		return problem("board.hot", "%v, expected 30 to 120 (°C)", h)
	}
	return nil
}

func isLogLevel(l string) bool { return slices.Contains([]string{"debug", "info", "warn", "error"}, l) }

func (c *Config) checkStatus() error {
	if c.Status.Listen != "off" {
		if err := (status.Config{Listen: c.Status.Listen}).Validate(); err != nil {
			return problem("status.listen", "%q, expected HOST:PORT such as 127.0.0.1:8642, or off", c.Status.Listen)
		}
	}
	if !isLogLevel(c.Log.Level) {
		return problem("log.level", "%q, expected debug, info, warn or error", c.Log.Level)
	}
	if !slices.Contains([]string{"auto", "text", "json", "journal"}, c.Log.Format) {
		return problem("log.format", "%q, expected auto, text, json or journal", c.Log.Format)
	}
	return nil
}

// isPrefix says whether another system's topics may begin with that.
func isPrefix(s string) bool {
	levels := strings.Split(s, "/")
	return len(levels) <= 3 && !slices.ContainsFunc(levels, func(l string) bool { return len(l) > 64 || !prefixForm.MatchString(l) })
}

func (c *Config) checkAdapters() error {
	home, thin := c.Adapters.HomeAssistant, c.Adapters.ThinEdge
	switch {
	case !isPrefix(home.Prefix):
		return problem("adapters.home_assistant.prefix", "%q, expected one to three levels of A-Z a-z 0-9 _ -", home.Prefix)
	case !isPrefix(thin.Root):
		return problem("adapters.thin_edge.root", "%q, expected one to three levels of A-Z a-z 0-9 _ -", thin.Root)
	case home.Enabled && c.Uplink.Broker == "":
		return problem("adapters.home_assistant.enabled", "needs uplink.broker: the one that Home Assistant uses, or one bridged to it")
	case thin.Enabled && c.Uplink.Broker == "":
		return problem("adapters.thin_edge.enabled", "needs uplink.broker: thin-edge.io's own, such as mqtt://127.0.0.1:1883")
	}
	return nil
}

// userinfo is user and password in a URL, also within a GStreamer pipeline.
var userinfo = regexp.MustCompile(`(://)[^/@\s"]+@`)

// redactURL takes user, password and tokens out of a camera source or broker address.
func redactURL(s string) string { return diag.Redact(s) }

// redactSource is a camera's source without secrets.
func redactSource(s string) string { return diag.RedactAddress(s) }

// checkRepository: a repository is a URL and the root that it is trusted by.
func (c *Config) checkRepository() error {
	r := &c.Repository
	if *r.Shadow < 0 || *r.Shadow > models.MaxShadow {
		return problem("repository.shadow", "%v, expected 0s to %v", *r.Shadow, models.MaxShadow)
	}
	if *r.Probation < 0 || *r.Probation > models.MaxProbation {
		return problem("repository.probation", "%v, expected 0s to %v", *r.Probation, models.MaxProbation)
	}
	if r.URL == "" {
		return nil
	}
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u)):
		return problem("repository.url", "%q, expected https://host/path (http:// only to this machine)", redactURL(r.URL))
	case r.Root == "":
		return problem("repository.root", "is missing; name the repository's root.json, as shipped or provisioned")
	case (r.Cert == "") != (r.Key == ""):
		return problem("repository.cert", "cert and key go together")
	}
	return nil
}

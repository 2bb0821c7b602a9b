package agent

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"heron/agent/events"
	"heron/camera"
)

// Config is heron.yaml. docs/config.md is its manual; unknown keys are errors.
type Config struct {
	Device  Device        `yaml:"device"`
	Cameras []Camera      `yaml:"cameras"`
	Models  []Model       `yaml:"models"`
	Events  events.Config `yaml:"events"`
	Outbox  Outbox        `yaml:"outbox"`
	Uplink  Uplink        `yaml:"uplink"`
	Vision  Vision        `yaml:"vision"`

	Repository Repository `yaml:"repository"`
	Updates    Updates    `yaml:"updates"`
	Board      Board      `yaml:"board"`
	Status     Status     `yaml:"status"`
	Log        Log        `yaml:"log"`

	Adapters Adapters `yaml:"adapters"`
}

// Device names this device to the fleet.
type Device struct {
	Group string `yaml:"group"` // default "default"
	ID    string `yaml:"id"`    // default: made from the machine's identity

	Labels map[string]string `yaml:"labels"` // what rollouts may ask for: site: lyon-1
}

// Camera is one camera.
type Camera struct {
	Name   string        `yaml:"name"`
	Source string        `yaml:"source"`
	FPS    *float64      `yaml:"fps"`   // frames classified a second, at most; 0 is every frame; default 10
	Size   Size          `yaml:"size"`  // default: the camera's own
	Stall  time.Duration `yaml:"stall"` // default 5s

	View        camera.View       `yaml:",inline"` // rotate, flip, roi, masks
	Controls    camera.Controls   `yaml:"controls"`
	Credentials CameraCredentials `yaml:"credentials"`
}

// CameraCredentials are those of a network camera.
type CameraCredentials struct {
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
}

// Model is one model slot.
type Model struct {
	Slot    string      `yaml:"slot"` // default "main"
	Bundle  string      `yaml:"bundle"`
	Engine  EngineOrder `yaml:"engine"`  // default auto
	Threads int         `yaml:"threads"` // default: the engine's choice
	Spin    bool        `yaml:"spin"`    // default false: the engine's threads sleep while they wait
	Cameras []string    `yaml:"cameras"` // default: all cameras
}

// Outbox bounds what waits for the link.
type Outbox struct {
	Path    string `yaml:"path"`     // default /var/lib/heron/outbox.db
	MaxSize Bytes  `yaml:"max_size"` // default 512MiB
}

// Uplink is the way to the broker.
type Uplink struct {
	Broker      string        `yaml:"broker"` // empty: nothing is sent, results are kept
	Root        string        `yaml:"root"`   // default heron/v1
	Credentials Credentials   `yaml:"credentials"`
	Results     string        `yaml:"results"`   // every, events, rollups; default every
	Compress    string        `yaml:"compress"`  // none, zstd; default none
	KeepAlive   time.Duration `yaml:"keepalive"` // default 30s
	Backfill    float64       `yaml:"backfill"`  // records a second at most on h/; 0 is no cap
}

// Credentials are named by file, so that no secret stands in the configuration.
type Credentials struct {
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
	Cert         string `yaml:"cert"`
	Key          string `yaml:"key"`
	CA           string `yaml:"ca"`
}

// Repository is where signed models come from. Empty: models come with the configuration only.
type Repository struct {
	URL       string         `yaml:"url"`   // https://models.example.com; below it metadata/ and targets/
	Root      string         `yaml:"root"`  // the repository's root.json, as shipped or provisioned
	Hosts     []string       `yaml:"hosts"` // further hosts, https://host[:port], that downloads may come from and uploads go to
	CA        string         `yaml:"ca"`    // instead of the system's authorities
	Cert      string         `yaml:"cert"`
	Key       string         `yaml:"key"`
	Shadow    *time.Duration `yaml:"shadow"`    // beside the live model, where a document does not say; 0 is not at all; default 10m
	Probation *time.Duration `yaml:"probation"` // on trial, where a document does not say; 0 is not at all; default 15m
	Unsigned  bool           `yaml:"unsigned"`  // heron model activate may bring bundles that nobody signed; default false
}

// Vision says how heron gets its heron-vision.
type Vision struct {
	Command   string        `yaml:"command"`      // default heron-vision, beside heron or on PATH
	Socket    string        `yaml:"socket"`       // instead of command: one connection, one process
	Inference time.Duration `yaml:"inference"`    // one inference may take so long; default 5s
	Load      time.Duration `yaml:"load"`         // loading the models may take so long; default 20s
	MaxMemory Bytes         `yaml:"max_memory"`   // resident; default 1GiB
	Retry     time.Duration `yaml:"engine_retry"` // an engine that was lost is tried again after so long, then after twice as long, …; default 5s
}

// Board says what to do when the board itself is in trouble.
type Board struct {
	Adapt *bool   `yaml:"adapt"` // classify less often while the board throttles or inference falls behind; default true
	Hot   float64 `yaml:"hot"`   // °C of the hottest zone from which on that happens; default 80
}

// Status is the local page.
type Status struct {
	Listen string   `yaml:"listen"` // default 127.0.0.1:8642; off: none
	Hosts  []string `yaml:"hosts"`  // further names that the page may be called by
}

// Adapters tell the device's state to other systems, in their own dialects, over the same broker.
type Adapters struct {
	HomeAssistant HomeAssistant `yaml:"home_assistant"`
	ThinEdge      ThinEdge      `yaml:"thin_edge"`
}

// HomeAssistant is MQTT device discovery (Home Assistant 2024.12 and later).
type HomeAssistant struct {
	Enabled   bool   `yaml:"enabled"`
	Prefix    string `yaml:"prefix"`     // of discovery topics; default homeassistant
	PerCamera *bool  `yaml:"per_camera"` // last result, confidence, fps of each camera; default true
}

// ThinEdge is the health of this service on thin-edge.io's local bus: uplink.broker must be it.
type ThinEdge struct {
	Enabled bool   `yaml:"enabled"`
	Root    string `yaml:"root"` // default te
}

// Log says what goes to standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error; default info
	Format string `yaml:"format"` // auto, text, json, journal; default auto
}

// Size is a picture size written as 640x480; zero is the camera's own.
type Size struct{ Width, Height int }

var sizeForm = regexp.MustCompile(`^([1-9][0-9]{0,4})x([1-9][0-9]{0,4})$`)

// UnmarshalYAML reads WIDTHxHEIGHT.
func (s *Size) UnmarshalYAML(n ast.Node) error {
	m := sizeForm.FindStringSubmatch(scalar(n))
	if m == nil {
		return misread(n, "%q, expected WIDTHxHEIGHT such as 640x480", n.GetToken().Value) // as it stands there: 0x480 is a number to YAML
	}
	s.Width, _ = strconv.Atoi(m[1]) // digits only
	s.Height, _ = strconv.Atoi(m[2])
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (s Size) MarshalYAML() (any, error) {
	if s.Width == 0 {
		return nil, nil
	}
	return fmt.Sprintf("%dx%d", s.Width, s.Height), nil
}

// Bytes is an amount written as 512MiB, 1GiB, 64KiB, 500MB or a plain number.
type Bytes int64

var units = []struct {
	name string
	size int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// UnmarshalYAML reads a number with a unit.
func (b *Bytes) UnmarshalYAML(n ast.Node) error {
	text := scalar(n)
	v, ok := parseBytes(text)
	if !ok {
		return misread(n, "%q is no amount of bytes, expected for example 512MiB", text)
	}
	*b = v
	return nil
}

func parseBytes(text string) (Bytes, bool) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		return Bytes(v * float64(u.size)), err == nil && v >= 0 && v*float64(u.size) <= 1<<60
	}
	return 0, false
}

// scalar is the text of a value; what is no single value has none.
func scalar(n ast.Node) (text string) {
	if yaml.NodeToValue(n, &text) != nil {
		return n.String()
	}
	return text
}

// misread is an error at a place of the file, by its path, line and column.
func misread(n ast.Node, format string, args ...any) error {
	path := strings.TrimPrefix(strings.TrimPrefix(n.GetPath(), "$"), ".")
	if path != "" {
		path += ": "
	}
	return &yaml.SyntaxError{Message: path + fmt.Sprintf(format, args...), Token: n.GetToken()}
}

// MarshalYAML writes the largest binary unit that divides the amount.
func (b Bytes) MarshalYAML() (any, error) {
	for _, u := range []string{"TiB", "GiB", "MiB", "KiB"} {
		for _, v := range units {
			if v.name == u && b != 0 && int64(b)%v.size == 0 {
				return fmt.Sprintf("%d%s", int64(b)/v.size, u), nil
			}
		}
	}
	return int64(b), nil
}

// EngineOrder is an ordered list of engine names, edgetpu:usb:2-1 one of several devices; empty is auto, the bundle's own order.
type EngineOrder []string

// UnmarshalYAML reads auto, one name, or a list of names.
func (e *EngineOrder) UnmarshalYAML(n ast.Node) error {
	var list []any
	if err := yaml.NodeToValue(n, &list); err == nil {
		if e.take(list) == nil {
			return nil
		}
		return misread(n, "%s", engineHint)
	}
	var one string
	if err := yaml.NodeToValue(n, &one); err != nil {
		return misread(n, "%s", engineHint)
	}
	if *e = nil; one != "auto" && one != "" {
		*e = EngineOrder{one}
	}
	return nil
}

const engineHint = "expected auto, a name, or a list of names such as [edgetpu:usb:2-1, tflite]"

// take reads a list. Inside braces the decoder makes a key and a value of edgetpu:usb:2-1, for which YAML wants a space behind the colon.
func (e *EngineOrder) take(list []any) error {
	*e = nil
	for _, entry := range list {
		name, ok := entry.(string)
		if pair, is := entry.(map[string]any); is && len(pair) == 1 {
			for key, v := range pair {
				device, text := v.(string)
				name, ok = key+":"+device, text
			}
		}
		if !ok {
			return errors.New(engineHint)
		}
		*e = append(*e, name)
	}
	if len(*e) == 1 && (*e)[0] == "auto" {
		*e = nil
	}
	return nil
}

// MarshalYAML writes auto for the empty order.
func (e EngineOrder) MarshalYAML() (any, error) {
	if len(e) == 0 {
		return "auto", nil
	}
	return []string(e), nil
}

var _ yaml.NodeUnmarshaler = (*Size)(nil)

// Defaults fills in what the file leaves out.
func (c *Config) Defaults() {
	setDefault(&c.Device.Group, "default")
	if c.Device.ID == "" {
		c.Device.ID = machineID()
	}
	for i := range c.Cameras {
		cam := &c.Cameras[i]
		if cam.FPS == nil {
			fps := 10.0
			cam.FPS = &fps
		}
		setDefault(&cam.Stall, 5*time.Second)
	}
	for i := range c.Models {
		m := &c.Models[i]
		setDefault(&m.Slot, "main")
		if m.Cameras == nil {
			for _, cam := range c.Cameras {
				m.Cameras = append(m.Cameras, cam.Name)
			}
		}
	}
	setDefault(&c.Outbox.Path, "/var/lib/heron/outbox.db")
	setDefault(&c.Outbox.MaxSize, 512<<20)
	setDefault(&c.Uplink.Root, "heron/v1")
	setDefault(&c.Uplink.Results, "every")
	setDefault(&c.Uplink.Compress, "none")
	setDefault(&c.Uplink.KeepAlive, 30*time.Second)
	if c.Vision.Socket == "" {
		setDefault(&c.Vision.Command, "heron-vision")
	}
	setDefault(&c.Vision.Inference, 5*time.Second)
	setDefault(&c.Vision.Load, 20*time.Second)
	setDefault(&c.Vision.MaxMemory, 1<<30)
	setDefault(&c.Vision.Retry, 5*time.Second)
	setDefault(&c.Repository.Shadow, new(10*time.Minute))
	setDefault(&c.Repository.Probation, new(15*time.Minute))
	setDefault(&c.Updates.Budget.Counts, "all")
	setDefault(&c.Updates.AtMost, 4*time.Hour)
	setDefault(&c.Board.Adapt, new(true))
	setDefault(&c.Board.Hot, 80)
	setDefault(&c.Status.Listen, "127.0.0.1:8642")
	setDefault(&c.Adapters.HomeAssistant.Prefix, "homeassistant")
	setDefault(&c.Adapters.HomeAssistant.PerCamera, new(true))
	setDefault(&c.Adapters.ThinEdge.Root, "te")
	setDefault(&c.Log.Level, "info")
	setDefault(&c.Log.Format, "auto")
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// DefaultEvents are the rules that hold when the configuration has none.
func DefaultEvents() events.Config { return events.DefaultConfig() }

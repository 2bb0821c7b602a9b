// Package thinedge says in thin-edge.io's dialect how this service fares (MQTT API v1, te/device/main/service/heron), and reads the
// command line of its software-management plugins. It is pure: nothing is sent or run here.
//
// Written from thin-edge.io's references of version 1 (mqtt-api, software-management-plugin-api); 2.0 kept both.
package thinedge

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Service is Heron's name on the device's bus.
const Service = "heron"

// Message is one to be retained on an absolute topic.
type Message struct {
	Topic   string
	Payload []byte
}

// Config says where.
type Config struct {
	Root string // te, unless the device's was changed
}

func (c Config) service() string { return c.Root + "/device/main/service/" + Service }

// HealthTopic is where thin-edge.io looks for the health of a service.
func (c Config) HealthTopic() string { return c.service() + "/status/health" }

// Topics are all that this adapter may hold at the broker.
func (c Config) Topics() []string { return []string{c.service(), c.HealthTopic()} }

// Messages register the service and say that it is up, since when, as which process; or that it is down.
func (c Config) Messages(up bool, pid int, since time.Time) []Message {
	registration, _ := json.Marshal(map[string]string{"@type": "service", "name": Service, "type": "service"}) // strings: it cannot fail
	health := map[string]any{"status": "down", "time": since.Unix()}
	if up {
		health["status"], health["pid"] = "up", pid
	}
	b, _ := json.Marshal(health)
	return []Message{{c.service(), registration}, {c.HealthTopic(), b}}
}

// Exit codes that a plugin answers with; thin-edge.io itself makes 4 of one that takes over five minutes.
const (
	ExitDone   = 0
	ExitUsage  = 1 // not understood and not begun; to update-list: not offered, call install and remove
	ExitFailed = 2 // no point in trying again
	ExitRetry  = 3 // may be better later
)

// Patience is how long a plugin's command may take before thin-edge.io gives it up.
const Patience = 5 * time.Minute

// Call is one call of the plugin.
type Call struct {
	Verb    string // list, prepare, finalize, install, remove
	Name    string // install, remove
	Version string // may be empty
	File    string // install; may be empty
}

// ParseCall reads a plugin's arguments. What it refuses ends with ExitUsage; update-list is refused so that each module comes alone.
func ParseCall(args []string) (Call, error) {
	if len(args) == 0 {
		return Call{}, fmt.Errorf("expected list, prepare, install, remove or finalize")
	}
	c := Call{Verb: args[0]}
	switch c.Verb {
	case "list", "prepare", "finalize":
		if len(args) > 1 {
			return Call{}, fmt.Errorf("%s takes no arguments, got %q", c.Verb, args[1])
		}
		return c, nil
	case "install", "remove":
		return c, c.parse(args[1:])
	case "update-list":
		return Call{}, fmt.Errorf("update-list is not offered; use install and remove")
	}
	return Call{}, fmt.Errorf("there is no command %q; expected list, prepare, install, remove or finalize", c.Verb)
}

func (c *Call) parse(args []string) error {
	flags := map[string]*string{"--module-version": &c.Version}
	if c.Verb == "install" {
		flags["--file"] = &c.File
	}
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		switch into := flags[name]; {
		case into != nil && joined:
			*into = value
		case into != nil && i+1 < len(args):
			i++
			*into = args[i]
		case into != nil:
			return fmt.Errorf("%s: %s needs a value", c.Verb, name)
		case strings.HasPrefix(args[i], "-"):
			return fmt.Errorf("%s: there is no option %q", c.Verb, args[i])
		case c.Name != "":
			return fmt.Errorf("%s takes one module, got %q and %q", c.Verb, c.Name, args[i])
		default:
			c.Name = args[i]
		}
	}
	if c.Name == "" {
		return fmt.Errorf("%s: the module's name is missing", c.Verb)
	}
	return nil
}

// Module is one that is installed.
type Module struct{ Name, Version string }

// List is the answer to list: a line each, name and version separated by a tab.
func List(modules []Module) string {
	clean := strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")
	var b strings.Builder
	for _, m := range modules {
		b.WriteString(clean.Replace(m.Name))
		if m.Version != "" {
			b.WriteString("\t" + clean.Replace(m.Version))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

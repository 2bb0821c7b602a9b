// Package events turns observations into what is worth telling: events (a label was entered, is still there, was left)
// and one-minute rollups. Everything here is a pure function of time, observation and state: nothing is read from
// a clock, nothing is started, nothing is sent. A Tracker or Rollup is used by one goroutine at a time.
package events

import (
	"fmt"
	"slices"
	"time"

	"heron/inference"
)

// Rule says when one label becomes an event.
type Rule struct {
	Enter    float64       `yaml:"enter"`    // score from which a frame speaks for the label, 0…1
	Exit     float64       `yaml:"exit"`     // score under which a frame speaks against it, 0…Enter
	Dwell    int           `yaml:"dwell"`    // frames in a row that must agree, for entering and for leaving
	Cooldown time.Duration `yaml:"cooldown"` // after it was left, the label is not entered again for so long
	Ignore   bool          `yaml:"ignore"`   // never an event (it is still in results and rollups)
}

// Override replaces single values of the default rule for one label; nil keeps the default's.
type Override struct {
	Enter    *float64       `yaml:"enter"`
	Exit     *float64       `yaml:"exit"`
	Dwell    *int           `yaml:"dwell"`
	Cooldown *time.Duration `yaml:"cooldown"`
	Ignore   *bool          `yaml:"ignore"`
}

// Config is the section "events" of the configuration.
type Config struct {
	Default Rule                `yaml:"default"`
	Labels  map[string]Override `yaml:"labels"`
}

// DefaultConfig is what holds when the configuration says nothing; decode the file over it.
func DefaultConfig() Config {
	return Config{Default: Rule{Enter: 0.80, Exit: 0.60, Dwell: 2, Cooldown: 10 * time.Second}}
}

// maxDwell keeps a typing error (dwell: 20000) from silencing a label for good.
const maxDwell = 1000

// Validate checks the default rule and every label's effective rule; errors name the YAML path and the value.
func (c Config) Validate() error {
	if err := c.Default.validate("events.default", Override{}); err != nil {
		return err
	}
	labels := make([]string, 0, len(c.Labels))
	for l := range c.Labels {
		labels = append(labels, l)
	}
	slices.Sort(labels) // the same file gives the same first error
	for _, l := range labels {
		path := "events.labels." + l
		switch l {
		case "":
			return fmt.Errorf("events.labels: a label is empty; name a label of the model")
		case inference.Unknown:
			return fmt.Errorf("%s: %q is what the model does not know and never an event; remove this entry", path, l)
		}
		if err := c.Rule(l).validate(path, c.Labels[l]); err != nil {
			return err
		}
	}
	return nil
}

// Rule is the rule that holds for label.
func (c Config) Rule(label string) Rule {
	r, o := c.Default, c.Labels[label]
	set(&r.Enter, o.Enter)
	set(&r.Exit, o.Exit)
	set(&r.Dwell, o.Dwell)
	set(&r.Cooldown, o.Cooldown)
	set(&r.Ignore, o.Ignore)
	return r
}

func set[T any](dst, v *T) {
	if v != nil {
		*dst = *v
	}
}

// validate blames exit for a bad pair, or enter where only that was given for the label.
func (r Rule) validate(path string, o Override) error {
	switch {
	case !(r.Enter > 0 && r.Enter <= 1):
		return fmt.Errorf("%s.enter: %v is not a score above 0 and up to 1", path, r.Enter)
	case !(r.Exit >= 0 && r.Exit <= 1):
		return fmt.Errorf("%s.exit: %v is not a score from 0 to 1", path, r.Exit)
	case r.Exit > r.Enter && o.Enter != nil && o.Exit == nil:
		return fmt.Errorf("%s.enter: %v is below exit (%v, from events.default); set exit for this label, too", path, r.Enter, r.Exit)
	case r.Exit > r.Enter:
		return fmt.Errorf("%s.exit: %v is above enter (%v); exit must not be above enter", path, r.Exit, r.Enter)
	case r.Dwell < 1 || r.Dwell > maxDwell:
		return fmt.Errorf("%s.dwell: %d is not a number of frames from 1 to %d", path, r.Dwell, maxDwell)
	case r.Cooldown < 0:
		return fmt.Errorf("%s.cooldown: %v is negative; 0s means none", path, r.Cooldown)
	}
	return nil
}

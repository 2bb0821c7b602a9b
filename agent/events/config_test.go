package events

import (
	"math"
	"testing"
	"time"
)

func TestConfigErrorsNamePathAndValue(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	d := func(v int) *int { return &v }
	cases := []struct {
		want   string
		change func(*Config)
	}{
		{"events.default.enter: 80 is not a score above 0 and up to 1", func(c *Config) { c.Default.Enter = 80 }},
		{"events.default.enter: NaN is not a score above 0 and up to 1", func(c *Config) { c.Default.Enter = math.NaN() }},
		{"events.default.exit: -0.1 is not a score from 0 to 1", func(c *Config) { c.Default.Exit = -0.1 }},
		{"events.default.exit: 0.9 is above enter (0.8); exit must not be above enter", func(c *Config) { c.Default.Exit = 0.9 }},
		{"events.default.dwell: 0 is not a number of frames from 1 to 1000", func(c *Config) { c.Default.Dwell = 0 }},
		{"events.default.cooldown: -1s is negative; 0s means none", func(c *Config) { c.Default.Cooldown = -time.Second }},
		{"events.labels.ok.enter: 0.5 is below exit (0.6, from events.default); set exit for this label, too", func(c *Config) { c.Labels = map[string]Override{"ok": {Enter: f(0.5)}} }},
		{"events.labels.ok.exit: 0.85 is above enter (0.8); exit must not be above enter", func(c *Config) { c.Labels = map[string]Override{"ok": {Exit: f(0.85)}} }},
		{"events.labels.b.dwell: 0 is not a number of frames from 1 to 1000", func(c *Config) { c.Labels = map[string]Override{"c": {Dwell: d(-1)}, "b": {Dwell: d(0)}} }},
		{`events.labels.unknown: "unknown" is what the model does not know and never an event; remove this entry`, func(c *Config) { c.Labels = map[string]Override{"unknown": {}} }},
		{"events.labels: a label is empty; name a label of the model", func(c *Config) { c.Labels = map[string]Override{"": {}} }},
	}
	for _, c := range cases {
		cfg := DefaultConfig()
		c.change(&cfg)
		err := cfg.Validate()
		if err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
		if _, err := NewTracker(cfg); err == nil {
			t.Errorf("NewTracker took a configuration that is wrong: %s", c.want)
		}
	}
}

func TestLabelsInheritWhatTheyDoNotSay(t *testing.T) {
	on, enter, none := true, 0.7, time.Duration(0)
	cfg := Config{
		Default: Rule{Enter: 0.9, Exit: 0.6, Dwell: 3, Cooldown: time.Minute},
		Labels:  map[string]Override{"empty": {Ignore: &on}, "ok": {Enter: &enter, Cooldown: &none}},
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]Rule{
		"other": {Enter: 0.9, Exit: 0.6, Dwell: 3, Cooldown: time.Minute},
		"empty": {Enter: 0.9, Exit: 0.6, Dwell: 3, Cooldown: time.Minute, Ignore: true},
		"ok":    {Enter: 0.7, Exit: 0.6, Dwell: 3},
	} {
		if got := cfg.Rule(label); got != want {
			t.Errorf("%s: got %+v, want %+v", label, got, want)
		}
	}
}

package fleet

import (
	"testing"

	"heron/sync/message"
)

// Back means to what was meant to stay, never to what was given up: no device may have run that.
func TestWhatWasBefore(t *testing.T) {
	asked := func(target string) *message.Desired {
		return &message.Desired{Models: []message.DesiredModel{{Slot: "main", Target: target}}}
	}
	last := func(target, previous, state string) *Rollout {
		return &Rollout{Slot: "main", Target: target, Previous: previous, State: state}
	}
	for name, c := range map[string]struct {
		desired  *message.Desired
		old      *Rollout
		to, want string
	}{
		"nothing was ever asked":           {nil, nil, "b/2", ""},
		"asked by hand":                    {asked("b/1"), nil, "b/2", "b/1"},
		"after one that was done":          {asked("b/2"), last("b/2", "b/1", Done), "b/3", "b/2"},
		"after one that was given up":      {asked("b/2"), last("b/2", "b/1", Aborted), "b/3", "b/1"},
		"given up, and nothing before it":  {asked("b/2"), last("b/2", "", Aborted), "b/3", ""},
		"given up, and what was before it": {asked("b/2"), last("b/2", "b/1", Aborted), "b/1", ""},
		"rolled back":                      {asked("b/1"), last("b/2", "b/1", RolledBack), "b/3", "b/1"},
		"the same again":                   {asked("b/2"), last("b/2", "b/1", Done), "b/2", "b/1"},
		"given up, the same again":         {asked("b/2"), last("b/2", "b/1", Aborted), "b/2", "b/1"},
		"given up, then asked by hand":     {asked("b/7"), last("b/2", "b/1", Aborted), "b/3", "b/7"},
		"another slot was given up":        {asked("b/2"), &Rollout{Slot: "lid", Target: "b/2", Previous: "b/1", State: Aborted}, "b/3", "b/2"},
	} {
		if got := before(c.desired, c.old, "main", c.to); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

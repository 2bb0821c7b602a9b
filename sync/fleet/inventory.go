package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"heron/sync/message"
)

// everyone is in the place of a device where a document is for its whole group.
const everyone = "_all"

// maxDevices bounds what a broker can make us remember.
const maxDevices = 200_000

// Device is what is known of one device. Nil: not said.
type Device struct {
	Group    string                         `json:"group"`
	ID       string                         `json:"device"`
	State    *message.State                 `json:"state,omitempty"`
	Info     *message.Info                  `json:"info,omitempty"`
	Reported *message.Reported              `json:"reported,omitempty"`
	Desired  *message.Desired               `json:"desired,omitempty"` // its own
	Health   *message.HealthRecord          `json:"health,omitempty"`  // newest heard
	Alarms   map[string]message.AlarmRecord `json:"alarms,omitempty"`  // heard and not cleared, by code and camera
	LastSeen time.Time                      `json:"last_seen,omitzero"`
	Problems []string                       `json:"problems,omitempty"` // documents that could not be read

	heard memory
}

// Online says whether the device has said so and the broker has not taken it back.
func (d Device) Online() bool { return d.State != nil && d.State.Status != "offline" }

// Slot is the device's report on one slot; nil: none.
func (d Device) Slot(name string) *message.ReportedSlot {
	if d.Reported == nil {
		return nil
	}
	for i := range d.Reported.Slots {
		if d.Reported.Slots[i].Slot == name {
			return &d.Reported.Slots[i]
		}
	}
	return nil
}

// group is what is retained for a whole group.
type group struct {
	desired *message.Desired
	rollout *Rollout
	problem string
	heard   memory
}

// Inventory is the fleet as its messages tell it. Its methods may be called from any goroutine.
type Inventory struct {
	conf Config

	mu      sync.Mutex
	devices map[string]*Device // by group/id
	groups  map[string]*group
	ignored int
	changes chan struct{} // holds a token when something changed
}

// NewInventory is empty; Take fills it.
func NewInventory(conf Config) *Inventory {
	return &Inventory{conf: conf, devices: map[string]*Device{}, groups: map[string]*group{}, changes: make(chan struct{}, 1)}
}

// Subs are what Take wants to hear of a group, or of all ("").
func (v *Inventory) Subs(group string) []Sub {
	subs := []Sub{}
	for _, below := range []string{"desired", "state", "info", "reported", "rollout", "t/health", "t/alarm"} {
		subs = append(subs, Sub{v.conf.filter(group, "", below), 0})
	}
	return subs
}

// Changes holds a token after each change.
func (v *Inventory) Changes() <-chan struct{} { return v.changes }

// Take books one message. What is published is believed; what the broker had kept, unless something newer is known, see doubtful.
func (v *Inventory) Take(m Message) {
	g, id, below, ok := v.conf.split(m.Topic)
	if !ok {
		return
	}
	v.mu.Lock()
	if id == everyone {
		v.takeGroup(g, below, m)
	} else {
		v.takeDevice(g, id, below, m)
	}
	v.mu.Unlock()
	select {
	case v.changes <- struct{}{}:
	default:
	}
}

func (v *Inventory) takeGroup(name, below string, m Message) {
	g := v.groups[name]
	if g == nil {
		g = &group{heard: memory{}}
		v.groups[name] = g
	}
	var err error
	switch below {
	case "desired":
		g.desired, err = settle(g.heard.of(below), m, g.desired, message.ParseDesired, byRev)
	case "rollout":
		var r *Rollout
		if r, err = parse(m.Payload, ParseRollout); err == nil && (r == nil || g.rollout == nil || !g.rollout.over(*r)) {
			g.rollout = r
		}
	}
	g.problem = ""
	if err != nil {
		g.problem = fmt.Sprintf("%s of group %s: %v", below, name, err)
	}
}

// parse reads a document; an empty one is how a retained message is taken back.
func parse[T any](payload []byte, read func([]byte) (T, error)) (*T, error) {
	if len(payload) == 0 {
		return nil, nil
	}
	t, err := read(payload)
	if err != nil {
		return nil, err
	}
	return &t, nil
}

func (v *Inventory) takeDevice(g, id, below string, m Message) {
	key := g + "/" + id
	d := v.devices[key]
	if d == nil {
		if len(v.devices) >= maxDevices {
			v.ignored++
			return
		}
		d = &Device{Group: g, ID: id, heard: memory{}}
		v.devices[key] = d
	}
	if !m.Retained && below != "desired" { // which is said to it, not by it
		d.LastSeen = time.Now().UTC().Truncate(time.Millisecond)
	}
	err := d.take(below, m)
	d.Problems = slices.DeleteFunc(d.Problems, func(p string) bool { return strings.HasPrefix(p, below+": ") })
	if err != nil {
		d.Problems = append(d.Problems, below+": "+Clean(err.Error()))
	}
}

func (d *Device) take(below string, m Message) (err error) {
	h := d.heard.of(below)
	switch below {
	case "state":
		return d.takeState(h, m)
	case "info":
		d.Info, err = settle(h, m, d.Info, readJSON[message.Info], func(*message.Info, *message.Info) int { return 0 })
	case "reported":
		d.Reported, err = settle(h, m, d.Reported, message.ParseReported, byAnswer)
		if err == nil && d.Reported != nil {
			d.LastSeen = later(d.LastSeen, d.Reported.At)
		}
	case "desired":
		d.Desired, err = settle(h, m, d.Desired, message.ParseDesired, byRev)
	case "t/health", "t/alarm":
		return d.takeTelemetry(below, m.Payload)
	}
	return err
}

func readJSON[T any](b []byte) (t T, err error) { return t, json.Unmarshal(b, &t) }

func byRev(a, b *message.Desired) int { return cmp.Compare(a.Rev, b.Rev) }

// byAnswer goes by the revs that are answered, then by the device's clock, which stands still while nothing but a percentage changes.
func byAnswer(a, b *message.Reported) int {
	return cmp.Or(cmp.Compare(a.GroupRev, b.GroupRev), cmp.Compare(a.Rev, b.Rev), a.At.Compare(b.At))
}

// byConnection: within one connection offline is the last word.
func byConnection(a, b *message.State) int {
	off := map[bool]int{true: 1}
	return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(off[a.Status == "offline"], off[b.Status == "offline"]))
}

// takeState ignores a late will: an offline of a connection older than the newest one.
func (d *Device) takeState(h *heard, m Message) error {
	known := d.State
	s, err := settle(h, m, known, readJSON[message.State], byConnection)
	if err != nil || s == nil || s == known {
		return err
	}
	if known != nil && s.Status == "offline" && s.Session < known.Session {
		return nil
	}
	d.State = s
	d.LastSeen = later(d.LastSeen, s.Since)
	return nil
}

func (d *Device) takeTelemetry(below string, payload []byte) error {
	b, err := Decode(payload)
	if err != nil {
		return err
	}
	for _, raw := range b.Data.Records {
		if below == "t/health" {
			h := message.HealthRecord{}
			if err := json.Unmarshal(raw, &h); err != nil {
				return err
			}
			h.T = recordTime(raw)
			if d.Health == nil || !h.T.Before(d.Health.T) {
				d.Health = &h
			}
			continue
		}
		a := message.AlarmRecord{}
		if err := json.Unmarshal(raw, &a); err != nil {
			return err
		}
		d.takeAlarm(a)
	}
	return nil
}

func (d *Device) takeAlarm(a message.AlarmRecord) {
	key := strings.Trim(a.Code+"/"+a.Camera, "/")
	if a.Cleared {
		delete(d.Alarms, key)
		return
	}
	if d.Alarms == nil {
		d.Alarms = map[string]message.AlarmRecord{}
	}
	if len(d.Alarms) < 100 {
		d.Alarms[key] = a
	}
}

func recordTime(raw []byte) time.Time {
	var r struct {
		T time.Time `json:"t"`
	}
	_ = json.Unmarshal(raw, &r) // the zero time says it
	return r.T
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Devices are copies, sorted by group and name.
func (v *Inventory) Devices() []Device {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]Device, 0, len(v.devices))
	for _, d := range v.devices {
		c := *d
		c.Alarms = maps.Clone(d.Alarms)
		c.Problems = slices.Clone(d.Problems)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Device) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Find is the device of that name, in the group or, where it is empty, in any; an error where there is none or more than one.
func (v *Inventory) Find(group, id string) (Device, error) {
	var found []Device
	for _, d := range v.Devices() {
		if d.ID == id && (group == "" || d.Group == group) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return Device{}, fmt.Errorf("no device %s has ever said anything here; heron fleet ls lists those that have", strings.Trim(group+"/"+id, "/"))
	case 1:
		return found[0], nil
	}
	return Device{}, fmt.Errorf("device %s is in %d groups: name one with --group", id, len(found))
}

// Groups that anything was heard of, sorted.
func (v *Inventory) Groups() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := map[string]bool{}
	for n := range v.groups {
		names[n] = true
	}
	for _, d := range v.devices {
		names[d.Group] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Group is what is retained for the whole of it: what should run, and the rollout; nil where there is none.
func (v *Inventory) Group(name string) (*message.Desired, *Rollout, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	g := v.groups[name]
	if g == nil {
		return nil, nil, nil
	}
	if g.problem != "" {
		return g.desired, g.rollout, fmt.Errorf("%s", Clean(g.problem))
	}
	return g.desired, g.rollout, nil
}

// Ignored counts messages of devices beyond what is remembered.
func (v *Inventory) Ignored() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ignored
}

// Clean makes one harmless line of what a stranger wrote: no control characters reach a terminal.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

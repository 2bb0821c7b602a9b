package agent

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"heron/agent/status"
	"heron/internal/atomicfile"
	"heron/sync/homeassistant"
	"heron/sync/message"
	"heron/sync/thinedge"
	"heron/sync/uplink"
)

// adapters tell the device's state in other systems' dialects, as retained documents of the uplink. nil: none is or was switched on.
type adapters struct {
	home  *homeassistant.Config // nil: off
	thin  *thinedge.Config      // nil: off
	left  memory                // what earlier processes may have left at the broker
	now   memory                // what this one puts there
	path  string                // of the memory
	pid   int
	birth string // where Home Assistant says that it has started

	reported func() *message.Reported // nil: no model is on its way; set before Run

	mu     sync.Mutex // guards all below
	has    homeassistant.Description
	teller *homeassistant.Teller
	states []homeassistant.Message
	again  bool // odd: the discovery message ends in a line break, which makes it a new one
	since  time.Time
	down   bool
}

// memory is kept beside the outbox: what stands at the broker outlives a process, and only who put it there can take it away.
type memory struct {
	Topics   []string          `json:"topics"`
	Entities map[string]string `json:"entities"` // of Home Assistant: the component of each
}

// buildAdapters comes before the uplink, which asks for what they subscribe to.
func (a *Agent) buildAdapters() {
	conf := a.conf.Adapters
	f := &adapters{path: filepath.Join(filepath.Dir(a.conf.Outbox.Path), "adapters.json"), pid: os.Getpid(), since: time.Now()}
	f.recall()
	if a.conf.Uplink.Broker == "" || !conf.HomeAssistant.Enabled && !conf.ThinEdge.Enabled && len(f.left.Topics) == 0 {
		return
	}
	if conf.HomeAssistant.Enabled {
		f.buildHome(a.conf, a.opt.Version)
	}
	if conf.ThinEdge.Enabled {
		f.thin = &thinedge.Config{Root: conf.ThinEdge.Root}
	}
	f.remember(a)
	a.adapters = f
}

func (f *adapters) buildHome(c Config, version string) {
	f.home = &homeassistant.Config{Prefix: c.Adapters.HomeAssistant.Prefix, Base: c.Uplink.Root + "/" + c.Device.Group + "/" + c.Device.ID,
		Group: c.Device.Group, Device: c.Device.ID, PerCamera: *c.Adapters.HomeAssistant.PerCamera}
	f.birth, f.teller = f.home.BirthTopic(), homeassistant.NewTeller(*f.home)
	f.has = homeassistant.Description{Agent: version, Hardware: hardware()}
	for _, cam := range c.Cameras {
		f.has.Cameras = append(f.has.Cameras, cam.Name)
	}
	for _, m := range c.Models {
		f.has.Slots = append(f.has.Slots, m.Slot)
	}
	// What a board tells shows with its first reading; to be gone until then would be to come and go at each start.
	_, f.has.Temperature = f.left.Entities["temperature"]
	_, f.has.Throttled = f.left.Entities["throttled"]
	f.has.Gone = f.left.Entities
}

// recall reads the memory; without one there is nothing to take away.
func (f *adapters) recall() {
	if b, err := os.ReadFile(f.path); err == nil {
		_ = json.Unmarshal(b, &f.left) // a damaged one is written anew
	}
}

// remember adds what this process will put to the broker before it does, and keeps in left what it will not.
func (f *adapters) remember(a *Agent) {
	f.now = memory{Entities: map[string]string{}}
	if f.home != nil {
		f.now = memory{Topics: f.home.Topics(f.has), Entities: f.home.Entities(f.has)}
	}
	if f.thin != nil {
		f.now.Topics = append(f.now.Topics, f.thin.Topics()...)
	}
	all := memory{Topics: append(slices.Clone(f.now.Topics), f.left.Topics...), Entities: maps.Clone(f.now.Entities)}
	slices.Sort(all.Topics)
	all.Topics = slices.Compact(all.Topics)
	for key, kind := range f.left.Entities {
		if all.Entities[key] == "" {
			all.Entities[key] = kind
		}
	}
	f.write(a, all)
	f.left.Topics = slices.DeleteFunc(all.Topics, func(t string) bool { return slices.Contains(f.now.Topics, t) })
}

func (f *adapters) write(a *Agent, m memory) {
	b, err := json.Marshal(m)
	if err == nil {
		if was, _ := os.ReadFile(f.path); string(was) != string(b) {
			err = atomicfile.Write(f.path, b, 0o640)
		}
	}
	if err != nil {
		a.log.Warn("adapters: cannot be remembered; what they leave at the broker may have to be deleted by hand", "error", err)
	}
}

// refresh looks at the state, once a second, and has the uplink look at the documents when one has changed.
func (a *Agent) refreshAdapters(now time.Time) {
	f := a.adapters
	if f == nil || f.home == nil {
		return
	}
	var rep *message.Reported
	if f.reported != nil {
		rep = f.reported()
	}
	s := a.Snapshot()
	f.mu.Lock()
	states, changed := f.teller.Messages(now, homeSnapshot(s, rep))
	f.states = states
	f.mu.Unlock()
	if f.learn(a, s) || changed {
		a.uplink.Changed()
	}
}

// learn takes up what the board tells, when it first does.
func (f *adapters) learn(a *Agent, s status.Snapshot) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	warm, slow := f.has.Temperature || s.Board.Hottest != nil, f.has.Throttled || s.Board.Throttled != nil
	if warm == f.has.Temperature && slow == f.has.Throttled {
		return false
	}
	f.has.Temperature, f.has.Throttled = warm, slow
	f.remember(a)
	return true
}

// documents is what the uplink asks for. It does not block: nothing here waits while it holds the lock, but for one small file.
func (f *adapters) documents() (docs []uplink.Document) {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	add := func(topic string, payload []byte) {
		docs = append(docs, uplink.Document{Topic: topic, Payload: payload, Retained: true, Absolute: true})
	}
	if f.home != nil && len(f.states) > 0 {
		for _, m := range f.states { // before what refers to them
			add(m.Topic, m.Payload)
		}
		d := f.home.Discovery(f.has)
		if f.again {
			d.Payload = append(d.Payload, '\n')
		}
		add(d.Topic, d.Payload)
	}
	if f.thin != nil {
		for _, m := range f.thin.Messages(!f.down, f.pid, f.since) {
			add(m.Topic, m.Payload)
		}
	}
	for _, topic := range f.left.Topics {
		add(topic, nil)
	}
	return docs
}

// subscriptions of the uplink: Home Assistant's birth message.
func (f *adapters) subscriptions() []string {
	if f == nil || f.home == nil {
		return nil
	}
	return []string{"/" + f.birth}
}

// handle takes a message from the broker; false: it is not for an adapter.
func (a *Agent) handleAdapters(m uplink.Message) bool {
	f := a.adapters
	if f == nil || f.home == nil || m.Topic != "/"+f.birth {
		return false
	}
	if string(m.Payload) == "online" && !m.Retained { // a retained one is of long ago: all was sent with this connection
		f.mu.Lock()
		f.again = !f.again
		f.mu.Unlock()
		a.uplink.Changed()
	}
	return true
}

// stopAdapters says that the service goes down; the uplink tells it with its last words. What had to be deleted at the broker is,
// when the link stood for long enough, and need not be remembered.
func (a *Agent) stopAdapters() {
	f := a.adapters
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := a.uplink.Stats(); s.State == "online" && time.Since(s.Since) > time.Minute {
		f.write(a, f.now)
	}
	f.down, f.since = true, time.Now()
}

func homeSnapshot(s status.Snapshot, rep *message.Reported) homeassistant.Snapshot {
	h := homeassistant.Snapshot{State: s.State, Backlog: s.Outbox.Records, Temperature: s.Board.Hottest, Throttled: s.Board.Throttled}
	for _, r := range s.Reasons {
		h.Reasons = append(h.Reasons, homeassistant.Reason{Code: r.Code, Text: r.Text, NextStep: r.NextStep})
	}
	for _, c := range s.Cameras {
		cam := homeassistant.Camera{Name: c.Name, State: c.State, FPS: c.FPS}
		if c.Last != nil && len(c.Last.Top) > 0 {
			cam.Label, cam.Score = c.Last.Top[0].Label, &c.Last.Top[0].Score
		}
		h.Cameras = append(h.Cameras, cam)
	}
	for _, m := range s.Models {
		slot := homeassistant.Slot{Name: m.Slot, Model: m.Name, Engine: m.Engine, Installed: m.Version, Latest: m.Version}
		if m.Refusal != nil {
			slot.Error = m.Refusal.Reason
		}
		if rep != nil {
			if i := slices.IndexFunc(rep.Slots, func(r message.ReportedSlot) bool { return r.Slot == m.Slot }); i >= 0 {
				onItsWay(&slot, rep.Slots[i])
			}
		}
		h.Slots = append(h.Slots, slot)
	}
	return h
}

// underWay are the steps of a model that has not arrived and has not been given up.
var underWay = []string{message.StepOffered, message.StepMetadata, message.StepReserved, message.StepFetched, message.StepVerified, message.StepStored,
	message.StepTried, message.StepShadow, message.StepSwapped, message.StepProbation}

// onItsWay adds what is reported of a slot to what runs there.
func onItsWay(slot *homeassistant.Slot, r message.ReportedSlot) {
	if v := filepath.Base(r.Target); r.Target != "" {
		slot.Latest = v
	}
	slot.InProgress = slices.Contains(underWay, r.Step)
	if slot.InProgress && r.Percent > 0 {
		slot.Percent = &r.Percent
	}
	if r.Error != "" {
		slot.Error = r.Error
	}
}

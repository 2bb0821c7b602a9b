// Package homeassistant says in Home Assistant's dialect what this device is and how it fares: one retained MQTT device discovery
// message, and small retained state documents on topics of their own. It is pure: what is to be published comes out, nothing is sent.
//
// Written from the documentation of Home Assistant 2025.4 (MQTT device discovery came with 2024.11, in_progress and
// update_percentage of the update entity with 2024.12).
package homeassistant

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Config says where and about whom.
type Config struct {
	Prefix        string // of discovery topics; homeassistant, unless it was changed there
	Base          string // this device's own topics: {root}/{group}/{device}
	Group, Device string
	PerCamera     bool // entities for each camera, beside those of the device
}

// Message is one to be retained on an absolute topic. Without a payload it deletes what stands there.
type Message struct {
	Topic   string
	Payload []byte
}

// Description is what the device has: it changes with the configuration only.
type Description struct {
	Agent, Hardware        string
	Cameras, Slots         []string
	Temperature, Throttled bool              // the board tells it
	Gone                   map[string]string // entities of earlier times and their component: Home Assistant is told to remove them
}

// BirthTopic is where Home Assistant says online when it has started and wants to be told everything again.
func (c Config) BirthTopic() string { return c.Prefix + "/status" }

// DiscoveryTopic has group and device on levels of their own: joined, two devices could get one name.
func (c Config) DiscoveryTopic() string {
	return c.Prefix + "/device/heron-" + c.Group + "/" + c.Device + "/config"
}

// StateTopic, CameraTopic and ModelTopic carry the states; at most six slashes, as all topics of Heron.
func (c Config) StateTopic() string               { return c.Base + "/ha/state" }
func (c Config) CameraTopic(camera string) string { return c.Base + "/ha/camera-" + camera }
func (c Config) ModelTopic(slot string) string    { return c.Base + "/ha/model-" + slot }

// entity is one component of the discovery message; its keys are those of the documentation, abbreviated as it allows.
type entity map[string]any

// Entities are the components by key, and of what kind each is.
func (c Config) Entities(d Description) map[string]string {
	kinds := map[string]string{}
	for key, e := range c.entities(d) {
		kinds[key] = e["p"].(string)
	}
	return kinds
}

// Discovery is the retained message that declares the device with all its entities.
func (c Config) Discovery(d Description) Message {
	components := c.entities(d)
	for key, kind := range d.Gone {
		if components[key] == nil {
			components[key] = entity{"p": kind} // without all else: remove it
		}
	}
	b, _ := json.Marshal(map[string]any{ // strings, booleans and lists of them only: it cannot fail
		"dev":  map[string]any{"ids": []string{c.id("")}, "name": c.Device, "mf": "Heron", "mdl": d.Hardware, "sw": d.Agent, "sa": c.Group},
		"o":    map[string]any{"name": "heron", "sw": d.Agent},
		"avty": []any{map[string]any{"t": c.Base + "/state", "val_tpl": "{{ 'offline' if value_json.status == 'offline' else 'online' }}"}},
		"qos":  1, "cmps": components,
	})
	return Message{c.DiscoveryTopic(), b}
}

// id is unique over all devices: a slash is in no group, device, camera or slot.
func (c Config) id(key string) string {
	return strings.TrimSuffix("heron/"+c.Group+"/"+c.Device+"/"+key, "/")
}

func (c Config) entities(d Description) map[string]entity {
	all := map[string]entity{}
	add := func(key, kind, name, topic, value string, more entity) {
		e := entity{"p": kind, "uniq_id": c.id(key), "name": name, "stat_t": topic, "val_tpl": "{{ " + value + " }}"}
		maps.Copy(e, more)
		all[key] = e
	}
	state := c.StateTopic()
	// Connectivity is what the others' availability is made of: itself it is always available.
	add("connectivity", "binary_sensor", "Connectivity", c.Base+"/state", "'OFF' if value_json.status == 'offline' else 'ON'",
		entity{"dev_cla": "connectivity", "ent_cat": "diagnostic", "avty": []any{}})
	add("problem", "binary_sensor", "Problem", state, "'OFF' if value_json.state == 'ok' else 'ON'", entity{"dev_cla": "problem"})
	add("state", "sensor", "State", state, "value_json.state", entity{"dev_cla": "enum", "ops": []string{"ok", "degraded", "failed"}})
	add("problems", "sensor", "Problems", state, "value_json.reasons | count", entity{"ent_cat": "diagnostic", "stat_cla": "measurement",
		"json_attr_t": state, "json_attr_tpl": "{{ {'reasons': value_json.reasons} | tojson }}"})
	add("backlog", "sensor", "Backlog", state, "value_json.backlog", entity{"ent_cat": "diagnostic", "stat_cla": "measurement", "unit_of_meas": "records"})
	if d.Temperature {
		add("temperature", "sensor", "Temperature", state, "value_json.temperature", entity{"dev_cla": "temperature", "ent_cat": "diagnostic", "stat_cla": "measurement", "unit_of_meas": "°C"})
	}
	if d.Throttled {
		add("throttled", "binary_sensor", "Throttled", state, "value_json.throttled", entity{"dev_cla": "problem", "ent_cat": "diagnostic"})
	}
	for _, slot := range d.Slots {
		all["model-"+slot] = entity{"p": "update", "uniq_id": c.id("model-" + slot), "name": "Model " + slot, "stat_t": c.ModelTopic(slot), "ent_cat": "diagnostic"}
		add("engine-"+slot, "sensor", "Engine "+slot, state, "value_json.engines['"+slot+"']", entity{"ent_cat": "diagnostic"})
	}
	if c.PerCamera {
		for _, cam := range d.Cameras {
			t := c.CameraTopic(cam)
			add("result-"+cam, "sensor", "Result "+cam, t, "value_json.label", nil)
			add("confidence-"+cam, "sensor", "Confidence "+cam, t, "value_json.confidence", entity{"stat_cla": "measurement", "unit_of_meas": "%"})
			add("fps-"+cam, "sensor", "Frames "+cam, t, "value_json.fps", entity{"ent_cat": "diagnostic", "stat_cla": "measurement", "unit_of_meas": "fps"})
			add("camera-"+cam, "sensor", "Camera "+cam, t, "value_json.state", entity{"ent_cat": "diagnostic"})
		}
	}
	return all
}

// Topics are all that this adapter may hold at the broker, sorted: what a later start must delete when it is switched off.
func (c Config) Topics(d Description) []string {
	topics := []string{c.DiscoveryTopic(), c.StateTopic()}
	for _, slot := range d.Slots {
		topics = append(topics, c.ModelTopic(slot))
	}
	if c.PerCamera {
		for _, cam := range d.Cameras {
			topics = append(topics, c.CameraTopic(cam))
		}
	}
	slices.Sort(topics)
	return topics
}

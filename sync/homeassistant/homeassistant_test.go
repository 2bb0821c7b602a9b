package homeassistant

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func conf() Config {
	return Config{Prefix: "homeassistant", Base: "heron/v1/acme/dev-42", Group: "acme", Device: "dev-42", PerCamera: true}
}

func description() Description {
	return Description{Agent: "1.2.0", Hardware: "Raspberry Pi 5", Cameras: []string{"front", "rear"}, Slots: []string{"main"}, Temperature: true, Throttled: true,
		Gone: map[string]string{"result-side": "sensor", "throttled": "binary_sensor"}}
}

func ptr[T any](v T) *T { return &v }

func snapshot() Snapshot {
	return Snapshot{State: "degraded", Reasons: []Reason{{"link-down", "the broker is not reached", "check the cable"}}, Backlog: 1234, Temperature: ptr(54.4), Throttled: ptr(false),
		Cameras: []Camera{{"front", "running", "scratched", ptr(0.914), 9.83}, {"rear", "reopening", "", nil, 0}},
		Slots:   []Slot{{Name: "main", Model: "bottles", Engine: "edgetpu", Installed: "1.4.1", Latest: "1.4.2", InProgress: true, Percent: ptr(40)}}}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(want, got) {
		t.Errorf("%s: %v; got\n%s", path, err, got)
	}
}

func TestGolden(t *testing.T) {
	d := conf().Discovery(description())
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, d.Payload, "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "discovery.json", append([]byte(d.Topic+"\n"), pretty.Bytes()...))
	messages, _ := NewTeller(conf()).Messages(time.Unix(0, 0), snapshot())
	var b bytes.Buffer
	for _, m := range messages {
		fmt.Fprintf(&b, "%s\n%s\n", m.Topic, m.Payload)
	}
	golden(t, "states.txt", b.Bytes())
	t.Logf("discovery %d bytes, states %d bytes", len(d.Payload), b.Len())
}

// The documented keys, by component, as abbreviated (Home Assistant 2025.4: integrations mqtt, sensor.mqtt, binary_sensor.mqtt, update.mqtt).
var (
	common  = []string{"p", "uniq_id", "name", "stat_t", "val_tpl", "avty", "ent_cat", "dev_cla", "json_attr_t", "json_attr_tpl"}
	allowed = map[string][]string{
		"sensor":        append([]string{"stat_cla", "unit_of_meas", "ops"}, common...),
		"binary_sensor": common,
		"update":        common,
	}
	classes = map[string][]string{"sensor": {"enum", "temperature"}, "binary_sensor": {"connectivity", "problem"}}
	words   = map[string][]string{"ent_cat": {"diagnostic", "config"}, "stat_cla": {"measurement", "total", "total_increasing"}}
)

func TestDiscoveryKeepsToTheDocumentedKeys(t *testing.T) {
	m := conf().Discovery(description())
	// the form of a topic that Home Assistant subscribes to
	if !regexp.MustCompile(`^homeassistant/device/([a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config$`).MatchString(m.Topic) {
		t.Errorf("topic %s", m.Topic)
	}
	var doc struct {
		Dev  map[string]any            `json:"dev"`
		O    map[string]any            `json:"o"`
		Avty []map[string]string       `json:"avty"`
		QoS  int                       `json:"qos"`
		Cmps map[string]map[string]any `json:"cmps"`
	}
	dec := json.NewDecoder(bytes.NewReader(m.Payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.O["name"] == "" || len(doc.Dev["ids"].([]any)) != 1 || len(doc.Avty) != 1 || doc.Avty[0]["t"] != "heron/v1/acme/dev-42/state" {
		t.Errorf("shared part: %s", m.Payload)
	}
	ids, topics := map[any]bool{}, conf().Topics(description())
	topics = append(topics, "heron/v1/acme/dev-42/state")
	for key, e := range doc.Cmps {
		kind, _ := e["p"].(string)
		if _, gone := description().Gone[key]; gone && key == "result-side" {
			if len(e) != 1 {
				t.Errorf("%s is gone and has %v", key, e)
			}
			continue
		}
		for k, v := range e {
			if !slices.Contains(allowed[kind], k) {
				t.Errorf("%s: %s has no key %s", key, kind, k)
			}
			if w := words[k]; w != nil && !slices.Contains(w, v.(string)) {
				t.Errorf("%s: %s is %v", key, k, v)
			}
		}
		if c, ok := e["dev_cla"]; ok && !slices.Contains(classes[kind], c.(string)) {
			t.Errorf("%s: device class %v", key, c)
		}
		if (e["ops"] != nil) != (e["dev_cla"] == "enum") || e["ops"] != nil && (e["stat_cla"] != nil || e["unit_of_meas"] != nil) {
			t.Errorf("%s: options, enum, unit and state class do not go together: %v", key, e)
		}
		if e["uniq_id"] == nil || e["name"] == nil || ids[e["uniq_id"]] || !slices.Contains(topics, e["stat_t"].(string)) {
			t.Errorf("%s: no identity of its own, or no topic of ours: %v", key, e)
		}
		ids[e["uniq_id"]] = true
	}
	for _, want := range []string{"connectivity", "problem", "state", "problems", "backlog", "temperature", "throttled", "model-main", "engine-main", "result-front", "confidence-rear", "fps-front"} {
		if doc.Cmps[want] == nil {
			t.Errorf("no %s", want)
		}
	}
	if doc.Cmps["throttled"]["uniq_id"] == nil {
		t.Error("throttled is back, and removed all the same")
	}
}

// Every value_json.KEY of a template must be in the document on its topic; the update entity's payload may have the documented keys only.
func TestTemplatesFindTheirKeys(t *testing.T) {
	docs := map[string]map[string]any{"heron/v1/acme/dev-42/state": {"status": "online"}}
	messages, _ := NewTeller(conf()).Messages(time.Unix(0, 0), snapshot())
	for _, m := range messages {
		var d map[string]any
		if err := json.Unmarshal(m.Payload, &d); err != nil {
			t.Fatal(err)
		}
		docs[m.Topic] = d
	}
	key := regexp.MustCompile(`value_json\.([a-z_]+)`)
	for name, e := range conf().entities(description()) {
		topic := e["stat_t"].(string)
		if e["p"] == "update" {
			for k := range docs[topic] {
				if !slices.Contains([]string{"installed_version", "latest_version", "title", "release_summary", "release_url", "entity_picture", "in_progress", "update_percentage"}, k) {
					t.Errorf("%s: update has no %s", name, k)
				}
			}
			continue
		}
		found := key.FindAllStringSubmatch(e["val_tpl"].(string), -1)
		if len(found) == 0 {
			t.Errorf("%s: %v", name, e["val_tpl"])
		}
		for _, f := range found {
			if _, ok := docs[topic][f[1]]; !ok {
				t.Errorf("%s: %s is not in %v", name, f[1], docs[topic])
			}
		}
	}
}

func TestWithoutCamerasOrBoard(t *testing.T) {
	c := conf()
	c.PerCamera = false
	d := Description{Cameras: []string{"front"}}
	for key := range c.Entities(d) {
		if strings.Contains(key, "front") || key == "temperature" || key == "throttled" {
			t.Errorf("%s is declared", key)
		}
	}
	m, _ := NewTeller(c).Messages(time.Unix(0, 0), snapshot())
	if len(m) != 2 || len(c.Topics(d)) != 2 {
		t.Errorf("%d messages, topics %q", len(m), c.Topics(d))
	}
}

func TestTellsWhatIsWorthIt(t *testing.T) {
	start := time.Unix(1e9, 0)
	for name, c := range map[string]struct {
		after  time.Duration
		change func(*Snapshot)
		told   bool
	}{
		"nothing":                    {time.Hour, func(*Snapshot) {}, false},
		"another label at once":      {time.Second, func(s *Snapshot) { s.Cameras[0].Label = "ok" }, true},
		"a label that flickers":      {time.Second / 2, func(s *Snapshot) { s.Cameras[0].Label = "ok" }, false},
		"confidence too soon":        {4 * time.Second, func(s *Snapshot) { s.Cameras[0].Score = ptr(0.5) }, false},
		"confidence":                 {5 * time.Second, func(s *Snapshot) { s.Cameras[0].Score = ptr(0.5) }, true},
		"confidence a little":        {time.Hour, func(s *Snapshot) { s.Cameras[0].Score = ptr(0.88) }, false},
		"confidence not any more":    {5 * time.Second, func(s *Snapshot) { s.Cameras[0].Score = nil }, true},
		"a camera's state":           {time.Second, func(s *Snapshot) { s.Cameras[1].State = "running" }, true},
		"fps a little":               {time.Hour, func(s *Snapshot) { s.Cameras[0].FPS = 9.4 }, false},
		"fps":                        {5 * time.Second, func(s *Snapshot) { s.Cameras[0].FPS = 5 }, true},
		"backlog too soon":           {30 * time.Second, func(s *Snapshot) { s.Backlog = 9999 }, false},
		"backlog":                    {time.Minute, func(s *Snapshot) { s.Backlog = 9999 }, true},
		"backlog a little":           {time.Hour, func(s *Snapshot) { s.Backlog += 50 }, false},
		"state at once":              {time.Second, func(s *Snapshot) { s.State = "ok" }, true},
		"another reason at once":     {time.Second, func(s *Snapshot) { s.Reasons = append(s.Reasons, Reason{Code: "hot"}) }, true},
		"other words of a reason":    {59 * time.Second, func(s *Snapshot) { s.Reasons = []Reason{{"link-down", "for 2 s", ""}} }, false},
		"other words a minute later": {time.Minute, func(s *Snapshot) { s.Reasons = []Reason{{"link-down", "for 2 s", ""}} }, true},
		"throttled at once":          {time.Second, func(s *Snapshot) { s.Throttled = ptr(true) }, true},
		"percent too soon":           {time.Second, func(s *Snapshot) { s.Slots[0].Percent = ptr(41) }, false},
		"percent":                    {5 * time.Second, func(s *Snapshot) { s.Slots[0].Percent = ptr(41) }, true},
		"installed at once":          {time.Second, func(s *Snapshot) { s.Slots[0].Installed, s.Slots[0].InProgress = "1.4.2", false }, true},
		"the clock was set back":     {-time.Hour, func(*Snapshot) {}, true},
		"a camera less":              {time.Second, func(s *Snapshot) { s.Cameras = s.Cameras[:1] }, true},
	} {
		tell := NewTeller(conf())
		before, first := tell.Messages(start, snapshot())
		s := snapshot()
		s.Reasons = slices.Clone(s.Reasons)
		c.change(&s)
		after, changed := tell.Messages(start.Add(c.after), s)
		if !first || changed != c.told {
			t.Errorf("%s: told %v", name, changed)
		}
		if !changed && !slices.EqualFunc(before, after, func(a, b Message) bool { return a.Topic == b.Topic && bytes.Equal(a.Payload, b.Payload) }) {
			t.Errorf("%s: told nothing, and the messages differ", name)
		}
	}
}

func TestLongTextsAreCutBetweenCharacters(t *testing.T) {
	for n := range 8 {
		if s := cut(strings.Repeat("x", n) + strings.Repeat("ü", 200)); len(s) > 255 || !json.Valid([]byte(`"`+s+`"`)) || strings.ContainsRune(s, '�') || !strings.HasSuffix(s, "…") {
			t.Errorf("%d bytes: %q", len(s), s)
		}
	}
}

// What a day costs on the link: MQTT bytes (header, topic, packet identifier, payload, PUBACK), without TCP/IP. Scripted, with a fixed seed.
func TestADayOnTheLink(t *testing.T) {
	for _, c := range []struct {
		name   string
		labels time.Duration // a new label after so long, on average; 0: never
		most   int
	}{{"a still scene", 0, 200_000}, {"a label a minute", time.Minute, 500_000}, {"a label a second", time.Second, 2_500_000}} {
		rnd := rand.New(rand.NewPCG(1, 2))
		tell, last, total, n := NewTeller(conf()), map[string]string{}, 0, 0
		s := snapshot()
		s.State, s.Reasons, s.Cameras, s.Slots[0].InProgress = "ok", nil, s.Cameras[:1], false
		label := 0
		for sec := range 6 * 3600 { // a quarter of it
			if c.labels > 0 && rnd.Float64() < 1/c.labels.Seconds() {
				label++
			}
			s.Cameras[0].Label = []string{"ok", "scratched", "empty"}[label%3]
			s.Cameras[0].Score = ptr(min(1, max(0, 0.93+0.01*rnd.NormFloat64())))
			s.Cameras[0].FPS = 10 + 0.1*rnd.NormFloat64()
			s.Backlog = int64(rnd.IntN(60))
			s.Temperature = ptr(55 + 6*math.Sin(float64(sec)/(6*3600)*2*math.Pi) + 0.5*rnd.NormFloat64())
			messages, _ := tell.Messages(time.Unix(int64(1e9+sec), 0), s)
			for _, m := range messages {
				if last[m.Topic] != string(m.Payload) {
					last[m.Topic] = string(m.Payload)
					n, total = n+1, total+2+2+len(m.Topic)+2+len(m.Payload)+4
				}
			}
		}
		n, total = 4*n, 4*total
		t.Logf("%s: %d messages, %d kB a day", c.name, n, total/1000)
		if total > c.most {
			t.Errorf("%s: %d bytes, more than %d", c.name, total, c.most)
		}
	}
}

package homeassistant

import (
	"encoding/json"
	"math"
	"slices"
	"time"
)

// How much must change, and how long ago the last message must be, before a state is told again. What a person waits for (a label, a
// state, a step of an update) is told at once; numbers that always move are not worth a message each time they do.
const (
	atOnce       = time.Second     // and yet not more often: a label can change with each frame
	perMessage   = 5 * time.Second // … and for long not more often than this
	mostCredit   = time.Minute     // so much quiet is saved up: twelve changes in a row are told at once
	cameraEvery  = 5 * time.Second // for confidence and fps
	stateEvery   = time.Minute     // for backlog, temperature and words
	updateEvery  = 5 * time.Second // for percent
	confidenceBy = 5               // points
	backlogBy    = 100             // records, or a tenth
	degreesBy    = 2               // °C
	mostReasons  = 10              // of the device
	mostText     = 255             // bytes of a text
)

// Snapshot is how the device fares. What is nil is unknown.
type Snapshot struct {
	State       string // ok, degraded, failed
	Reasons     []Reason
	Backlog     int64    // records that wait
	Temperature *float64 // °C
	Throttled   *bool
	Cameras     []Camera
	Slots       []Slot
}

// Reason is one thing that is not as it should be.
type Reason struct {
	Code     string `json:"code"`
	Text     string `json:"text"`
	NextStep string `json:"next_step,omitempty"`
}

// Camera is one camera and what was last seen in it.
type Camera struct {
	Name, State, Label string
	Score              *float64 // 0…1
	FPS                float64
}

// Slot is one model slot: what runs, what is wanted, and how far that is.
type Slot struct {
	Name, Model, Engine string
	Installed, Latest   string // versions; empty: none
	InProgress          bool
	Percent             *int   // of the present step
	Error               string // why the latest does not run
}

// Teller turns snapshots into messages and remembers what it told, so as to tell little. Not for use by several goroutines.
type Teller struct {
	conf Config
	told map[string]told
}

type told struct {
	at      time.Time
	credit  time.Duration // quiet, for messages at once
	key     string        // what is told at once when it changes
	numbers []float64     // what is told when it changed enough
	text    string        // what is told when it is time
	payload []byte
}

// NewTeller makes one that has told nothing.
func NewTeller(c Config) *Teller { return &Teller{conf: c, told: map[string]told{}} }

// Messages are all state documents as they should stand at the broker now; changed says whether one differs from the last call's.
func (t *Teller) Messages(now time.Time, s Snapshot) (messages []Message, changed bool) {
	there := map[string]bool{}
	tell := func(topic string, every time.Duration, by []float64, next told) {
		there[topic] = true
		last, known := t.told[topic]
		since := now.Sub(last.at)
		if !known || due(last, next, since, every, by) {
			next.at, next.credit = now, mostCredit
			if known && since >= 0 {
				next.credit = max(0, min(mostCredit, last.credit+since)-perMessage)
			}
			t.told[topic], last, changed = next, next, true
		}
		messages = append(messages, Message{topic, last.payload})
	}
	next, by := stateDocument(s)
	tell(t.conf.StateTopic(), stateEvery, by, next)
	for _, slot := range s.Slots {
		tell(t.conf.ModelTopic(slot.Name), updateEvery, []float64{1}, slotDocument(slot))
	}
	if t.conf.PerCamera {
		for _, cam := range s.Cameras {
			tell(t.conf.CameraTopic(cam.Name), cameraEvery, []float64{confidenceBy, max(0.5, cam.FPS/10)}, cameraDocument(cam))
		}
	}
	for topic := range t.told {
		if !there[topic] {
			delete(t.told, topic)
			changed = true
		}
	}
	return messages, changed
}

// due says whether the change from last to next, so long after it, is worth a message.
func due(last, next told, since, every time.Duration, by []float64) bool {
	if since < 0 { // the clock was set back
		return true
	}
	if last.key != next.key {
		return since >= atOnce && last.credit+since >= perMessage
	}
	if since < every {
		return false
	}
	for i, v := range next.numbers {
		if math.IsNaN(v) != math.IsNaN(last.numbers[i]) || math.Abs(v-last.numbers[i]) >= by[i] {
			return true
		}
	}
	return last.text != next.text
}

func stateDocument(s Snapshot) (told, []float64) {
	reasons := s.Reasons[:min(len(s.Reasons), mostReasons)]
	doc := struct {
		State       string            `json:"state"`
		Reasons     []Reason          `json:"reasons"`
		Backlog     int64             `json:"backlog"`
		Temperature *float64          `json:"temperature"`
		Throttled   *string           `json:"throttled"`
		Engines     map[string]string `json:"engines"`
	}{State: s.State, Reasons: []Reason{}, Backlog: s.Backlog, Engines: map[string]string{}}
	var codes []string
	for _, r := range reasons {
		codes = append(codes, r.Code)
		doc.Reasons = append(doc.Reasons, Reason{r.Code, cut(r.Text), cut(r.NextStep)})
	}
	slices.Sort(codes)
	warmth := math.NaN()
	if s.Temperature != nil {
		warmth = math.Round(*s.Temperature)
		doc.Temperature = &warmth
	}
	if s.Throttled != nil {
		doc.Throttled = new(string)
		*doc.Throttled = onOff(*s.Throttled)
	}
	for _, slot := range s.Slots {
		doc.Engines[slot.Name] = slot.Engine
		if slot.Engine == "" {
			doc.Engines[slot.Name] = "none"
		}
	}
	key := encode([]any{doc.State, codes, doc.Throttled, doc.Engines})
	return told{key: string(key), numbers: []float64{float64(s.Backlog), warmth}, text: string(encode(doc.Reasons)), payload: encode(doc)},
		[]float64{max(backlogBy, float64(s.Backlog)/10), degreesBy}
}

func cameraDocument(c Camera) told {
	doc := struct {
		Label      *string  `json:"label"`
		Confidence *float64 `json:"confidence"`
		FPS        float64  `json:"fps"`
		State      string   `json:"state"`
	}{FPS: math.Round(10*c.FPS) / 10, State: c.State}
	confidence := math.NaN()
	if c.Label != "" {
		label := cut(c.Label)
		doc.Label = &label
	}
	if c.Score != nil {
		confidence = math.Round(100 * *c.Score)
		doc.Confidence = &confidence
	}
	return told{key: c.State + "\x00" + c.Label, numbers: []float64{confidence, c.FPS}, payload: encode(doc)}
}

// slotDocument is the payload of an update entity, whose keys are given: an unknown one would make Home Assistant drop it.
func slotDocument(s Slot) told {
	doc := struct {
		Installed  string `json:"installed_version,omitempty"`
		Latest     string `json:"latest_version,omitempty"`
		Title      string `json:"title"`
		Summary    string `json:"release_summary"`
		InProgress bool   `json:"in_progress"`
		Percent    *int   `json:"update_percentage"`
	}{s.Installed, s.Latest, s.Model, cut(s.Error), s.InProgress, nil}
	percent := -1.0
	if s.InProgress && s.Percent != nil {
		p := min(100, max(0, *s.Percent))
		percent, doc.Percent = float64(p), &p
	}
	return told{key: string(encode([]any{s.Installed, s.Latest, s.Model, s.Error, s.InProgress})), numbers: []float64{percent}, payload: encode(doc)}
}

func onOff(b bool) string {
	if b {
		return "ON"
	}
	return "OFF"
}

// cut bounds a text, between characters: Home Assistant takes 255.
func cut(s string) string {
	if len(s) <= mostText {
		return s
	}
	n := mostText - len("…")
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

// encode cannot fail: numbers that JSON does not know are nil here.
func encode(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

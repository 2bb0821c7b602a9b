package status

import (
	"encoding/json"
	"math"
	"time"
)

// Health states, worst last.
const (
	OK       = "ok"
	Degraded = "degraded"
	Failed   = "failed"
)

// Snapshot is everything that the page, /api/v1/status and /metrics tell, at one moment. Whoever makes one gives it away:
// its slices and maps are not changed afterwards. Times that are unknown are zero and absent from the JSON.
type Snapshot struct {
	At      time.Time `json:"at"`      // when it was taken; filled in when zero
	State   string    `json:"state"`   // ok, degraded, failed
	Reasons []Reason  `json:"reasons"` // why State is not ok, worst first
	Device  Device    `json:"device"`
	Cameras []Camera  `json:"cameras"`
	Models  []Model   `json:"models"`
	Engine  string    `json:"engine"` // the one in use; empty when none is
	Engines []Engine  `json:"engines"`
	Vision  Vision    `json:"vision"`
	Events  Events    `json:"events"`
	Outbox  Outbox    `json:"outbox"`
	Uplink  Uplink    `json:"uplink"`
	Board   Board     `json:"board"`
	Process Process   `json:"process"`
	Live    Live      `json:"live"` // the server's own count, filled in by it
}

// Reason is one thing that is not as it should be.
type Reason struct {
	Code     string    `json:"code"` // from a fixed list: it is a metric's label
	Since    time.Time `json:"since,omitzero"`
	Text     string    `json:"text"`                // what is wrong, one line for people
	NextStep string    `json:"next_step,omitempty"` // what a technician can do about it
	Blocking bool      `json:"blocking,omitempty"`  // the job is not done because of it: /readyz says 503
}

// Device names the device and its software.
type Device struct {
	Group    string    `json:"group"`
	ID       string    `json:"id"`
	Agent    string    `json:"agent"` // version
	Boot     string    `json:"boot"`
	UptimeS  float64   `json:"uptime_s"` // of the agent
	Hardware string    `json:"hardware,omitempty"`
	Started  time.Time `json:"started,omitzero"` // the agent
}

// Camera is one configured camera. Counters run since the agent started.
type Camera struct {
	Name        string    `json:"name"`
	Source      string    `json:"source"` // without user or password
	Slot        string    `json:"slot,omitempty"`
	State       string    `json:"state"`      // opening, running, reopening, ended
	FPS         float64   `json:"fps"`        // classified frames a second, over the last seconds
	FPSWanted   float64   `json:"fps_wanted"` // that it is to have: configured, or what the camera delivers; 0 is every frame of one that has not delivered yet
	FPSNow      float64   `json:"fps_now"`    // … and that it may have now; less while the board is in trouble or inference is slow
	SlowedSince time.Time `json:"slowed_since,omitzero"`
	SlowedBy    string    `json:"slowed_by,omitempty"`
	FrameAgeS   float64   `json:"frame_age_s"` // of the newest frame; −1 before the first
	Width       int       `json:"width"`
	Height      int       `json:"height"`
	Frames      uint64    `json:"frames"`   // read
	Dropped     uint64    `json:"dropped"`  // replaced by a newer one before anybody looked
	Inferred    uint64    `json:"inferred"` // classified
	Reopened    uint64    `json:"reopened"`
	Errors      uint64    `json:"errors"`
	ClockJumps  uint64    `json:"clock_jumps"` // of its own timestamps
	LastError   string    `json:"last_error,omitempty"`
	Facts       []string  `json:"facts"` // of the newest frame: black, covered, …
	Last        *Last     `json:"last,omitempty"`
}

// Last is a camera's newest observation.
type Last struct {
	Frame  uint64    `json:"frame"`
	At     time.Time `json:"at"` // capture
	Name   string    `json:"name,omitempty"`
	Top    []Score   `json:"top"`
	Engine string    `json:"engine"`
	Model  string    `json:"model"`
	LatMS  float64   `json:"lat_ms"`
	AgeMS  float64   `json:"age_ms"`
	Facts  []string  `json:"facts"`
	Error  string    `json:"error,omitempty"`
}

// Score is one label with its score (0…1); in JSON ["scratched",0.91].
type Score struct {
	Label string
	Score float64
}

// MarshalJSON writes ["label",score] with four decimals at most: models answer in float32, what is beyond is noise.
func (s Score) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{s.Label, math.Round(s.Score*1e4) / 1e4})
}

// UnmarshalJSON reads ["label",score].
func (s *Score) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&s.Label, &s.Score})
}

// Model is one model slot.
type Model struct {
	Slot    string     `json:"slot"`
	Name    string     `json:"name"`
	Version string     `json:"version"`
	Digest  string     `json:"digest"`
	Engine  string     `json:"engine"`
	State   string     `json:"state"` // loading, live, refused
	Device  string     `json:"device,omitempty"`
	Labels  int        `json:"labels"`
	Refusal *Refusal   `json:"refusal,omitempty"`
	Errors  uint64     `json:"errors"` // failed inferences
	Latency *Histogram `json:"latency,omitempty"`
	Standby []Standby  `json:"standby,omitempty"`
	Update  *Update    `json:"update,omitempty"` // nil: models come with the configuration only
}

// Update is what is on its way to a slot, or how the last one ended.
type Update struct {
	Target   string `json:"target,omitempty"`
	Rev      int64  `json:"rev,omitempty"`
	Step     string `json:"step,omitempty"` // offered … confirmed, refused, rolled-back, waiting
	Percent  int    `json:"percent,omitempty"`
	Decision string `json:"decision,omitempty"` // at waiting: for what
	Reason   string `json:"reason,omitempty"`
	Previous string `json:"previous,omitempty"`

	HoldUntil time.Time `json:"hold_until,omitzero"` // a technician keeps everything as it is
}

// Standby is an engine that a model should rather run on, and why it does not.
type Standby struct {
	Engine   string    `json:"engine"`
	Code     string    `json:"code"`
	Reason   string    `json:"reason"`
	NextStep string    `json:"next_step,omitempty"`
	Lost     bool      `json:"lost"` // it ran here and failed
	Since    time.Time `json:"since"`
	RetryInS float64   `json:"retry_in_s"` // below 0: when something is plugged in
}

// Refusal says why a model does not run.
type Refusal struct {
	Code     string `json:"code"`
	Reason   string `json:"reason"`
	NextStep string `json:"next_step,omitempty"`
}

// Engine is one inference engine that this heron-vision knows, and why it cannot run where it cannot.
type Engine struct {
	Engine   string `json:"engine"`
	Device   string `json:"device,omitempty"`
	Present  bool   `json:"present"`
	Usable   bool   `json:"usable"`
	InUse    bool   `json:"in_use"`
	Version  string `json:"version,omitempty"`
	Reason   string `json:"reason,omitempty"`
	NextStep string `json:"next_step,omitempty"`
}

// Vision is the heron-vision process.
type Vision struct {
	State      string            `json:"state"` // starting, loading, running, replacing, crash-loop, refused, ended
	Since      time.Time         `json:"since,omitzero"`
	PID        int               `json:"pid"`
	Version    string            `json:"version,omitempty"`
	Restarts   uint64            `json:"restarts"`
	Fallbacks  uint64            `json:"engine_fallbacks"` // engines that were lost and replaced by the next one
	Returns    uint64            `json:"engine_returns"`
	ByCause    map[string]uint64 `json:"by_cause"` // restarts
	LastCause  string            `json:"last_cause,omitempty"`
	LastReason string            `json:"last_reason,omitempty"`
	LastAt     time.Time         `json:"last_at,omitzero"`
	RetryInS   float64           `json:"retry_in_s,omitempty"`
	RSS        int64             `json:"rss"` // bytes
}

// Events counts what observations became.
type Events struct {
	Entered    uint64 `json:"entered"`
	Exited     uint64 `json:"exited"`
	Still      uint64 `json:"still"`
	Suppressed uint64 `json:"suppressed"`  // by cooldown
	Unfit      uint64 `json:"unfit"`       // frames without a usable answer
	ClockJumps uint64 `json:"clock_jumps"` // of a stream's capture time
}

// Outbox is what waits to be delivered.
type Outbox struct {
	State        string            `json:"state"` // opening, ok, memory, failed
	Reason       string            `json:"reason,omitempty"`
	Since        time.Time         `json:"since,omitzero"`
	Epoch        string            `json:"epoch"`
	NextSeq      uint64            `json:"next_seq"`
	Records      int64             `json:"records"` // waiting
	Bytes        int64             `json:"bytes"`   // of them, compressed
	ByStream     map[string]int64  `json:"by_stream"`
	OldestS      float64           `json:"oldest_s"` // age of the oldest that waits; 0 when none does
	FileBytes    int64             `json:"file_bytes"`
	MaxBytes     int64             `json:"max_bytes,omitempty"`
	Acked        uint64            `json:"acked"`   // records
	Dropped      map[string]uint64 `json:"dropped"` // records, by reason
	Commits      uint64            `json:"commits"`
	Written      uint64            `json:"written"`       // bytes, since start
	WrittenToday uint64            `json:"written_today"` // bytes, since midnight UTC
	Quarantined  uint64            `json:"quarantined"`   // files
	Salvaged     uint64            `json:"salvaged"`      // records
	Dead         uint64            `json:"dead"`          // records
}

// Uplink is the connection to the broker.
type Uplink struct {
	State      string    `json:"state"` // offline, connecting, online, refused, off
	Reason     string    `json:"reason,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	Broker     string    `json:"broker"` // without user or password
	Session    uint64    `json:"session"`
	InFlight   int       `json:"in_flight"` // publishes without PUBACK
	Acked      uint64    `json:"acked"`     // records
	Resent     uint64    `json:"resent"`    // records
	Connects   uint64    `json:"connects"`
	BytesToday Traffic   `json:"bytes_today"` // since midnight UTC
	BytesTotal Traffic   `json:"bytes_total"` // since start
	RTTMS      float64   `json:"rtt_ms"`      // publish to PUBACK, recent
	RetryInS   float64   `json:"retry_in_s,omitempty"`
	Updates    *Budget   `json:"updates,omitempty"` // nil: nothing bounds what they cost
}

// Budget is what updates have cost, and why they wait. Day and month are those of the device's own time zone.
type Budget struct {
	Day      int64  `json:"day"`       // bytes
	PerDay   int64  `json:"per_day"`   // 0: no bound
	Month    int64  `json:"month"`     // bytes
	PerMonth int64  `json:"per_month"` // 0: no bound
	Link     string `json:"link,omitempty"`
	Metered  bool   `json:"metered"`           // the link is
	Code     string `json:"code,omitempty"`    // day, month, metered, clock, ledger: why files wait; empty: they do not
	Why      string `json:"why,omitempty"`     // the same for people
	Trouble  string `json:"trouble,omitempty"` // with the file that the sums are in
}

// Traffic is bytes on the link each way.
type Traffic struct {
	Up   uint64 `json:"up"`
	Down uint64 `json:"down"`
}

// Board is the machine itself. What it does not tell is absent.
type Board struct {
	Zones        []Zone    `json:"zones"`                   // hottest first
	Hottest      *float64  `json:"hottest_c,omitempty"`     // °C
	CPU          *float64  `json:"cpu_c,omitempty"`         // °C
	Throttled    *bool     `json:"throttled,omitempty"`     // it holds its clocks back now
	UnderVoltage *bool     `json:"under_voltage,omitempty"` // its supply is too weak now
	Why          string    `json:"why,omitempty"`           // of the two
	Since        time.Time `json:"since,omitzero"`          // of the two
	SinceBoot    []string  `json:"since_boot,omitempty"`    // what has happened since the board started
	MHz          float64   `json:"mhz,omitempty"`           // of the fastest core
	MaxMHz       float64   `json:"max_mhz,omitempty"`
	Starved      *float64  `json:"cpu_quota_out,omitempty"` // share of time slices in which the CPU quota ran out
	Problem      string    `json:"problem,omitempty"`       // it cannot be read now
	HotFrom      float64   `json:"hot_from_c"`              // board.hot
	Adapts       bool      `json:"adapts"`                  // board.adapt: cameras are slowed when needed
}

// Zone is one temperature, °C.
type Zone struct {
	Zone string  `json:"zone"`
	C    float64 `json:"c"`
}

// Process is the agent's own use.
type Process struct {
	RSS        int64   `json:"rss"`   // bytes
	CPUS       float64 `json:"cpu_s"` // seconds of CPU since start
	Goroutines int     `json:"goroutines"`
	FDs        int     `json:"fds,omitempty"`
	Version    string  `json:"version"` // Go's
}

// Live counts live view since start.
type Live struct {
	Viewers int    `json:"viewers"` // now
	Frames  uint64 `json:"frames"`  // sent
	Bytes   uint64 `json:"bytes"`   // of them
	Refused uint64 `json:"refused"` // viewers, because too many looked
	Encodes uint64 `json:"encodes"` // pictures made, once for all who saw them
}

// fill makes absent lists and maps empty ones, so that programs find [] and {} instead of null.
func (s *Snapshot) fill(now time.Time) {
	if s.At.IsZero() {
		s.At = now
	}
	list(&s.Reasons)
	list(&s.Cameras)
	list(&s.Models)
	list(&s.Engines)
	list(&s.Board.Zones)
	dict(&s.Vision.ByCause)
	dict(&s.Outbox.ByStream)
	dict(&s.Outbox.Dropped)
	for i := range s.Cameras {
		c := &s.Cameras[i]
		list(&c.Facts)
		if c.Last != nil {
			last := *c.Last // the provider may still hold it
			list(&last.Top)
			list(&last.Facts)
			c.Last = &last
		}
	}
}

func list[T any](s *[]T) {
	if *s == nil {
		*s = []T{}
	}
}

func dict[V any](m *map[string]V) {
	if *m == nil {
		*m = map[string]V{}
	}
}

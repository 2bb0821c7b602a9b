package message

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// TimeFormat is RFC 3339 in UTC with milliseconds, as every time in the contract is written.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Score is one label with its score (0…1); in JSON ["scratched",0.91].
type Score struct {
	Label string
	Score float64
}

// MarshalJSON writes ["label",score] with four decimals at most.
func (s Score) MarshalJSON() ([]byte, error) {
	b := append([]byte{'['}, quote(s.Label)...)
	b = append(b, ',')
	b = appendNumber(b, s.Score, 4)
	return append(b, ']'), nil
}

// UnmarshalJSON reads ["label",score].
func (s *Score) UnmarshalJSON(b []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("a score is [label, number], not %d values", len(pair))
	}
	if err := json.Unmarshal(pair[0], &s.Label); err != nil {
		return err
	}
	return json.Unmarshal(pair[1], &s.Score)
}

// ResultRecord is one classified frame, or one that was looked at and found unfit (Facts without Top).
type ResultRecord struct {
	Stamp
	Camera, Model, Engine string
	Frame                 uint64
	LatMS, AgeMS          float64
	Top                   []Score
	Facts                 []string // frame facts: black, covered, frozen, …
	Name                  string   // the picture's file name, for pictures
	Error                 string   // inference failed on this frame
}

// Stream is Result.
func (ResultRecord) Stream() Stream { return Result }

// AppendJSON appends the record without seq. Times have milliseconds, latencies a tenth, scores three decimals:
// what is beyond is noise, and costs on the link.
func (r ResultRecord) AppendJSON(b []byte) []byte {
	b = appendStamp(b, r.Stamp)
	b = appendString(b, `,"cam":`, r.Camera)
	b = append(b, `,"frame":`...)
	b = strconv.AppendUint(b, r.Frame, 10)
	if r.Name != "" {
		b = appendString(b, `,"name":`, r.Name)
	}
	b = appendString(b, `,"model":`, r.Model)
	b = appendString(b, `,"engine":`, r.Engine)
	b = append(b, `,"lat_ms":`...)
	b = appendNumber(b, r.LatMS, 1)
	b = append(b, `,"age_ms":`...)
	b = appendNumber(b, r.AgeMS, 0)
	if len(r.Top) > 0 {
		b = append(b, `,"top":[`...)
		for i, s := range r.Top {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '[')
			b = append(b, quote(s.Label)...)
			b = append(b, ',')
			b = appendNumber(b, s.Score, 3)
			b = append(b, ']')
		}
		b = append(b, ']')
	}
	if len(r.Facts) > 0 {
		b = append(b, `,"q":`...)
		b = appendAny(b, r.Facts)
	}
	if r.Error != "" {
		b = appendString(b, `,"error":`, r.Error)
	}
	return append(b, '}')
}

// EventRecord says that a label was entered, is still there, or was left.
type EventRecord struct {
	Stamp
	Camera  string  `json:"cam"`
	Label   string  `json:"label"`
	State   string  `json:"state"` // enter, exit, still
	Score   float64 `json:"score"`
	DwellMS int64   `json:"dwell_ms"`
	Frames  int     `json:"frames"`
	Engine  string  `json:"engine,omitempty"`
	Model   string  `json:"model"`
}

// Stream is Event.
func (EventRecord) Stream() Stream { return Event }

// AppendJSON appends the record without seq.
func (r EventRecord) AppendJSON(b []byte) []byte {
	r.Score = round(r.Score, 3)
	return appendObject(b, r.Stamp, r)
}

// AlarmRecord says that something needs a person.
type AlarmRecord struct {
	Stamp
	Code     string    `json:"code"`
	Severity string    `json:"severity"` // warning, critical
	Text     string    `json:"text"`
	Camera   string    `json:"cam,omitempty"`
	Since    time.Time `json:"since"`
	Cleared  bool      `json:"cleared,omitempty"`
	NextStep string    `json:"next_step,omitempty"`
}

// Stream is Alarm.
func (AlarmRecord) Stream() Stream { return Alarm }

// AppendJSON appends the record without seq.
func (r AlarmRecord) AppendJSON(b []byte) []byte {
	r.Since = r.Since.UTC().Truncate(time.Millisecond)
	return appendObject(b, r.Stamp, r)
}

// RollupRecord sums up one minute of one camera and model.
type RollupRecord struct {
	Stamp
	Camera  string         `json:"cam"`
	Model   string         `json:"model"`
	Engine  string         `json:"engine"`
	From    time.Time      `json:"from"`
	To      time.Time      `json:"to"`
	N       int            `json:"n"`
	Lat     Latency        `json:"lat"` // ms
	Labels  map[string]int `json:"labels"`
	Conf    Histogram      `json:"conf"` // of the best score
	Unknown int            `json:"unknown"`
	Quality map[string]int `json:"quality,omitempty"` // frames with this fact
	Dropped map[string]int `json:"dropped,omitempty"` // by reason
}

// Latency is the spread of inference times in ms.
type Latency struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// Histogram counts values: N[i] lie in [Edges[i], Edges[i+1]).
type Histogram struct {
	Edges []float64 `json:"edges"`
	N     []int     `json:"n"`
}

// Stream is Rollup.
func (RollupRecord) Stream() Stream { return Rollup }

// AppendJSON appends the record without seq.
func (r RollupRecord) AppendJSON(b []byte) []byte {
	r.Labels, r.Conf.Edges, r.Conf.N = notNil(r.Labels), append([]float64{}, r.Conf.Edges...), append([]int{}, r.Conf.N...)
	r.From, r.To = r.From.UTC().Truncate(time.Millisecond), r.To.UTC().Truncate(time.Millisecond)
	for _, p := range []*float64{&r.Lat.Min, &r.Lat.Mean, &r.Lat.P50, &r.Lat.P95, &r.Lat.P99, &r.Lat.Max} {
		*p = round(*p, 2)
	}
	return appendObject(b, r.Stamp, r)
}

// HealthRecord is the device's own state, once a minute and at every change.
type HealthRecord struct {
	Stamp
	State        string     `json:"state"` // ok, degraded, failed
	Reasons      []string   `json:"reasons"`
	UptimeS      int64      `json:"uptime_s"`
	CPU          float64    `json:"cpu,omitempty"` // cores, of both processes
	RSS          *RSS       `json:"rss,omitempty"`
	TempC        *float64   `json:"temp_c,omitempty"`    // hottest zone; nil is unknown, as in the two below
	Throttled    *bool      `json:"throttled,omitempty"` // the board holds its clocks back
	UnderVoltage *bool      `json:"under_voltage,omitempty"`
	DiskFree     int64      `json:"disk_free,omitempty"`
	Backlog      Backlog    `json:"backlog"`
	Link         LinkUse    `json:"link"`
	Written      int64      `json:"written_today"`
	Vision       VisionPart `json:"vision"`
}

// RSS is resident memory in bytes.
type RSS struct {
	Core   int64 `json:"core"`
	Vision int64 `json:"vision"`
}

// Backlog is what waits to be sent.
type Backlog struct {
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`
	OldestS int64 `json:"oldest_s"`
}

// LinkUse is what the link carried since midnight UTC, and what updates may cost in a day of the device's own time zone.
type LinkUse struct {
	BytesToday int64 `json:"bytes_today"`
	Budget     int64 `json:"budget,omitempty"`        // of updates, a day
	Updates    int64 `json:"updates_today,omitempty"` // of it spent
}

// VisionPart is how heron-vision fares.
type VisionPart struct {
	State    string `json:"state"`
	Restarts int64  `json:"restarts"`
	Last     string `json:"last,omitempty"` // cause of the last replacement
}

// Stream is Health.
func (HealthRecord) Stream() Stream { return Health }

// AppendJSON appends the record without seq.
func (r HealthRecord) AppendJSON(b []byte) []byte {
	r.CPU = round(r.CPU, 3)
	if r.TempC != nil {
		c := round(*r.TempC, 1)
		r.TempC = &c
	}
	r.Reasons = append([]string{}, r.Reasons...)
	return appendObject(b, r.Stamp, r)
}

// AuditRecord says who did what.
type AuditRecord struct {
	Stamp
	Who    string `json:"who"`
	What   string `json:"what"`
	Target string `json:"target,omitempty"`
	Rev    int    `json:"rev,omitempty"`
	Digest string `json:"digest,omitempty"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
}

// Stream is Audit.
func (AuditRecord) Stream() Stream { return Audit }

// AppendJSON appends the record without seq.
func (r AuditRecord) AppendJSON(b []byte) []byte { return appendObject(b, r.Stamp, r) }

// GapRecord owns up to sequence numbers that will never arrive, or to records that were lost before they had one.
type GapRecord struct {
	Stamp
	Gap Gap `json:"gap"`
}

// Gap is the run of numbers From…To (both included; 0, 0 where none were given out yet).
type Gap struct {
	From       uint64 `json:"from"`
	To         uint64 `json:"to"`
	Reason     string `json:"reason"` // restart, full, corrupt, poison
	LostAtMost uint64 `json:"lost_at_most"`
	Unknown    bool   `json:"unknown,omitempty"` // LostAtMost is of what is known of: a file's own count was lost with it
	Stream     Stream `json:"stream,omitempty"`
}

// Stream is Audit.
func (GapRecord) Stream() Stream { return Audit }

// AppendJSON appends the record without seq.
func (r GapRecord) AppendJSON(b []byte) []byte { return appendObject(b, r.Stamp, r) }

// ClockRecord says by how much the wall clock stepped.
type ClockRecord struct {
	Stamp
	Boot   string    `json:"boot"`
	Wall   time.Time `json:"wall"`
	StepMS int64     `json:"step_ms"`
	Source string    `json:"source"`
}

// Stream is Clock.
func (ClockRecord) Stream() Stream { return Clock }

// AppendJSON appends the record without seq.
func (r ClockRecord) AppendJSON(b []byte) []byte {
	r.Wall = r.Wall.UTC().Truncate(time.Millisecond)
	return appendObject(b, r.Stamp, r)
}

func appendStamp(b []byte, s Stamp) []byte {
	b = append(b, `{"t":"`...)
	b = s.T.UTC().AppendFormat(b, TimeFormat)
	b = append(b, `","mono_ms":`...)
	return strconv.AppendInt(b, s.Mono.Milliseconds(), 10)
}

// appendObject appends the stamp and then v's own fields.
func appendObject(b []byte, s Stamp, v any) []byte {
	b = appendStamp(b, s)
	j, err := json.Marshal(v)
	if err != nil { // only NaN or Inf can do this; the record must still be one JSON object
		return append(appendString(b, `,"encoding_error":`, err.Error()), '}')
	}
	if string(j) == "{}" {
		return append(b, '}')
	}
	b = append(b, ',')
	return append(b, j[1:]...)
}

// notNil keeps null out of the JSON: an empty map says that there were none.
func notNil(m map[string]int) map[string]int {
	if m == nil {
		return map[string]int{}
	}
	return m
}

func appendAny(b []byte, v any) []byte {
	j, _ := json.Marshal(v) // strings only: cannot fail
	return append(b, j...)
}

func appendString(b []byte, key, s string) []byte {
	return append(append(b, key...), quote(s)...)
}

func quote(s string) []byte {
	j, _ := json.Marshal(s) // a string cannot fail
	return j
}

// appendNumber writes v with at most so many decimals; NaN and infinities, which JSON has no words for, become null.
func appendNumber(b []byte, v float64, decimals int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, round(v, decimals), 'f', -1, 64)
}

func round(v float64, decimals int) float64 {
	p := math.Pow10(decimals)
	return math.Round(v*p) / p
}

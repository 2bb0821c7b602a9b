package fleet

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"time"

	"heron/sync/message"
)

// Line is one record as heron fleet export writes it: a line of JSON. A record that came twice is there twice.
type Line struct {
	Group  string          `json:"group"`
	Device string          `json:"device"`
	Stream string          `json:"stream"`
	Late   bool            `json:"late,omitempty"` // came on h/
	Epoch  string          `json:"epoch"`
	Boot   string          `json:"boot"`
	Agent  string          `json:"agent"`
	Record json.RawMessage `json:"rec"`
}

// Lines takes a telemetry message apart. It is nil for a message that is none.
func (c Config) Lines(m Message) ([]Line, error) {
	group, device, below, ok := c.split(m.Topic)
	way, stream, _ := strings.Cut(below, "/")
	if !ok || (way != "t" && way != "h") {
		return nil, nil
	}
	b, err := Decode(m.Payload)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Topic, err)
	}
	out := make([]Line, 0, len(b.Data.Records))
	for _, r := range b.Data.Records {
		out = append(out, Line{group, device, stream, way == "h", b.Data.Epoch, b.Data.Boot, b.Data.Agent, r})
	}
	return out, nil
}

// TelemetrySubs are the topics of the streams (nil: all) of a group ("": all), live and late.
func (c Config) TelemetrySubs(group string, streams []string) []Sub {
	if len(streams) == 0 {
		streams = []string{"+"}
	}
	var subs []Sub
	for _, s := range streams {
		subs = append(subs, Sub{c.filter(group, "", "t/"+s), 1}, Sub{c.filter(group, "", "h/"+s), 1})
	}
	return subs
}

// ReadLines calls take for each line of an export.
func ReadLines(r io.Reader, take func(Line) error) error {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		if len(strings.TrimSpace(in.Text())) == 0 {
			continue
		}
		var l Line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return fmt.Errorf("line %d: %w; is this the output of heron fleet export?", n, err)
		}
		if l.Device == "" || l.Epoch == "" {
			return fmt.Errorf("line %d: names no device or no epoch; is this the output of heron fleet export?", n)
		}
		if err := take(l); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return in.Err()
}

// Books count what came by (device, epoch, seq), independently of what the devices say about themselves. Not for concurrent use.
type Books struct {
	seed     maphash.Seed
	accounts map[account]*ledger
}

type account struct{ group, device, epoch string }

type ledger struct {
	came, owned runs
	prints      map[uint64]uint64 // of the newest records, by seq
	row         Row
}

// Row is the account of one epoch of one device.
type Row struct {
	Group      string `json:"group"`
	Device     string `json:"device"`
	Epoch      string `json:"epoch"`
	First      uint64 `json:"first"`
	Last       uint64 `json:"last"`
	Records    uint64 `json:"records"` // distinct
	Late       uint64 `json:"late"`
	Duplicates uint64 `json:"duplicates"`       // came again, byte for byte
	Changed    uint64 `json:"changed"`          // came again and differed: never right
	Missing    uint64 `json:"missing"`          // between first and last, did not come, and no gap record names them
	Owned      uint64 `json:"gaps"`             // did not come, and a gap record names them
	LostAtMost uint64 `json:"lost_at_most"`     // as the gap records say
	Holes      []Hole `json:"holes,omitempty"`  // the first few of Missing
	Unread     uint64 `json:"unread,omitempty"` // records without a sequence number
}

// Hole is a run of numbers, both ends included.
type Hole struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Good says whether everything between first and last is accounted for.
func (r Row) Good() bool { return r.Missing == 0 && r.Changed == 0 && r.Unread == 0 }

const keptPrints = 20_000 // per account: what comes again comes soon

// NewBooks are empty.
func NewBooks() *Books { return &Books{maphash.MakeSeed(), map[account]*ledger{}} }

// Take books one record.
func (b *Books) Take(l Line) {
	key := account{l.Group, l.Device, l.Epoch}
	a := b.accounts[key]
	if a == nil {
		a = &ledger{prints: map[uint64]uint64{}, row: Row{Group: l.Group, Device: l.Device, Epoch: l.Epoch}}
		b.accounts[key] = a
	}
	var r struct {
		Seq uint64       `json:"seq"`
		Gap *message.Gap `json:"gap"`
	}
	if json.Unmarshal(l.Record, &r) != nil || r.Seq == 0 {
		a.row.Unread++
		return
	}
	print := maphash.Bytes(b.seed, l.Record)
	if !a.came.add(r.Seq, r.Seq) {
		if old, known := a.prints[r.Seq]; known && old != print {
			a.row.Changed++
		} else {
			a.row.Duplicates++
		}
		return
	}
	if len(a.prints) >= keptPrints {
		clear(a.prints)
	}
	a.prints[r.Seq] = print
	a.row.Records++
	if l.Late {
		a.row.Late++
	}
	if r.Gap != nil {
		a.row.LostAtMost += r.Gap.LostAtMost
		if r.Gap.From > 0 && r.Gap.To >= r.Gap.From {
			a.owned.add(r.Gap.From, r.Gap.To)
		}
	}
}

// Rows are the accounts, sorted.
func (b *Books) Rows() []Row {
	var out []Row
	for _, a := range b.accounts {
		r := a.row
		if n := len(a.came.list); n > 0 {
			r.First, r.Last = a.came.list[0].From, a.came.list[n-1].To
		}
		r.Missing, r.Owned, r.Holes = a.came.missing(&a.owned)
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y Row) int {
		return cmp.Or(cmp.Compare(x.Group, y.Group), cmp.Compare(x.Device, y.Device), cmp.Compare(x.Epoch, y.Epoch))
	})
	return out
}

// runs is a set of numbers from 1 as sorted runs that do not touch: a stream without holes costs one.
type runs struct{ list []Hole }

// add puts from…to in and says whether any was new. It never adds to a number, for there is a highest one.
func (s *runs) add(from, to uint64) bool {
	i, _ := slices.BinarySearchFunc(s.list, from, func(h Hole, f uint64) int {
		if h.To < f-1 {
			return -1
		}
		return 1
	})
	j := i
	for j < len(s.list) && s.list[j].From-1 <= to {
		if s.list[j].From <= from && to <= s.list[j].To {
			return false
		}
		from, to = min(from, s.list[j].From), max(to, s.list[j].To)
		j++
	}
	s.list = slices.Replace(s.list, i, j, Hole{from, to})
	return true
}

// missing are the numbers between first and last that are not in s: those that owned has not, those that it has, and the first few holes.
func (s *runs) missing(owned *runs) (missing, named uint64, holes []Hole) {
	const most = 5
	for i := 1; i < len(s.list); i++ {
		at, end := s.list[i-1].To+1, s.list[i].From-1
		for _, o := range owned.list {
			lo, hi := max(at, o.From), min(end, o.To)
			if lo > hi {
				continue
			}
			if lo > at {
				missing += lo - at
				holes = append(holes, Hole{at, lo - 1})
			}
			named += hi - lo + 1
			at = hi + 1
		}
		if at <= end {
			missing += end - at + 1
			holes = append(holes, Hole{at, end})
		}
	}
	return missing, named, holes[:min(len(holes), most)]
}

// Text is one record in one line for people.
func (l Line) Text() string {
	var r struct {
		T time.Time `json:"t"`
	}
	_ = json.Unmarshal(l.Record, &r) // the zero time says it
	late := ""
	if l.Late {
		late = " (late)"
	}
	return Clean(fmt.Sprintf("%s %s/%s %-6s %s%s", r.T.UTC().Format(message.TimeFormat), l.Group, l.Device, l.Stream, l.summary(), late))
}

// summary tells what matters of the streams that people watch, and the rest as it is.
func (l Line) summary() string {
	var r struct {
		message.AlarmRecord
		Label  string          `json:"label"`
		State  string          `json:"state"`
		Score  float64         `json:"score"`
		Model  string          `json:"model"`
		Who    string          `json:"who"`
		What   string          `json:"what"`
		Target string          `json:"target"`
		Result string          `json:"result"`
		Detail string          `json:"detail"`
		Gap    *message.Gap    `json:"gap"`
		Top    []message.Score `json:"top"`
	}
	err := json.Unmarshal(l.Record, &r)
	switch s := message.Stream(l.Stream); {
	case err != nil:
	case s == message.Alarm && r.Cleared:
		return fmt.Sprintf("cleared: %s (%s)", r.Text, r.Code)
	case s == message.Alarm:
		return strings.TrimSuffix(fmt.Sprintf("%s: %s (%s); %s", r.Severity, r.Text, r.Code, r.NextStep), "; ")
	case s == message.Event:
		return fmt.Sprintf("%s %s %s %.2f %s", r.Camera, r.State, r.Label, r.Score, r.Model)
	case s == message.Audit && r.Gap != nil && r.Gap.Unknown:
		return fmt.Sprintf("gap %d…%d: %s, how many were lost cannot be told", r.Gap.From, r.Gap.To, r.Gap.Reason)
	case s == message.Audit && r.Gap != nil:
		return fmt.Sprintf("gap %d…%d: %s, lost at most %d", r.Gap.From, r.Gap.To, r.Gap.Reason, r.Gap.LostAtMost)
	case s == message.Audit:
		return strings.Join(strings.Fields(fmt.Sprintf("%s: %s %s %s %s", r.Who, r.What, r.Target, r.Result, r.Detail)), " ")
	case s == message.Result && len(r.Top) > 0:
		return fmt.Sprintf("%s %s %.2f %s", r.Camera, r.Top[0].Label, r.Top[0].Score, r.Model)
	}
	return string(l.Record)
}

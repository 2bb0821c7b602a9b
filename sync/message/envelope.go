package message

import (
	"encoding/json"
	"strconv"
	"time"
)

// Sealer builds the CloudEvents envelope of one group: Begin, Add for each record, End. Its buffer is reused from group to group.
type Sealer struct{ buf []byte }

// Begin starts a group of stream whose first record has sequence number first.
func (s *Sealer) Begin(h Header, stream Stream, first uint64, now time.Time) {
	b := append(s.buf[:0], `{"specversion":"1.0","id":`...)
	b = append(b, quote(h.Device+":"+h.Epoch+":"+strconv.FormatUint(first, 10))...)
	b = append(b, `,"source":`...)
	b = append(b, quote("/heron/"+h.Group+"/"+h.Device)...)
	b = append(b, `,"type":"heron.`...)
	b = append(b, stream...)
	b = append(b, `.v1","time":"`...)
	b = now.UTC().AppendFormat(b, TimeFormat)
	b = append(b, `","data":{"epoch":`...)
	b = append(b, quote(h.Epoch)...)
	b = append(b, `,"boot":`...)
	b = append(b, quote(h.Boot)...)
	b = append(b, `,"clk":`...)
	clk, _ := json.Marshal(h.Clock) // a bool and an int cannot fail
	b = append(b, clk...)
	b = append(b, `,"agent":`...)
	b = append(b, quote(h.Agent)...)
	b = append(b, `,"config_rev":`...)
	b = strconv.AppendInt(b, int64(h.ConfigRev), 10)
	s.buf = append(b, `,"recs":[`...)
}

// Add appends one record: body is a JSON object without "seq", as Record.AppendJSON makes it.
func (s *Sealer) Add(seq uint64, body []byte) {
	b := s.buf
	if b[len(b)-1] != '[' {
		b = append(b, ',')
	}
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	if len(body) > 2 {
		b = append(b, ',')
	}
	s.buf = append(b, body[1:]...)
}

// End closes the envelope. The result is valid until the next Begin.
func (s *Sealer) End() []byte {
	s.buf = append(s.buf, `]}}`...)
	return s.buf
}

// Batch is a decoded envelope, for readers: export, verify, tests.
type Batch struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Time        time.Time `json:"time"`
	Data        struct {
		Epoch     string            `json:"epoch"`
		Boot      string            `json:"boot"`
		Clock     json.RawMessage   `json:"clk"`
		Agent     string            `json:"agent"`
		ConfigRev int               `json:"config_rev"`
		Records   []json.RawMessage `json:"recs"`
	} `json:"data"`
}

// Seq reads a record's sequence number.
func Seq(record []byte) (uint64, error) {
	var r struct {
		Seq uint64 `json:"seq"`
	}
	err := json.Unmarshal(record, &r)
	return r.Seq, err
}

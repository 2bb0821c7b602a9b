package message

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"
)

// What a device writes, it and every JSON reader can read again, whatever names and numbers come in.
func FuzzSealedGroupIsRead(f *testing.F) {
	f.Add("front", "scratched", "bottles@1#9f", 3.14, 0.9, uint64(7), int64(1e15))
	f.Add("\xff\"\\\u2028", "</script>", "", math.Inf(1), math.NaN(), uint64(math.MaxUint64), int64(-62135596800000))
	f.Fuzz(func(t *testing.T, cam, label, model string, lat, score float64, seq uint64, ms int64) {
		when := time.UnixMilli(ms % 253402300799999)
		at := Stamp{T: when, Mono: time.Duration(ms)}
		var s Sealer
		s.Begin(Header{Group: cam, Device: label, Epoch: model, Boot: cam, Agent: label}, Result, seq, when)
		s.Add(seq, ResultRecord{Stamp: at, Camera: cam, Frame: seq, Model: model, Engine: label, LatMS: lat, AgeMS: score, Top: []Score{{label, score}}, Facts: []string{cam}, Name: model, Error: label}.AppendJSON(nil))
		s.Add(seq, EventRecord{Stamp: at, Camera: cam, Label: label, Score: score}.AppendJSON(nil))
		s.Add(seq, RollupRecord{Stamp: at, From: when, To: when, Lat: Latency{Max: lat}, Labels: map[string]int{label: 1}}.AppendJSON(nil))
		out := s.End()
		if !utf8.Valid(out) {
			t.Fatalf("not UTF-8: %q", out)
		}
		var b Batch
		if err := json.Unmarshal(out, &b); err != nil {
			if when.Year() < 0 || when.Year() > 9999 { // no RFC 3339 for it; no clock shows it
				t.Skip()
			}
			t.Fatalf("%v in %q", err, out)
		}
		if len(b.Data.Records) != 3 {
			t.Fatalf("%d records in %q", len(b.Data.Records), out)
		}
		for _, r := range b.Data.Records {
			if n, err := Seq(r); n != seq || err != nil {
				t.Fatalf("sequence number %d, %v in %q", n, err, r)
			}
		}
	})
}

// Foreign bytes make an error or a batch, never a panic; and a batch can be written and read again.
func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"data":{"recs":[null,1,"x",{"seq":-1},{"seq":1e400},{"seq":"1"}]}}`))
	f.Add([]byte(`["label",0.5]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var score Score
		if err := json.Unmarshal(in, &score); err == nil {
			if _, err := json.Marshal(score); err != nil {
				t.Fatalf("%v of %q", err, in)
			}
		}
		var state State
		_ = json.Unmarshal(in, &state)
		var info Info
		_ = json.Unmarshal(in, &info)
		var b, again Batch
		if json.Unmarshal(in, &b) != nil {
			return
		}
		for _, r := range b.Data.Records {
			_, _ = Seq(r)
		}
		out, err := json.Marshal(b)
		if err != nil {
			t.Skip() // a time that RFC 3339 cannot say
		}
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("%v in %q", err, out)
		}
	})
}

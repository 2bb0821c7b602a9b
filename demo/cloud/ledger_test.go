package cloud

import (
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"heron/sync/message"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func result(label string) message.Record {
	return message.ResultRecord{Stamp: message.Stamp{T: noon}, Camera: "line", Model: "m", Engine: "onnx", Top: []message.Score{{Label: label, Score: .9}}}
}

// group seals records as the outbox does.
func group(stream message.Stream, epoch string, first uint64, records ...message.Record) []byte {
	var s message.Sealer
	s.Begin(message.Header{Group: "demo", Device: "d", Epoch: epoch}, stream, first, noon)
	for i, r := range records {
		s.Add(first+uint64(i), r.AppendJSON(nil))
	}
	return append([]byte(nil), s.End()...)
}

func ledger(t *testing.T) (*Ledger, *[]Result) {
	t.Helper()
	var got []Result
	l, err := NewLedger(func(r Result) { got = append(got, r) })
	if err != nil {
		t.Fatal(err)
	}
	return l, &got
}

const live, late = "heron/v1/demo/d/t/result", "heron/v1/demo/d/h/result"

func TestLedgerBooksLiveAndLate(t *testing.T) {
	l, got := ledger(t)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Take(live, group(message.Result, "e1", 1, result("ok"), result("empty")))
	l.Take(late, enc.EncodeAll(group(message.Result, "e1", 3, result("scratched")), nil))
	l.Take("heron/v1/demo/d/t/rollup", group(message.Rollup, "e1", 4, message.GapRecord{}))
	l.Take("heron/v1/demo/d/state", []byte(`{"v":1,"status":"online"}`))
	l.Take("heron/v1/demo/d/info", []byte(`{}`))
	want := Totals{Messages: 5, Records: 4, Live: 2, Late: 1, Epochs: 1, Device: "online"}
	if tot := l.Totals(); tot != want {
		t.Errorf("totals %+v, want %+v", tot, want)
	}
	if len(*got) != 3 || (*got)[2].Top[0].Label != "scratched" || !(*got)[2].Late || !(*got)[0].At.Equal(noon) {
		t.Errorf("results %+v", *got)
	}
}

func TestLedgerTellsDuplicatesFromChanges(t *testing.T) {
	l, got := ledger(t)
	l.Take(live, group(message.Result, "e1", 1, result("ok"), result("ok")))
	l.Take(late, group(message.Result, "e1", 1, result("ok"), result("ok")))
	l.Take(late, group(message.Result, "e1", 2, result("empty")))
	l.Take(live, group(message.Result, "e2", 1, result("ok"))) // another epoch: another record
	tot := l.Totals()
	if tot.Duplicates != 2 || tot.Changed != 1 || tot.Records != 3 || tot.Epochs != 2 || len(*got) != 3 {
		t.Errorf("totals %+v, %d results", tot, len(*got))
	}
}

func TestLedgerFindsHoles(t *testing.T) {
	l, _ := ledger(t)
	l.Take(live, group(message.Result, "e1", 1, result("ok")))
	l.Take(live, group(message.Result, "e1", 11, result("ok")))
	if tot := l.Totals(); tot.Holes != 9 {
		t.Fatalf("%d holes, want 9", tot.Holes)
	}
	gap := message.GapRecord{Gap: message.Gap{From: 2, To: 7, Reason: "restart", LostAtMost: 3}}
	l.Take("heron/v1/demo/d/t/audit", group(message.Audit, "e1", 12, gap))
	if tot := l.Totals(); tot.Holes != 3 || tot.Owned != 6 || tot.LostAtMost != 3 {
		t.Errorf("with a gap record: %+v", tot)
	}
	l.Take(late, group(message.Result, "e1", 8, result("ok"), result("ok"), result("ok")))
	if tot := l.Totals(); tot.Holes != 0 {
		t.Errorf("after the rest came late: %d holes", tot.Holes)
	}
}

func TestLedgerCountsWhatItCannotRead(t *testing.T) {
	l, _ := ledger(t)
	bad := [][]byte{[]byte("?"), {0x28, 0xb5, 0x2f, 0xfd, 9}, []byte(`{"data":{"epoch":"e","recs":[7]}}`), nil}
	for _, b := range bad {
		l.Take(live, b)
	}
	l.Take("heron/v1/demo/d/state", []byte("?"))
	if tot := l.Totals(); tot.Unreadable != uint64(len(bad)+1) || tot.LastError == "" || tot.Records != 0 {
		t.Errorf("totals %+v", tot)
	}
}

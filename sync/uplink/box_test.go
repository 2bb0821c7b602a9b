package uplink

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"heron/sync/message"
	"heron/sync/outbox"
)

// box is an outbox in memory. It holds the truth that the tests compare with: every record, byte for byte.
type box struct {
	mu      sync.Mutex
	change  chan struct{} // closed and made anew at each change
	up      bool
	links   int // times Link(true)
	waiting []outbox.Group
	leased  map[uint64]outbox.Group
	acked   map[uint64]int
	refused map[uint64]string
	records map[uint64][]byte // by sequence number
	seq     uint64
	session uint64
	sealer  message.Sealer
	encoder *zstd.Encoder
	fail    error // what Session says
}

func newBox(t testing.TB) *box {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	return &box{change: make(chan struct{}), leased: map[uint64]outbox.Group{}, acked: map[uint64]int{}, refused: map[uint64]string{}, records: map[uint64][]byte{}, seq: 1, encoder: e}
}

func (b *box) changed() {
	close(b.change)
	b.change = make(chan struct{})
}

// result is one record of about 190 bytes.
func result(i uint64) message.Record {
	at := message.Stamp{T: time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC).Add(time.Duration(i) * 100 * time.Millisecond), Mono: time.Duration(i) * 100 * time.Millisecond}
	return message.ResultRecord{Stamp: at, Camera: "front", Frame: i, Model: "bottles@1.4.2#9f86d0", Engine: "onnx", LatMS: 3 + float64(i%17)/10, AgeMS: 12,
		Top: []message.Score{{Label: "scratched", Score: 0.5 + float64(i%499)/1000}, {Label: "ok", Score: float64(i%50) / 1000}}}
}

// add seals count records as one group.
func (b *box) add(stream message.Stream, count int, live bool) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := b.seq
	b.sealer.Begin(message.Header{Group: "acme", Device: "dev-1", Epoch: "9c21", Boot: "3f9ac1", Agent: "1.0.0"}, stream, id, time.Now())
	for range count {
		body := result(b.seq).AppendJSON(nil)
		b.sealer.Add(b.seq, body)
		b.records[b.seq] = fmt.Appendf(nil, `{"seq":%d,%s`, b.seq, body[1:])
		b.seq++
	}
	env := b.sealer.End()
	b.waiting = append(b.waiting, outbox.Group{ID: id, Epoch: "9c21", Stream: stream, Count: count, Body: b.encoder.EncodeAll(env, nil), Size: len(env), Sealed: time.Now(), Live: live})
	b.changed()
	return id
}

func (b *box) Session(context.Context) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return 0, b.fail
	}
	b.session++
	return b.session, nil
}

func (b *box) Link(up bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.up = up
	if up {
		b.links++
	} else {
		for _, g := range b.leased {
			g.Live = false
			b.waiting = append(b.waiting, g)
		}
		clear(b.leased)
		slices.SortFunc(b.waiting, func(x, y outbox.Group) int { return int(x.ID) - int(y.ID) })
	}
	b.changed()
}

func (b *box) Next(ctx context.Context, live bool) (outbox.Group, error) {
	for {
		b.mu.Lock()
		for i, g := range b.waiting {
			if b.up && g.Live == live {
				b.waiting = slices.Delete(b.waiting, i, i+1)
				b.leased[g.ID] = g
				b.mu.Unlock()
				return g, nil
			}
		}
		change := b.change
		b.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return outbox.Group{}, ctx.Err()
		}
	}
}

func (b *box) Ack(ids ...uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		b.acked[id]++
		delete(b.leased, id)
		b.waiting = slices.DeleteFunc(b.waiting, func(g outbox.Group) bool { return g.ID == id })
	}
	b.changed()
}

func (b *box) Refuse(id uint64, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused[id] = reason
	delete(b.leased, id)
	b.changed()
}

// left is how many groups wait or are leased.
func (b *box) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting) + len(b.leased)
}

func (b *box) ackedGroups() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.acked)
}

// ledger collects what a subscriber got.
type ledger struct {
	t       testing.TB
	mu      sync.Mutex
	records map[uint64][]byte
	topics  map[string]int // messages
	dup     int
	states  []message.State
	info    []message.Info
	zipped  int // messages that came compressed
	decoder *zstd.Decoder
	ignore  string // topics that hold this are not filed; set before anything is published
}

func newLedger(t testing.TB) *ledger {
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return &ledger{t: t, records: map[uint64][]byte{}, topics: map[string]int{}, decoder: d}
}

// take files one message; two records with one number must be the same, byte for byte.
func (l *ledger) take(topic string, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[topic]++
	if l.ignore != "" && strings.Contains(topic, l.ignore) {
		return
	}
	switch topic {
	case "heron/v1/acme/dev-1/state":
		var s message.State
		if err := json.Unmarshal(payload, &s); err != nil {
			l.t.Errorf("state %q: %v", payload, err)
		}
		if n := len(l.states); n > 0 && l.states[n-1] == s { // a duplicate: QoS 1 allows it
			return
		}
		l.states = append(l.states, s)
		return
	case "heron/v1/acme/dev-1/info":
		var i message.Info
		if err := json.Unmarshal(payload, &i); err != nil {
			l.t.Errorf("info %q: %v", payload, err)
		}
		l.info = append(l.info, i)
		return
	}
	if bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		l.zipped++
		plain, err := l.decoder.DecodeAll(payload, nil)
		if err != nil {
			l.t.Errorf("%s: %v", topic, err)
			return
		}
		payload = plain
	}
	var e message.Batch
	if err := json.Unmarshal(payload, &e); err != nil {
		l.t.Errorf("%s: %v in %.200q", topic, err, payload)
		return
	}
	for _, r := range e.Data.Records {
		seq, err := message.Seq(r)
		if err != nil {
			l.t.Errorf("%s: record %q: %v", topic, r, err)
		}
		if old, ok := l.records[seq]; ok {
			l.dup++
			if !bytes.Equal(old, r) {
				l.t.Errorf("record %d came twice and differs:\n%s\n%s", seq, old, r)
			}
		}
		l.records[seq] = bytes.Clone(r)
	}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.records)
}

func (l *ledger) stateList() []message.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.states)
}

// complete compares with the box: every record, byte for byte. It waits: the broker acknowledges before the subscriber has it.
func (l *ledger) complete(b *box) {
	l.t.Helper()
	eventually(l.t, "all records at the subscriber", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return l.count() >= len(b.records)
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for seq, want := range b.records {
		if got := l.records[seq]; !bytes.Equal(got, want) {
			l.t.Fatalf("record %d:\ngot  %s\nwant %s", seq, got, want)
		}
	}
	if len(l.records) != len(b.records) {
		l.t.Fatalf("%d records arrived, %d were put", len(l.records), len(b.records))
	}
}

// eventually polls: tests run on slow machines.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

package cloud

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"heron/sync/message"
)

// Result is a classified frame as the cloud read it.
type Result struct {
	At    time.Time // capture, as the device knew it
	Late  bool      // came on h/
	Top   []message.Score
	Facts []string
}

// Totals is a copy of the ledger's counters.
type Totals struct {
	Messages   uint64
	Records    uint64 // distinct, all streams
	Live       uint64 // distinct results that came on t/
	Late       uint64 // distinct results that came on h/
	Duplicates uint64 // records that came again, byte for byte
	Changed    uint64 // records that came again and differed: never right
	Holes      uint64 // sequence numbers between the first and the last of their epoch that neither came nor are owned up to
	Owned      uint64 // sequence numbers that never came and that a gap record names
	LostAtMost uint64 // as the gap records say
	Unreadable uint64 // messages or records that could not be read
	LastError  string
	Epochs     int
	Device     string // status of the last state document: online, offline
}

// Ledger books every record that arrives by its identity, (epoch, seq). Its methods may be called from any goroutine.
type Ledger struct {
	onResult func(Result) // called once per distinct result, under the ledger's lock
	zstd     *zstd.Decoder
	seed     maphash.Seed

	mu     sync.Mutex
	totals Totals
	epochs map[string]*epoch
	prints map[identity]uint64 // fingerprints of the newest records, to compare those that come again
}

type identity struct {
	epoch string
	seq   uint64
}

type epoch struct{ came, owned spans }

const (
	keptPrints  = 200_000
	maxEnvelope = 4 << 20
)

// NewLedger makes an empty ledger; onResult sees each distinct result once and must not call back.
func NewLedger(onResult func(Result)) (*Ledger, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxEnvelope))
	if err != nil {
		return nil, fmt.Errorf("demo ledger: %w", err)
	}
	return &Ledger{onResult: onResult, zstd: dec, seed: maphash.MakeSeed(), epochs: map[string]*epoch{}, prints: map[identity]uint64{}}, nil
}

// Take books one message.
func (l *Ledger) Take(topic string, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.Messages++
	if err := l.take(topic, payload); err != nil {
		l.totals.Unreadable++
		l.totals.LastError = fmt.Sprintf("%s: %v", topic, err)
	}
}

func (l *Ledger) take(topic string, payload []byte) error {
	level := strings.Split(topic, "/")
	switch {
	case len(level) == 6 && (level[4] == "t" || level[4] == "h"):
		return l.takeBatch(message.Stream(level[5]), level[4] == "h", payload)
	case len(level) == 5 && level[4] == "state":
		var s message.State
		if err := json.Unmarshal(payload, &s); err != nil {
			return err
		}
		l.totals.Device = s.Status
	}
	return nil
}

func (l *Ledger) takeBatch(stream message.Stream, late bool, payload []byte) error {
	if bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		plain, err := l.zstd.DecodeAll(payload, nil)
		if err != nil {
			return err
		}
		payload = plain
	}
	var b message.Batch
	if err := json.Unmarshal(payload, &b); err != nil {
		return err
	}
	for _, raw := range b.Data.Records {
		if err := l.takeRecord(b.Data.Epoch, stream, late, raw); err != nil {
			return err
		}
	}
	return nil
}

// record is what the ledger reads of any record.
type record struct {
	Seq   uint64          `json:"seq"`
	T     time.Time       `json:"t"`
	Top   []message.Score `json:"top"`
	Facts []string        `json:"q"`
	Gap   *message.Gap    `json:"gap"`
}

func (l *Ledger) takeRecord(name string, stream message.Stream, late bool, raw []byte) error {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	e := l.epochs[name]
	if e == nil {
		e = &epoch{}
		l.epochs[name] = e
	}
	if !l.first(e, identity{name, r.Seq}, raw) {
		return nil
	}
	l.totals.Records++
	if r.Gap != nil {
		l.totals.LostAtMost += r.Gap.LostAtMost
		if r.Gap.From > 0 && r.Gap.To >= r.Gap.From {
			e.owned.add(r.Gap.From, r.Gap.To)
		}
	}
	if stream != message.Result {
		return nil
	}
	if late {
		l.totals.Late++
	} else {
		l.totals.Live++
	}
	l.onResult(Result{At: r.T, Late: late, Top: r.Top, Facts: r.Facts})
	return nil
}

// first books a record and says whether it is new; one that came before is compared with its first copy.
func (l *Ledger) first(e *epoch, id identity, raw []byte) bool {
	print := maphash.Bytes(l.seed, raw)
	if !e.came.add(id.seq, id.seq) {
		if old, known := l.prints[id]; known && old != print {
			l.totals.Changed++
		} else {
			l.totals.Duplicates++
		}
		return false
	}
	if len(l.prints) >= keptPrints {
		clear(l.prints) // what comes again comes soon
	}
	l.prints[id] = print
	return true
}

// Totals counts up what has arrived so far.
func (l *Ledger) Totals() Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.totals
	t.Epochs = len(l.epochs)
	for _, e := range l.epochs {
		holes, owned := e.came.missing(&e.owned)
		t.Holes += holes
		t.Owned += owned
	}
	return t
}

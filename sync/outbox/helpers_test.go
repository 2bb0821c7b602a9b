package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"heron/sync/message"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == SalvageArg {
		os.Exit(SalvageMain(os.Args[2:]))
	}
	if os.Getenv(childEnv) != "" {
		os.Exit(childMain(os.Getenv(childEnv)))
	}
	os.Exit(m.Run())
}

const patience = 30 * time.Second

// result is a record of about 190 bytes with a number by which a test knows it again.
func result(n int) message.ResultRecord {
	return message.ResultRecord{Stamp: message.Stamp{T: time.Unix(1_790_000_000, 0).Add(time.Duration(n) * 100 * time.Millisecond), Mono: time.Duration(n) * 100 * time.Millisecond},
		Camera: "front", Frame: uint64(n), Model: "bottles@1.4.2#9f86d0", Engine: "onnx", LatMS: 3 + float64(n%37)/10, AgeMS: float64(9 + n%13),
		Top: []message.Score{{Label: "ok", Score: 0.9 + float64(n*7919%97)/1000}, {Label: "scratched", Score: 0.01 + float64(n*104729%89)/1000}}}
}

func alarm(n int) message.AlarmRecord {
	r := result(n)
	return message.AlarmRecord{Stamp: r.Stamp, Code: fmt.Sprint("alarm-", n), Severity: "warning", Text: "something needs a person", Since: r.T}
}

// box is an outbox that runs until stop.
type box struct {
	*Outbox
	t    testing.TB
	end  context.CancelFunc
	ran  chan error
	once sync.Once
	err  error
}

func config(dir string) Config {
	return Config{Path: filepath.Join(dir, "outbox.db"), LossRate: 10,
		Header: func() message.Header {
			return message.Header{Group: "acme", Device: "dev-1", Boot: "3f9ac1", Agent: "test"}
		}}
}

func start(t testing.TB, cfg Config) *box {
	t.Helper()
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, o)
}

// run runs an outbox until the test ends.
func run(t testing.TB, o *Outbox) *box {
	ctx, end := context.WithCancel(context.Background())
	b := &box{Outbox: o, t: t, end: end, ran: make(chan error, 1)}
	go func() { b.ran <- o.Run(ctx) }()
	t.Cleanup(func() { b.stop() })
	return b
}

func (b *box) stop() error {
	b.once.Do(func() {
		b.end()
		b.err = <-b.ran
	})
	return b.err
}

func limit(t testing.TB) context.Context {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	t.Cleanup(stop)
	return ctx
}

func (b *box) flush() {
	b.t.Helper()
	if err := b.Flush(limit(b.t)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) next(live bool) Group {
	b.t.Helper()
	g, err := b.Next(limit(b.t), live)
	if err != nil {
		b.t.Fatalf("next (live %v): %v; %+v", live, err, b.Stats())
	}
	return g
}

// until polls a condition on the counters.
func (b *box) until(what string, ok func(Stats) bool) Stats {
	b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s := b.Stats(); ok(s) {
			return s
		}
	}
	b.t.Fatalf("%s: never; %+v", what, b.Stats())
	return Stats{}
}

// rec is a record as a reader sees it.
type rec struct {
	epoch  string
	seq    uint64
	stream message.Stream
	frame  int // of a result; −1 else
	code   string
	gap    *message.Gap
	raw    string
}

// open decodes a group and checks what the contract says of it.
func open(t testing.TB, g Group) []rec {
	t.Helper()
	dec, err := newDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	b, err := openGroup(dec, g.Body)
	if err != nil {
		t.Error(err)
		return nil
	}
	if b.Data.Epoch != g.Epoch || len(b.Data.Records) != g.Count || b.Type != "heron."+string(g.Stream)+".v1" {
		t.Errorf("group %d (%s, %d of %s) holds %d records of %s, %s", g.ID, g.Epoch, g.Count, g.Stream, len(b.Data.Records), b.Data.Epoch, b.Type)
	}
	var out []rec
	for i, raw := range b.Data.Records {
		var x struct {
			Seq   uint64
			Frame *int
			Code  string
			Gap   *message.Gap
		}
		if err := json.Unmarshal(raw, &x); err != nil {
			t.Error(err)
		}
		r := rec{epoch: g.Epoch, seq: x.Seq, stream: g.Stream, frame: -1, code: x.Code, gap: x.Gap, raw: string(raw)}
		if x.Frame != nil {
			r.frame = *x.Frame
		}
		if i > 0 && r.seq != out[i-1].seq+1 {
			t.Errorf("group %d: number %d after %d", g.ID, r.seq, out[i-1].seq)
		}
		out = append(out, r)
	}
	return out
}

// drain takes all there is, live and backlog, until nothing waits, and acknowledges it.
func (b *box) drain() []rec {
	b.t.Helper()
	b.Link(true)
	ctx, stop := context.WithCancel(limit(b.t))
	defer stop()
	var mu sync.Mutex
	var out []rec
	var wg sync.WaitGroup
	for _, live := range []bool{true, false} {
		wg.Go(func() {
			for {
				g, err := b.Next(ctx, live)
				if err != nil {
					return
				}
				rs := open(b.t, g)
				mu.Lock()
				out = append(out, rs...)
				mu.Unlock()
				b.Ack(g.ID)
			}
		})
	}
	err := b.Drained(limit(b.t))
	stop()
	wg.Wait()
	if err != nil {
		b.t.Fatalf("%v; %+v", err, b.Stats())
	}
	return out
}

// ledger checks that every number of every epoch is there or named by a gap record, and returns the frames seen.
func ledger(t testing.TB, rs []rec) (frames map[int]int) {
	t.Helper()
	frames = map[int]int{}
	seqs := map[string]map[uint64]string{}
	named := map[string]map[uint64]bool{}
	for _, r := range rs {
		if seqs[r.epoch] == nil {
			seqs[r.epoch], named[r.epoch] = map[uint64]string{}, map[uint64]bool{}
		}
		if was, twice := seqs[r.epoch][r.seq]; twice && was != r.raw {
			t.Fatalf("%s/%d came twice and differs:\n%s\n%s", r.epoch, r.seq, was, r.raw)
		} else if !twice && r.frame >= 0 {
			frames[r.frame]++
		}
		seqs[r.epoch][r.seq] = r.raw
		if r.gap != nil {
			for n := r.gap.From; r.gap.From > 0 && n <= r.gap.To; n++ {
				named[r.epoch][n] = true
			}
		}
	}
	for e, s := range seqs {
		low, high := uint64(1<<63), uint64(0)
		for n := range s {
			low, high = min(low, n), max(high, n)
		}
		for n := low; n <= high; n++ {
			if _, ok := s[n]; !ok && !named[e][n] {
				t.Errorf("epoch %s: number %d is missing, and no gap record names it", e, n)
			}
		}
	}
	return frames
}

// usedValue is where in the file a part of a stream's group lies that is in use, the middle one of all by key.
func usedValue(t testing.TB, path, bucket string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPageReader(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	reached := map[string]bool{}
	fail := func(_ string, err error) error { return err }
	if err := p.walk(func(b string, k, v []byte) error {
		if b == bucket {
			reached[string(k)+string(v)] = true
		}
		return nil
	}, fail); err != nil {
		t.Fatal(err)
	}
	type place struct {
		key string
		at  int64
	}
	var found []place
	err = p.leaves(func(at int64, x element) error {
		n := at / p.size
		if used := p.seen[n/64]>>(n%64)&1 == 1; used && reached[string(x.key)+string(x.value)] {
			found = append(found, place{string(x.key), at})
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("no part of %s in use: %v", bucket, err)
	}
	slices.SortFunc(found, func(a, b place) int { return strings.Compare(a.key, b.key) })
	return found[len(found)/2].at // the first leaf is read by every change
}

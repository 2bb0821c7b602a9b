package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// written is a journal with something in every bucket, through many transactions.
func written(t testing.TB) (path string, whole []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), journalName)
	j := &journal{path: path}
	if _, _, err := j.open(); err != nil {
		t.Fatal(err)
	}
	for i := range 120 {
		d := fmt.Sprintf("%064x", i)
		ch := change{bucketSlots: {fmt.Sprintf("slot-%d", i%5): &record{V: 1, Active: &Bundle{Digest: d, Target: strings.Repeat("t", i)}}},
			bucketRefused: {d: Refused{Reason: strings.Repeat("r", 200), N: uint64(i)}}, bucketDevice: {keyHold: hold{For: time.Hour}}}
		if i%3 == 0 {
			ch[bucketRefused][fmt.Sprintf("%064x", i/2)] = nil
		}
		if err := j.put(ch); err != nil {
			t.Fatal(err)
		}
	}
	j.close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, b
}

func TestAJournalSaysWhatWasWritten(t *testing.T) {
	t.Parallel()
	path, _ := written(t)
	j := &journal{path: path}
	defer j.close()
	c, aside, err := j.open()
	if err != nil || aside != nil {
		t.Fatal(err, aside)
	}
	if len(c.slots) != 5 || c.slots["slot-4"].Active.Digest != fmt.Sprintf("%064x", 119) || c.hold.For != time.Hour || len(c.refused) < 60 {
		t.Errorf("%d slots, %d refused, %+v", len(c.slots), len(c.refused), c.hold)
	}
	other := &journal{path: path}
	began := time.Now()
	if _, _, err := other.open(); !errors.Is(err, ErrLocked) || time.Since(began) > 10*time.Second {
		t.Errorf("a second one: %v", err)
	}
}

// Whatever happens to the file, opening it ends: as it was, as some earlier state, or set aside. Then it can be written.
func TestDamagedJournalsAreReadOrSetAside(t *testing.T) {
	t.Parallel()
	path, whole := written(t)
	rng := rand.New(rand.NewPCG(1, 2))
	n := 1500
	if testing.Short() {
		n = 200
	}
	aside := 0
	for i := range n {
		b := append([]byte(nil), whole...)
		page := func() int { return rng.IntN(len(b)/4096) * 4096 }
		switch i % 6 {
		case 0:
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		case 1:
			clear(b[page():][:4096])
		case 2:
			copy(b[page():][:4096], b[page():][:4096])
		case 3:
			b = b[:rng.IntN(len(b))]
		case 4: // where pages say where others are
			at := page()
			b[at+rng.IntN(64)] = byte(rng.IntN(256))
		case 5:
			at := page()
			for k := range 512 {
				b[at+k] = byte(rng.IntN(256))
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		j := &journal{path: path}
		c, damaged, err := j.open()
		if err != nil || c == nil {
			t.Fatalf("case %d: %v", i, err)
		}
		if damaged != nil {
			aside++
		}
		for name, r := range c.slots {
			if r.Active != nil && !isDigest(r.Active.Digest) {
				t.Fatalf("case %d: %s: %+v", i, name, r)
			}
		}
		if err := j.put(change{bucketSlots: {"main": &record{V: 1}}}); err != nil {
			t.Fatalf("case %d: %v", i, err)
		}
		j.close()
	}
	if aside < n/8 {
		t.Errorf("only %d of %d were set aside", aside, n)
	}
	t.Logf("%d of %d set aside, none killed the process", aside, n)
}

// TestFault_S4: a power cut while the journal is made leaves one that can be opened.
func TestFault_S4_CutWhileTheJournalIsMade(t *testing.T) {
	_, whole := written(t)
	for _, b := range [][]byte{nil, make([]byte, 16384), whole[:4096], whole[:100]} {
		path := filepath.Join(t.TempDir(), journalName)
		if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
			t.Fatal(err)
		}
		j := &journal{path: path}
		if _, aside, err := j.open(); err != nil || aside != nil {
			t.Errorf("%v %v", err, aside)
		}
		j.close()
		if _, err := os.Stat(path + ".tmp"); err == nil {
			t.Error("left behind")
		}
	}
}

func TestAFailedWriteIsTriedOnAFreshFile(t *testing.T) {
	path, _ := written(t)
	j := &journal{path: path}
	defer j.close()
	if _, _, err := j.open(); err != nil {
		t.Fatal(err)
	}
	if err := j.put(change{"nothing": {"a": 1}}); !errors.Is(err, errDamaged) || j.db != nil {
		t.Errorf("%v", err)
	}
	if err := j.put(change{bucketDevice: {keyHold: hold{}}}); err != nil {
		t.Error(err)
	}
}

// FuzzRecord: a record is refused, or it is one that can be written and read again.
func FuzzRecord(f *testing.F) {
	f.Add(encode(&record{V: 1}))
	f.Add(encode(&record{V: 1, Active: &Bundle{Digest: strings.Repeat("a", 64)}, Probation: &probation{Starts: 2, Ref: &Sample{}}, Unsaid: []Entry{{What: "offer"}}}))
	f.Add(encode(&record{V: 1, Next: &next{Step: StepFetched, Offer: Offer{SHA256: strings.Repeat("b", 64), Custom: json.RawMessage(`{"a":1}`)}}}))
	f.Add(encode(&record{V: 2}))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range [][]byte{b, append(encode(json.RawMessage("null"))[:0:0], sealed(b)...)} {
			r, err := decodeRecord(v)
			if err != nil {
				if !errors.Is(err, errDamaged) {
					t.Fatal(err)
				}
				continue
			}
			again, err := decodeRecord(encode(r.clone()))
			if err != nil || string(encode(again)) != string(encode(r)) {
				t.Fatalf("%v", err)
			}
			if r.Active != nil && !isDigest(r.Active.Digest) {
				t.Fatal("a path of its own choice")
			}
		}
	})
}

// sealed gives bytes the right checksum, so that the fuzzer gets behind it.
func sealed(b []byte) []byte {
	if !json.Valid(b) {
		return b
	}
	return encode(json.RawMessage(b))
}

// FuzzCustom: custom data is refused, or every threshold is one to judge by.
func FuzzCustom(f *testing.F) {
	f.Add([]byte(`{"unpacked":1000,"acceptance":{"confidence":0.8,"psi":2,"frames":50},"hardware":["rpi"]}`))
	f.Add([]byte(`{"acceptance":{"error_rate":-1}}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCustom(b)
		if err != nil {
			return
		}
		a := c.Acceptance
		if !(a.ErrorRate > 0 && a.ErrorRate <= 1 && a.Confidence > 0 && a.Confidence <= 1 && a.Unknown > 0 && a.PSI > 0 && a.SlowerBy > 0 && a.Losses > 0 && a.Frames > 0 && c.Unpacked >= 0) {
			t.Fatalf("%+v", c)
		}
		_ = a.judge(Sample{Frames: 300, Errors: 1, Labels: map[string]int{"a": 300}}, against{ref: &Sample{Frames: 300, Labels: map[string]int{"b": 300}}, same: true})
	})
}

// FuzzPages: no file makes the walk fail otherwise than by saying so.
func FuzzPages(f *testing.F) {
	_, whole := written(f)
	f.Add(whole[:64<<10], 0, byte(0))
	f.Add(whole[:64<<10], 3*4096+8, byte(1))
	f.Add([]byte{}, 0, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at int, v byte) {
		if at >= 0 && at < len(b) {
			b[at] = v
		}
		if err := checkPages(b); err != nil && !errors.Is(err, errDamaged) {
			t.Fatal(err)
		}
	})
}

// A journal of a Heron that did not yet say which step stopped a model, nor by what: it is the one after the last complete step.
func TestAnOlderJournalIsReadAndToldInTheNewWords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := &journal{path: filepath.Join(dir, journalName)}
	if _, _, err := j.open(); err != nil {
		t.Fatal(err)
	}
	d := fmt.Sprintf("%064x", 7)
	err := j.put(change{
		bucketRefused: {d: json.RawMessage(`{"target":"bottles/2.0.0","slot":"main","step":"stored","reason":"golden picture 0 is ok","at":"2026-11-01T10:00:00Z","n":3}`)},
		bucketSlots: {"main": json.RawMessage(`{"v":1,"last":{"target":"bottles/2.1.0","rev":4,"step":"refused","at_step":"tried","reason":"too slow","when":"2026-11-01T10:00:00Z"},
			"next":{"wish":{"target":"bottles/2.0.0","shadow":0,"probation":0},"step":"offered"},"counts":{}}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	j.close()
	w := newWorld(t)
	w.said["bottles/2.0.0"] = Offer{Size: 9, SHA256: d}
	w.repo["bottles/2.0.0"] = []byte("123456789")
	cfg := w.config(dir)
	dev := w.start(cfg, nil)
	defer dev.stop()
	if r := dev.Refused(); len(r) != 1 || r[0].Where() != "tried" || r[0].Step != StepStored {
		t.Errorf("%+v", r)
	}
	if s := dev.state(); s.Last.Rev == 4 && s.Last.Where() != "shadow" { // or it has gone on already
		t.Errorf("%+v", s.Last)
	}
	s := dev.until("the same target is refused again", time.Minute, ended(StepRefused, "bottles/2.0.0"))
	if s.Last.Where() != "tried" || s.Last.Reason != "refused before: golden picture 0 is ok" {
		t.Errorf("%+v", s.Last)
	}
}

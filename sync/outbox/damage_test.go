package outbox

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// delivered is the first of the frames that filled has delivered already: only a salvage that finds no record of that may bring them again.
const delivered = 1_000_000

// filled makes an outbox file with n results and some alarms, closed in order, about half of its pages free.
func filled(t *testing.T, cfg Config, n int) {
	t.Helper()
	cfg.SealRecords = 40
	b := start(t, cfg)
	for i := range n {
		b.Put(result(delivered + i))
	}
	b.flush()
	b.drain()
	b.Link(false)
	for i := range n {
		b.Put(result(i))
		if i%200 == 0 {
			b.Put(alarm(i))
			b.flush()
		}
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
}

// edit changes the bytes of a file.
func edit(t *testing.T, path string, fn func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, fn(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// survivors starts the outbox, takes all that waits and checks that nothing is invented and that what is missing is counted.
func survivors(t *testing.T, cfg Config, n int, what string) (map[int]int, Stats) {
	t.Helper()
	b := start(t, cfg)
	rs := b.drain()
	s := b.Stats()
	if s.State != stateOK {
		t.Errorf("%s: %+v", what, s)
	}
	frames := map[int]int{}
	gaps := uint64(0)
	for _, r := range rs {
		if r.frame >= 0 && r.frame < delivered {
			frames[r.frame]++
		}
		if r.gap != nil {
			gaps += r.gap.LostAtMost
		}
	}
	for f := range frames {
		if f >= n {
			t.Errorf("%s: frame %d was never put", what, f)
		}
	}
	if lost := n - len(frames); lost > 0 && (int(s.Dropped["corrupt"]) < lost || int(gaps) < lost) {
		t.Errorf("%s: %d of %d results are gone, %d counted, %d told: %+v", what, lost, n, s.Dropped["corrupt"], gaps, s)
	}
	if err := b.stop(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return frames, s
}

func TestFault_S2_LeftoversOfCreation(t *testing.T) {
	for _, left := range []string{"", "x", strings.Repeat("\x00", 16<<10), strings.Repeat("garbage ", 9<<10)} {
		cfg := config(t.TempDir())
		if err := os.WriteFile(cfg.Path+".tmp", []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			b := start(t, cfg)
			b.Put(result(i))
			b.flush()
			if s := b.Stats(); s.Quarantined != 0 || s.State != stateOK || s.Records["result"] != int64(i+1) {
				t.Errorf("%+v", s)
			}
			b.stop()
		}
		if _, err := os.Stat(cfg.Path + ".tmp"); err == nil {
			t.Error("the temporary file was left")
		}
	}
}

func TestFault_S11_FileTruncatedUnderTheMap(t *testing.T) {
	cfg := config(t.TempDir())
	filled(t, cfg, 2000)
	b := start(t, cfg)
	b.until("open", func(s Stats) bool { return s.State == stateOK })
	if err := os.Truncate(cfg.Path, 2*int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	b.Put(alarm(9999))
	s := b.until("set aside", func(s Stats) bool { return s.Quarantined == 1 && s.State == stateOK })
	if s.LastError == "" {
		t.Errorf("%+v", s)
	}
	came := false
	for _, r := range b.drain() {
		came = came || r.code == "alarm-9999"
	}
	if !came {
		t.Error("the alarm that was put meanwhile is lost")
	}
}

func TestFault_S12_BitFlipInOneGroup(t *testing.T) {
	cfg := config(t.TempDir())
	filled(t, cfg, 2000)
	at := usedValue(t, cfg.Path, "result")
	edit(t, cfg.Path, func(b []byte) []byte {
		b[at+1] ^= 4
		return b
	})
	rep, err := Verify(cfg.Path)
	if err != nil || rep.Damaged != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	frames, s := survivors(t, cfg, 2000, "bit flip")
	// A group has 40 records, or fewer where its time was up first: exactly those are lost, and counted.
	if lost := 2000 - len(frames); lost < 1 || lost > 40 || s.Dropped["corrupt"] != uint64(lost) || s.Quarantined != 0 {
		t.Errorf("%d lost, %+v", lost, s)
	}
}

func TestFault_S13_DamagedPages(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 4))
	mutants := 12 / slower
	if long() {
		mutants = 2000
	}
	src := config(t.TempDir())
	const n = 1200
	filled(t, src, n)
	whole, err := os.ReadFile(src.Path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	kinds := map[string]func(b []byte) []byte{
		"flip": func(b []byte) []byte { b[rng.IntN(len(b))] ^= 1 << rng.IntN(8); return b },
		"header flip": func(b []byte) []byte {
			b[rng.IntN(len(b)/page)*page+rng.IntN(48)] ^= 1 << rng.IntN(8)
			return b
		},
		"zeroed": func(b []byte) []byte { clear(b[rng.IntN(len(b)/page)*page:][:page]); return b },
		"random": func(b []byte) []byte {
			at := b[rng.IntN(len(b)/page)*page:][:page]
			for i := range at {
				at[i] = byte(rng.Uint32())
			}
			return b
		},
		"swapped": func(b []byte) []byte {
			x, y := rng.IntN(len(b)/page)*page, rng.IntN(len(b)/page)*page
			z := append([]byte(nil), b[x:x+page]...)
			copy(b[x:x+page], b[y:y+page])
			copy(b[y:y+page], z)
			return b
		},
		"truncated": func(b []byte) []byte { return b[:rng.IntN(len(b))] },
		"metas":     func(b []byte) []byte { clear(b[:2*page]); return b },
		"root": func(b []byte) []byte { // every leaf page of the file but the last third
			for i := 2; i < len(b)/page*2/3; i++ {
				clear(b[i*page:][:page])
			}
			return b
		},
	}
	saved, aside, again := 0, 0, 0
	for i := range mutants {
		for kind, mutate := range kinds {
			cfg := config(fastDir(t))
			if err := os.WriteFile(cfg.Path, mutate(append([]byte(nil), whole...)), 0o600); err != nil {
				t.Fatal(err)
			}
			b := start(t, cfg)
			rs := b.drain()
			s := b.Stats()
			frames := map[int]int{}
			for _, r := range rs {
				if r.frame >= 0 && r.frame < delivered {
					frames[r.frame]++
				}
				if r.frame >= delivered {
					again++
				} else if r.frame >= n {
					t.Errorf("%s %d: frame %d was never put", kind, i, r.frame)
				}
			}
			if s.State != stateOK {
				t.Errorf("%s %d: %+v", kind, i, s)
			}
			// A spoilt meta page looks like one torn by a power cut: bbolt takes the one before, and with it goes the last transaction,
			// the one that said "clean". So the gap record of an unclean stop names its numbers.
			if lost := n - len(frames); lost > 0 && s.Dropped["corrupt"] == 0 && s.Quarantined == 0 && gaps(rs) == 0 {
				t.Errorf("%s %d: %d results are gone and nothing is counted: %+v", kind, i, lost, s)
			}
			saved, aside = saved+len(frames), aside+int(s.Quarantined)
			b.stop()
			os.RemoveAll(filepath.Dir(cfg.Path))
		}
	}
	t.Logf("%d damaged files, %d of them set aside: all opened, %d results delivered, %d delivered again", mutants*len(kinds), aside, saved, again)
}

func TestFault_S13_WhatIsSetAside(t *testing.T) {
	cfg := config(t.TempDir())
	for round := 1; round <= 3; round++ {
		filled(t, cfg, 400)
		edit(t, cfg.Path, func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b })
		frames, s := survivors(t, cfg, 400, "both meta pages")
		if s.Quarantined != 1 || len(frames) != 400 || s.Salvaged < 400 {
			t.Errorf("round %d: %d frames, %+v", round, len(frames), s)
		}
		got, _ := filepath.Glob(cfg.Path + "*")
		if len(got) != 2 || got[1] != fmt.Sprintf("%s.corrupt-%d", cfg.Path, round) {
			t.Errorf("round %d left %v", round, got)
		}
	}
}

// A file of which not even the count is left is not said to have lost nothing.
func TestFault_S13_WhatCannotBeCounted(t *testing.T) {
	for _, c := range []struct {
		name    string
		damage  func(b []byte) []byte
		unknown bool
	}{
		{"both meta pages", func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b }, false},
		{"all but two pages", func(b []byte) []byte { return b[:2*os.Getpagesize()] }, true},
		{"all but the beginning", func(b []byte) []byte { return b[:100] }, true},
	} {
		cfg := config(t.TempDir())
		filled(t, cfg, 400)
		edit(t, cfg.Path, c.damage)
		b := start(t, cfg)
		b.Put(result(401))
		told := false
		for _, r := range b.drain() {
			if r.gap == nil || r.gap.Reason != "corrupt" {
				continue
			}
			told = true
			if r.gap.Unknown != c.unknown || r.gap.LostAtMost < cfg.lostAtMost() {
				t.Errorf("%s: %+v", c.name, *r.gap)
			}
		}
		if s := b.Stats(); !told || s.Uncounted != c.unknown {
			t.Errorf("%s: told %v, %+v", c.name, told, s)
		}
		b.stop()
	}
}

func TestFault_S15_LockHeldByAnother(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	a := start(t, cfg)
	a.until("open", func(s Stats) bool { return s.State == stateOK })
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := o.Put(result(1))
	err = o.Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), cfg.Path) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("the second outbox said: %v", err)
	}
	<-r.Done()
	if r.Err() == nil || o.Stats().State != failed {
		t.Errorf("%v, %+v", r.Err(), o.Stats())
	}
	if _, err := Verify(cfg.Path); err == nil {
		t.Error("a file in use was verified")
	}
}

func TestFault_S17_OtherVersions(t *testing.T) {
	cfg := config(t.TempDir())
	filled(t, cfg, 400)
	db, err := bbolt.Open(cfg.Path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucketMeta))
		v := append([]byte(nil), b.Get([]byte(keyState))...)
		v[0] = 9
		binary.BigEndian.PutUint32(v[len(v)-4:], crc32.Checksum(v[:len(v)-4], castagnoli()))
		return b.Put([]byte(keyState), v)
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	frames, s := survivors(t, cfg, 400, "newer version")
	if len(frames) != 400 || s.Quarantined != 1 {
		t.Errorf("%d frames, %+v", len(frames), s)
	}
}

func TestFault_S20_Leftovers(t *testing.T) {
	cfg := config(t.TempDir())
	filled(t, cfg, 10)
	for i := range 30 {
		if err := os.WriteFile(fmt.Sprintf("%s.corrupt-%d", cfg.Path, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit(t, cfg.Path, func(b []byte) []byte { return b[:100] })
	survivors(t, cfg, 0, "leftovers")
	if got, _ := filepath.Glob(cfg.Path + ".*"); len(got) != 1 || got[0] != cfg.Path+".corrupt-30" {
		t.Errorf("left: %v", got)
	}
}

func TestFault_B6_NewEpochAfterQuarantine(t *testing.T) {
	cfg := config(t.TempDir())
	b := start(t, cfg)
	b.Put(result(1))
	b.flush()
	old := b.Stats().Epoch
	b.stop()
	edit(t, cfg.Path, func(b []byte) []byte { return []byte("this is no database") })
	b = start(t, cfg)
	b.Put(result(2))
	rs := b.drain()
	var told bool
	for _, r := range rs {
		if r.frame == 2 && r.epoch == old {
			t.Error("the old epoch went on")
		}
		told = told || r.gap != nil && r.gap.Reason == "corrupt"
	}
	if !told {
		t.Errorf("no gap record says what happened: %v", rs)
	}
}

// TestSalvageThatFails starts a child that is none of ours: the outbox must come up all the same.
func TestSalvageThatFails(t *testing.T) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if _, err := runSalvage(ctx, filepath.Join(t.TempDir(), "absent"), func([]*group) error { return nil }); err == nil {
		t.Error("a file that is not there was salvaged")
	}
	for _, s := range []string{"", "x", salvageMagic, salvageMagic + "g\x00\x00\x00\x01x", salvageMagic + "e\x00\x00\x00\x02{]", salvageMagic + "g\xff\xff\xff\xff"} {
		if _, err := readSalvage(bufio.NewReader(strings.NewReader(s)), func([]*group) error { return nil }); err == nil {
			t.Errorf("%q was taken for a salvage", s)
		}
	}
}

// gaps counts the records that own up to numbers.
func gaps(rs []rec) (n int) {
	for _, r := range rs {
		if r.gap != nil {
			n++
		}
	}
	return n
}

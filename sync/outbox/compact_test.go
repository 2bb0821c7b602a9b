package outbox

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// compacting is an outbox that runs and compacts whenever its file is above so many bytes, as often as every.
func compacting(t *testing.T, cfg Config, above int64, every time.Duration) *box {
	t.Helper()
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	o.limits.compactAbove, o.limits.compactEvery = above, every
	return run(t, o)
}

// settle drains and has all that is acknowledged deleted, with a session.
func (b *box) settle() []rec {
	b.t.Helper()
	rs := b.drain()
	if _, err := b.Session(limit(b.t)); err != nil {
		b.t.Fatal(err)
	}
	return rs
}

// TestFault_B1_QueueIsDrainedAndFileShrinksOnce queues much without a link, and drains it. With HERON_TORTURE=long it is a million records and the real bound.
func TestFault_B1_QueueIsDrainedAndFileShrinksOnce(t *testing.T) {
	cfg, n, above := config(t.TempDir()), 12_000, int64(1<<20)
	if long() {
		n, above = 1_000_000, 32<<20
	}
	b := compacting(t, cfg, above, time.Hour)
	for i := range n {
		b.Put(noise(i, 300))
		if i%2000 == 1999 {
			b.flush()
		}
	}
	b.Put(alarm(1))
	b.flush()
	session, err := b.Session(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	before := b.Stats()
	if before.FileBytes <= above || before.Compactions != 0 {
		t.Fatalf("the file has %d bytes, %d compactions", before.FileBytes, before.Compactions)
	}
	b.Link(true)
	if first := open(t, b.next(false)); first[0].code != "alarm-1" {
		t.Errorf("%v came before the alarm", first)
	}
	b.Link(false)
	if frames := ledger(t, b.settle()); len(frames) != n {
		t.Errorf("%d of %d came", len(frames), n)
	}
	s := b.until("shrunk", func(s Stats) bool { return s.Compactions == 1 && s.FileBytes < 512<<10 })
	if s.Epoch != before.Epoch || s.NextSeq < before.NextSeq || s.State != stateOK || s.LastError != "" {
		t.Errorf("before %+v, after %+v", before, s)
	}
	t.Logf("%d bytes became %d", before.FileBytes, s.FileBytes)
	b.Link(false)
	b.putNoise(n, n+int(above/400)+500) // noise of 900 bytes makes more than 450
	b.settle()
	b.settle()
	if s := b.Stats(); s.Compactions != 1 || s.FileBytes <= above {
		t.Errorf("compacted %d times within the hour, %d bytes", s.Compactions, s.FileBytes)
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	b = start(t, cfg)
	if again, err := b.Session(limit(t)); err != nil || again <= session || b.Stats().Epoch != before.Epoch {
		t.Errorf("session %d after %d, %v", again, session, err)
	}
	if _, err := os.Stat(cfg.Path + ".tmp"); err == nil {
		t.Error("the temporary file was left")
	}
}

// TestPutsDuringCompaction compacts whenever nothing waits while records come, link or no link.
func TestPutsDuringCompaction(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.SealRecords, cfg.CommitAfter = 20, time.Millisecond
	rng := rand.New(rand.NewPCG(seed(t), 4))
	var all []rec
	n, compactions, lastSession := 0, uint64(0), uint64(0)
	for round := 0; round < 3 || compactions == 0 && round < 30; round++ { // a busy machine may need more than three
		b := compacting(t, cfg, 0, 3*time.Millisecond)
		ctx, stop := context.WithTimeout(t.Context(), 700*time.Millisecond)
		var wg sync.WaitGroup
		for _, live := range []bool{true, false} {
			wg.Go(func() {
				for {
					g, err := b.Next(ctx, live)
					if err != nil {
						return
					}
					rs := open(t, g)
					b.mu.Lock()
					all = append(all, rs...)
					b.mu.Unlock()
					b.Ack(g.ID)
				}
			})
		}
		for ctx.Err() == nil {
			b.Link(rng.IntN(4) > 0)
			for range rng.IntN(60) {
				b.Put(result(n))
				n++
			}
			if rng.IntN(3) == 0 {
				b.Put(alarm(n))
			}
			time.Sleep(time.Duration(rng.IntN(8)) * time.Millisecond)
			if rng.IntN(8) == 0 {
				now, err := b.Session(limit(t))
				if err != nil || now <= lastSession {
					t.Errorf("session %d after %d: %v", now, lastSession, err)
				}
				lastSession = now
				b.Link(true)
				if b.Drained(ctx) == nil { // and have it deleted, with the next session
					lastSession, _ = b.Session(limit(t))
				}
			}
		}
		wg.Wait()
		stop()
		s := b.Stats()
		compactions += s.Compactions
		if s.State != stateOK || s.LastError != "" {
			t.Errorf("%+v", s)
		}
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	}
	b := start(t, cfg)
	all = append(all, b.drain()...)
	if frames := ledger(t, all); len(frames) != n {
		t.Errorf("%d of %d came", len(frames), n)
	}
	for _, r := range all {
		if r.gap != nil {
			t.Errorf("a gap: %+v", *r.gap)
		}
	}
	if compactions == 0 {
		t.Error("nothing was compacted")
	}
	t.Logf("%d compactions beside %d records", compactions, n)
}

// TestCompactionThatFails has no place for the new file: the old one goes on.
func TestCompactionThatFails(t *testing.T) {
	cfg := config(t.TempDir())
	b := compacting(t, cfg, 0, 10*time.Millisecond)
	b.until("compacted", func(s Stats) bool { return s.Compactions > 0 })
	hold, err := openLocked(cfg.Path+".tmp", os.O_RDWR|os.O_CREATE, patience)
	if err != nil {
		t.Fatal(err)
	}
	b.Put(alarm(1))
	b.flush()
	b.settle()
	b.until("failed", func(s Stats) bool { return s.LastError != "" })
	hold.Close()
	b.Link(false)
	b.Put(result(3))
	b.flush()
	if s := b.Stats(); s.State != stateOK || s.Records["result"] != 1 {
		t.Errorf("%+v", s)
	}
	if err := b.stop(); err != nil {
		t.Error(err)
	}
	if frames := ledger(t, start(t, cfg).drain()); frames[3] != 1 {
		t.Error("the record was lost")
	}
}

// TestDeadRecordsAreCarriedOver also checks that they go on being numbered upwards.
func TestDeadRecordsAreCarriedOver(t *testing.T) {
	cfg := config(t.TempDir())
	b := compacting(t, cfg, 0, time.Millisecond)
	for i := range 3 {
		b.Put(alarm(i))
		b.flush()
		b.Link(true)
		g := b.next(false)
		for g.Stream != "alarm" {
			b.Ack(g.ID)
			g = b.next(false)
		}
		b.Refuse(g.ID, "never")
		want, was := uint64(i+1), b.Stats().Compactions
		b.until("buried", func(s Stats) bool { return s.Dead == want })
		b.settle()
		if s := b.until("compacted", func(s Stats) bool { return s.Compactions > was }); s.Dead != want {
			t.Errorf("%+v", s)
		}
		b.Link(false)
	}
	b.stop()
	r, err := Verify(cfg.Path)
	if err != nil || r.Dead != 3 || r.Problem != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestLockFollowsTheName: whoever waits for the lock of a file that gives way to another must not work on the old one.
func TestLockFollowsTheName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	old, err := openLocked(path, os.O_RDWR|os.O_CREATE, 0)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := openLocked(path+".tmp", os.O_RDWR|os.O_CREATE, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	got := make(chan error, 1)
	go func() {
		f, err := openLocked(path, os.O_RDWR, time.Second)
		if err == nil {
			f.Close()
		}
		got <- err
	}()
	time.Sleep(150 * time.Millisecond)
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
	old.Close()
	if err := <-got; !errors.Is(err, ErrLocked) {
		t.Errorf("the second one got a lock: %v", err)
	}
	// One that had opened the old file before the rename, and locks it only now.
	late, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if !named(late, path) || os.Rename(path, path+".x") != nil || named(late, path) {
		t.Error("a file that lost its name counts as named")
	}
	if err := unix.Flock(int(fresh.Fd()), unix.LOCK_UN); err != nil {
		t.Error(err)
	}
}

// TestFault_S3_TorturePowerCutInCompaction records a device that compacts often, and cuts the power everywhere, renames included.
func TestFault_S3_TorturePowerCutInCompaction(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed: what the outbox writes cannot be recorded")
	}
	s := seed(t)
	dir, steps, per := t.TempDir(), 40/slower, 3
	if long() {
		steps, per = 400, 12
	}
	ops := recordAll(t, []childJob{
		{steps: steps, seed: s, first: 1, end: "clean+compact", dir: dir},
		{steps: steps, seed: s + 1, first: 100_000, end: "exit+compact", dir: dir},
		{steps: steps, seed: s + 2, first: 200_000, end: "clean+compact", dir: dir}})
	renames := 0
	for _, o := range ops {
		if o.kind == 'r' && o.to == "outbox.db" {
			renames++
		}
	}
	if renames < 2 { // the first made the file
		t.Fatalf("only %d compactions were recorded", renames-1)
	}
	c := &campaign{t: t, root: fastDir(t), slots: make(chan struct{}, 6)}
	begun := time.Now()
	c.replay(ops, per, rand.New(rand.NewPCG(s, 5)))
	t.Logf("%d compactions; %d states opened in %v: %d with a fault, %d promised records lost", renames-1, c.states.Load(), time.Since(begun).Round(time.Second), c.failed.Load(), c.lost.Load())
}

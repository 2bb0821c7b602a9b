package outbox

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"heron/sync/message"
)

// hanging is an outbox on a disk that stops answering when hung is called, and goes on when back is.
func hanging(t *testing.T, cfg Config, set limits) (b *box, hung, back func()) {
	t.Helper()
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if set.stall > 0 {
		o.limits.stall = set.stall
	}
	if set.shutdown > 0 {
		o.limits.shutdown = set.shutdown
	}
	var disk sync.Mutex
	o.hang = func() { disk.Lock(); disk.Unlock() } //nolint:staticcheck // it only waits
	back = sync.OnceFunc(disk.Unlock)
	b = run(t, o)
	b.until("open", func(s Stats) bool { return s.State == stateOK })
	return b, disk.Lock, back
}

// TestFault_S16_HungDisk: a disk that does not answer is given up for a while, and what comes meanwhile is sent all the same, under numbers of its own.
func TestFault_S16_HungDisk(t *testing.T) {
	cfg := config(t.TempDir())
	b, hung, back := hanging(t, cfg, limits{stall: 500 * time.Millisecond})
	epoch := b.Stats().Epoch
	hung()
	defer back()
	r := b.Put(alarm(1)) // nothing else comes: the sealer must wake by itself
	s := b.until("memory", func(s Stats) bool { return s.State == memory })
	if !strings.Contains(s.Reason, "has not answered for 500ms") {
		t.Errorf("the reason is %q", s.Reason)
	}
	b.Link(true)
	g := b.next(false)
	if rs := open(t, g); g.Stream != message.Alarm || rs[0].code != "alarm-1" || g.Epoch != epoch {
		t.Errorf("%+v", rs)
	}
	b.Put(alarm(2))
	live := b.next(true)
	if rs := open(t, live); rs[0].code != "alarm-2" || live.Epoch == epoch {
		t.Errorf("numbers that may not be reserved: %+v", rs)
	}
	b.Ack(g.ID)
	<-r.Done()
	if r.Err() != nil {
		t.Error(r.Err())
	}
	b.Link(false)
	for i := range 3000 { // three times what is reserved
		b.Put(result(i))
	}
	back()
	b.until("well again", func(s Stats) bool { return s.State == stateOK && s.Reason == "" })
	b.flush()
	rs := b.settle()
	if frames := ledger(t, rs); len(frames) != 3000 {
		t.Errorf("%d of 3000 came", len(frames))
	}
	codes := map[string]int{}
	for _, r := range rs {
		codes[r.code]++
	}
	if codes["alarm-2"] != 1 || codes["alarm-1"] != 0 {
		t.Errorf("alarms: %v", codes)
	}
	if s := b.Stats(); s.SlowestCommit < 500*time.Millisecond || len(s.Dropped) != 0 {
		t.Errorf("%+v", s)
	}
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}

// TestStopOnAHungDisk: Run ends in time and says what is lost.
func TestStopOnAHungDisk(t *testing.T) {
	b, hung, back := hanging(t, config(t.TempDir()), limits{shutdown: 300 * time.Millisecond})
	hung()
	r := b.Put(alarm(1))
	begun := time.Now()
	err := b.stop()
	if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), "has not answered for 300ms") || took < 300*time.Millisecond || took > patience {
		t.Errorf("after %v: %v", took, err)
	}
	<-r.Done()
	if s := b.Stats(); !errors.Is(r.Err(), ErrClosed) || s.State != failed || s.Dropped["closed"] != 1 {
		t.Errorf("%v, %+v", r.Err(), s)
	}
	back() // the disk worker comes to its end; the lock tells when
	f, err := openLocked(b.cfg.Path, os.O_RDWR, patience)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// TestCommitFailsOnUnreadablePages: bbolt's own rollback would read all pages in a goroutine where the first bad one ends the process.
func TestCommitFailsOnUnreadablePages(t *testing.T) {
	cfg := config(t.TempDir())
	filled(t, cfg, 2000)
	bad := usedValue(t, cfg.Path, "result") / int64(os.Getpagesize())
	f, err := openLocked(cfg.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openStore(f, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	page := uintptr(os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MPROTECT, s.db.Info().Data+uintptr(bad)*page, page, unix.PROT_NONE); errno != 0 {
		t.Fatal(errno)
	}
	f.Close() // no write succeeds from now on
	err = s.apply(&change{state: s.st})
	if !errors.Is(err, os.ErrClosed) || sick(err) {
		t.Errorf("the commit said: %v", err)
	}
	s.close()
}

// TestFault_S11_FileEmptiedUnderTheMap leaves bbolt with its own locks held, and the file's lock must come free all the same.
func TestFault_S11_FileEmptiedUnderTheMap(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	b := start(t, cfg)
	b.Put(alarm(1))
	b.flush()
	if err := os.Truncate(cfg.Path, 0); err != nil {
		t.Fatal(err)
	}
	b.Put(alarm(2))
	b.until("set aside", func(s Stats) bool { return s.Quarantined == 1 && s.State == stateOK && s.Records[message.Alarm] == 1 })
}

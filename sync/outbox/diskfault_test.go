package outbox

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"heron/sync/message"
)

// noise is a result that does not compress.
func noise(n, bytes int) message.ResultRecord {
	b := make([]byte, bytes/2)
	rand.Read(b)
	r := result(n)
	r.Name = hex.EncodeToString(b)
	return r
}

// mounted gives a folder on a small file system of its own.
func mounted(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a small file system cannot be mounted here (%v): needs root", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func (b *box) putNoise(from, to int) {
	b.t.Helper()
	for i := from; i < to; i++ {
		b.Put(noise(i, 900))
		if i%100 == 99 {
			_ = b.Flush(limit(b.t)) // what is dropped for want of room says so here
		}
	}
	_ = b.Flush(limit(b.t))
}

// accounted checks that all that was put has come, or been dropped and counted and told.
func accounted(t *testing.T, rs []rec, s Stats, n int, reasons ...string) {
	t.Helper()
	frames := ledger(t, rs)
	dropped, told := 0, 0
	for _, r := range reasons {
		dropped += int(s.Dropped[r])
	}
	for _, r := range rs {
		if r.gap != nil && r.gap.Reason == "full" {
			told += int(r.gap.LostAtMost)
		}
	}
	if n-len(frames) != dropped || told != dropped {
		t.Errorf("%d of %d came, %d dropped, %d told of: %v", len(frames), n, dropped, told, s.Dropped)
	}
}

func TestFault_S6_DiskFull(t *testing.T) {
	t.Parallel()
	dir := mounted(t, "size=3m")
	cfg := config(dir)
	b := start(t, cfg)
	b.Put(alarm(1))
	b.flush()
	const n = 6000
	b.putNoise(0, n)
	if s := b.Stats(); s.Dropped["full"]+s.Dropped["memory"] == 0 {
		t.Errorf("nothing was dropped: %+v", s)
	}
	b.Put(alarm(2))
	b.until("alarm kept", func(s Stats) bool { return s.Records[message.Alarm] == 2 })
	rs := b.drain()
	accounted(t, rs, b.Stats(), n, "full", "memory")
	alarms := 0
	for _, r := range rs {
		if r.stream == message.Alarm {
			alarms++
		}
	}
	if alarms != 2 {
		t.Errorf("%d of 2 alarms came", alarms)
	}
	b.until("well again", func(s Stats) bool { return s.State == stateOK })
}

func TestFault_S6_NoRoomToBegin(t *testing.T) {
	t.Parallel()
	dir := mounted(t, "size=64k")
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, config(dir))
	b.until("memory", func(s Stats) bool { return s.State == memory && strings.Contains(s.Reason, "no space") })
	b.Link(true) // before the records: what is sealed without a link is not live
	b.Put(result(1))
	b.Put(alarm(2))
	if g := b.next(true); g.Stream != message.Alarm && g.Stream != message.Result {
		t.Errorf("%+v", g)
	}
	b.Link(false)
	os.Remove(filler)
	b.until("well again", func(s Stats) bool { return s.State == stateOK && s.Records[message.Alarm] == 1 })
	b.flush()
	if rs := b.drain(); len(ledger(t, rs)) != 1 {
		t.Errorf("%v", rs)
	}
}

func TestFault_S8_NoInodes(t *testing.T) {
	t.Parallel()
	dir := mounted(t, "size=1m,nr_inodes=1")
	b := start(t, config(dir))
	b.until("memory", func(s Stats) bool { return s.State == memory && s.Reason != "" })
	b.Put(result(1))
	if rs := b.drain(); len(ledger(t, rs)) != 1 {
		t.Errorf("%v", rs)
	}
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}

func TestFault_S9_ReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	dir := mounted(t, "size=8m")
	cfg := config(dir)
	b := start(t, cfg)
	b.Put(alarm(1))
	b.flush()
	b.stop()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("the file system cannot be made read-only here: %v", err)
	}
	b = start(t, cfg)
	s := b.until("memory", func(s Stats) bool { return s.State == memory })
	if !strings.Contains(s.Reason, "read-only") {
		t.Errorf("the reason is %q", s.Reason)
	}
	b.Link(true) // before the records: what is sealed without a link is not live
	for i := range 100 {
		b.Put(result(i))
	}
	if n, err := b.Session(limit(t)); err != nil || n == 0 {
		t.Errorf("session %d, %v", n, err)
	}
	if g := b.next(true); g.Epoch == s.Epoch {
		t.Error("numbers of the file's epoch were given out without a reservation")
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	b.Link(false)
	b.until("well again", func(s Stats) bool { return s.State == stateOK })
	b.flush()
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	b = start(t, cfg)
	rs := b.drain()
	alarms := 0
	for _, r := range rs {
		if r.stream == message.Alarm {
			alarms++
		}
	}
	if frames := ledger(t, rs); len(frames) != 100 || alarms != 1 {
		t.Errorf("%d of 100 results, %d of 1 alarms", len(frames), alarms)
	}
}

// injected runs a device under strace with a fault in its system calls.
func injected(t *testing.T, j childJob, inject ...string) (*facts, string) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed: system calls cannot be made to fail")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", "trace=pwrite64,fdatasync,fsync"}
	for _, i := range inject {
		args = append(args, "-e", "inject="+i)
	}
	cmd := exec.Command("strace", append(args, exe)...)
	cmd.Env = append(os.Environ(), childEnv+"="+j.String())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if strings.Contains(strings.ToLower(errs.String()), "ptrace") {
		t.Skipf("strace may not trace here: %s", errs.String())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() != 1 || strings.Contains(errs.String(), "panic") || strings.Contains(errs.String(), "fatal")) {
		t.Fatalf("the process died: %v\n%s", err, errs.String())
	}
	f := newFacts()
	for l := range strings.Lines(string(out)) {
		f.hear(l)
	}
	f.damaged = strings.Contains(string(out), "damage ") && !strings.Contains(string(out), "damage 0\n")
	return f, string(out)
}

// kept opens what the injected process left and tells which promises are broken.
func kept(t *testing.T, dir string, f *facts) (broken []string, s Stats) {
	t.Helper()
	b := start(t, config(dir))
	got, seqs := map[string]bool{}, map[string]bool{}
	for _, g := range collect(b.Outbox, patience) {
		first := mustSeq(g)
		for i, id := range identify(g) {
			got[id] = true
			seqs[fmt.Sprint(g.Epoch, "/", first+uint64(i))] = true
		}
	}
	told := got["gap:0-0"] || f.damaged // the process that is no more saw that some were missing, which ones it could not know
	if hole := f.hole(got, seqs, b.Stats().Epoch); hole > 0 && b.Stats().Quarantined == 0 && b.Stats().Dropped["corrupt"] == 0 && !told {
		t.Errorf("number %d is nowhere, and no gap record names it", hole)
	}
	for id := range f.safe {
		if !got[id] && !f.acking[id] && !strings.HasPrefix(id, "gap") {
			broken = append(broken, id)
		}
	}
	return broken, b.Stats()
}

func TestFault_S10_SyncFails(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]string{"once": "when=9", "at times": "when=6+29", "always": "when=6+"} {
		for _, fault := range []string{"fdatasync:error=EIO:" + when, "pwrite64:error=ENOSPC:" + when} {
			dir := t.TempDir()
			f, out := injected(t, childJob{steps: 60, seed: 7, first: 1, end: "clean", dir: dir}, fault)
			broken, s := kept(t, dir, f)
			if len(broken) > 0 || s.State != stateOK {

				t.Errorf("%s %s: %d broken promises %v; %+v", fault, name, len(broken), broken, s)
			}
			if name != "always" && strings.Contains(out, "failed") {
				t.Errorf("%s: %s", fault, out[strings.Index(out, "failed"):])
			}
		}
	}
}

func TestFault_S14_LostWrite(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, when := range []string{"when=12", "when=25", "when=40+9"} {
		dir := t.TempDir()
		f, out := injected(t, childJob{steps: 60, seed: 8, first: 1, end: "exit", dir: dir}, "pwrite64:retval=4096:"+when)
		broken, s := kept(t, dir, f)
		if s.State != stateOK {
			t.Errorf("%s: %+v", when, s)
		}
		// A lost last transaction leaves no trace but the gap record of the unclean stop; kept has checked that it names the numbers.
		last := len(broken) > 0 && s.Records[message.Audit] > 0
		noticed := last || s.Quarantined > 0 || s.Dropped["corrupt"] > 0 || !strings.Contains(out, "damage 0\n")
		if len(broken) > 0 && !noticed {
			t.Errorf("%s: %d records were lost by the disk, and nobody noticed: %v %+v", when, len(broken), broken, s)
		}
		if noticed {
			seen++
		}
	}
	t.Logf("%d of 3 files were damaged by writes that the disk did not do", seen)
}

func TestFault_S16_SlowDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	begun := time.Now()
	f, out := injected(t, childJob{steps: 60, seed: 9, first: 1, end: "clean", dir: dir}, "fdatasync:delay_exit=100000")
	if strings.Contains(out, "failed") {
		t.Error(out)
	}
	broken, s := kept(t, dir, f)
	if len(broken) > 0 || s.State != stateOK || s.Dropped["memory"] > 0 {
		t.Errorf("%v, %+v", broken, s)
	}
	t.Logf("60 steps with 0.1 s a sync: %v", time.Since(begun).Round(time.Millisecond))
}

func TestFault_S18_FileIsBounded(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.MaxBytes = minBytes
	b := start(t, cfg)
	b.Put(alarm(1))
	b.flush()
	const n = 12_000
	b.putNoise(0, n)
	s := b.Stats()
	if s.FileBytes > cfg.MaxBytes || s.FileBytes < cfg.MaxBytes/2 || s.State != stateOK || s.Dropped["full"] == 0 {
		t.Errorf("%d bytes of at most %d; %+v", s.FileBytes, cfg.MaxBytes, s)
	}
	rs := b.drain()
	accounted(t, rs, b.Stats(), n, "full", "memory")
	for _, r := range rs {
		if r.frame >= 0 && r.frame < n/3 {
			t.Errorf("frame %d, one of the oldest, was kept", r.frame)
			break
		}
	}
}

func TestRecordsAreBounded(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.MaxRecords = 3000
	b := start(t, cfg)
	const n = 9000
	for i := range n {
		b.Put(result(i))
	}
	_ = b.Flush(limit(t)) // says what was dropped
	b.Put(alarm(1))       // the bound is looked at in every commit
	b.until("bounded", func(s Stats) bool { return s.Records[message.Result] <= 3000 && s.Records[message.Alarm] == 1 })
	rs := b.drain()
	accounted(t, rs, b.Stats(), n, "full", "memory")
}

func TestFault_S19_FolderMissingOrNoFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(filepath.Join(dir, "state"))
	b := start(t, cfg)
	s := b.until("memory", func(s Stats) bool { return s.State == memory })
	if !strings.Contains(s.Reason, cfg.Path) || !strings.Contains(s.Reason, "no such file") {
		t.Errorf("the reason is %q", s.Reason)
	}
	b.Put(result(1))
	if err := os.Mkdir(filepath.Dir(cfg.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	b.until("well again", func(s Stats) bool { return s.State == stateOK && s.Records[message.Result] == 1 })
	b.stop()

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, config(file))
	c.until("memory", func(s Stats) bool { return s.State == memory && strings.Contains(s.Reason, "not a directory") })
	r := c.Put(alarm(1))
	if err := c.stop(); err == nil {
		t.Error("a record was lost at the end, and Run said nothing")
	}
	<-r.Done()
	if r.Err() == nil || c.Stats().Dropped["closed"] != 1 || c.Stats().State != failed {
		t.Errorf("%v, %+v", r.Err(), c.Stats())
	}
}

func TestFault_B4_ProducerIsFasterThanTheDisk(t *testing.T) {
	o, err := New(config(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	o.Put(alarm(1))
	const n = 40_000
	for i := range n {
		o.Put(result(i)) // it does not run yet: the slowest disk of all
	}
	s := o.Stats()
	if o.batches.bytes > maxMemory || s.Dropped["memory"] == 0 || s.Records[message.Alarm] != 1 {
		t.Errorf("%d bytes held, %+v", o.batches.bytes, s)
	}
	b := run(t, o)
	_ = b.Flush(limit(t)) // says what was dropped
	rs := b.drain()
	accounted(t, rs, b.Stats(), n, "full", "memory")
	for _, x := range rs {
		if x.frame >= 0 && x.frame < 1000 {
			t.Errorf("frame %d, one of the oldest, was kept", x.frame)
			break
		}
	}
}

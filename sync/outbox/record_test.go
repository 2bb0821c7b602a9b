package outbox

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// record runs a job under strace and returns what it did.
func record(t *testing.T, j childJob) []diskOp {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, "strace", append(straceArgs(log), exe)...)
	cmd.Env = append(os.Environ(), childEnv+"="+j.String())
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("failed ")) {
		if bytes.Contains(out, []byte("PTRACE")) || bytes.Contains(out, []byte("ptrace")) {
			t.Skipf("strace may not trace here: %s", out)
		}
		t.Fatalf("the recorded process: %v\n%s", err, out)
	}
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := newStraceParser(j.dir)
	var ops []diskOp
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if op, ok := p.line(lines.Text()); ok {
			ops = append(ops, op)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return ops
}

// recordAll runs jobs on the same folder one after the other.
func recordAll(t *testing.T, jobs []childJob) (ops []diskOp) {
	for _, j := range jobs {
		ops = settle(t, j.dir, append(ops, record(t, j)...), strings.HasPrefix(j.end, "clean"))
	}
	return ops
}

// spoil zeroes a page in the middle of the tree of the file in dir, as a bad card would.
func spoil(t *testing.T, dir string) []diskOp {
	path := filepath.Join(dir, "outbox.db")
	page := usedValue(t, path, "result") / int64(os.Getpagesize())
	zero := make([]byte, os.Getpagesize())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(zero, page*int64(len(zero))); err != nil {
		t.Fatal(err)
	}
	return []diskOp{{kind: 's', file: "outbox.db"}, {kind: 'x', file: "outbox.db", off: page * int64(len(zero)), data: zero}}
}

// fastDir is a folder in memory where there is one: the replay needs no disk.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "heron-outbox-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// settle adds what the recording of a process that ended without stopping has missed: a write under way in another thread when the process
// exits is done by the kernel, and strace never sees it return. What such a write left on the free pages is there for a salvage to find, so
// a replay without it would miss records that the recorded device still had. After a clean end there is nothing to add.
func settle(t *testing.T, dir string, ops []diskOp, clean bool) []diskOp {
	t.Helper()
	d := newSimDisk()
	for _, o := range ops {
		if o.kind != 'm' {
			d.do(o)
		}
	}
	d.do(diskOp{kind: 'd'})
	have := d.crash(1, nil)["outbox.db"]
	want, err := os.ReadFile(filepath.Join(dir, "outbox.db"))
	if err != nil {
		t.Fatal(err)
	}
	if len(have) != len(want) {
		ops = append(ops, diskOp{kind: 't', file: "outbox.db", off: int64(len(want))})
		have = applyOp(have, ops[len(ops)-1])
	}
	missed := 0
	for page, off := os.Getpagesize(), 0; off < len(want); off += page {
		end := min(off+page, len(want))
		if !bytes.Equal(have[off:end], want[off:end]) {
			ops = append(ops, diskOp{kind: 'w', file: "outbox.db", off: int64(off), data: want[off:end]})
			missed++
		}
	}
	if missed > 0 {
		t.Logf("%d pages were written while the process exited", missed)
	}
	if missed > 0 && clean {
		t.Fatalf("the recording differs from the file in %d pages, and the process had stopped before it ended", missed)
	}
	return ops
}

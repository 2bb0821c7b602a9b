package fetch

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"heron/internal/slotfile"
)

// disk is what is safe from a power cut at one moment, as the system calls of a download tell it: a write is safe after the next sync.
type disk struct {
	part, journal string // descriptors
	written, safe int64  // bytes of the part
	vouched       int64  // by the newest record of the journal
	records, cuts int
	placed        bool
}

var call = regexp.MustCompile(`^\d+ +(\w+)\((.*)\) += (-?\d+)`)

// step takes one line of strace and says what promise it breaks.
func (d *disk) step(line string) error {
	m := call.FindStringSubmatch(line)
	if m == nil || strings.HasPrefix(m[3], "-") {
		return nil
	}
	fd, _, _ := strings.Cut(m[2], ",")
	switch m[1] {
	case "openat":
		switch {
		case strings.Contains(line, journalSuffix+`"`):
			d.journal = m[3]
		case strings.Contains(line, partSuffix+`"`):
			d.part = m[3]
		}
	case "write":
		if n, _ := strconv.ParseInt(m[3], 10, 64); fd == d.part {
			d.written += n
			d.cuts++
			if d.written-d.vouched > 1<<20 {
				return fmt.Errorf("a power cut now loses %d bytes", d.written-d.vouched)
			}
		}
	case "fdatasync", "fsync":
		if fd == d.part {
			d.safe = d.written
		}
	case "pwrite64":
		if fd == d.journal {
			return d.record(m[2])
		}
	case "renameat", "renameat2", "rename":
		d.placed = strings.Contains(line, partSuffix+`"`)
		if d.placed && d.safe != d.written {
			return fmt.Errorf("named with %d of %d bytes safe", d.safe, d.written)
		}
	}
	return nil
}

var quoted = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"`)

// record holds what the journal vouches for against what is safe.
func (d *disk) record(args string) error {
	m := quoted.FindStringSubmatch(args)
	if m == nil {
		return errors.New("strace shows no bytes")
	}
	b, err := hex.DecodeString(strings.ReplaceAll(m[1], `\x`, ""))
	if err != nil {
		return err
	}
	text, _, ok := slotfile.Parse(b)
	if !ok { // the empty slots of a new journal
		return nil
	}
	r := parseRecord(text)
	d.records++
	d.vouched = r.Done
	if r.Done > d.safe {
		return fmt.Errorf("the journal vouches for %d bytes when %d are safe", r.Done, d.safe)
	}
	return nil
}

// At every moment of a download, what a power cut would leave is a journal that speaks the truth and lacks at most a megabyte.
func TestPowerCutAtAnyWriteLosesAtMostAMegabyte(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	o := &object{data: random(8 << 20), etag: `"1"`}
	o.cutAt(3, 1_500_000)
	url := serve(t, o)
	r := want(t, o.data, url)
	log := t.TempDir() + "/log"
	cmd := exec.CommandContext(limit(t), strace, "-f", "-xx", "-s", "4096", "-e", "trace=openat,write,pwrite64,fdatasync,fsync,renameat,renameat2,rename", "-o", log, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d|%s", childEnv, url, r.Path, r.Size, r.SHA256))
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") {
			t.Skipf("strace may not trace here: %s", out)
		}
		t.Fatalf("%v: %.300s", err, out)
	}
	arrived(t, r, o.data)
	d := disk{part: "none", journal: "none"}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	unfinished := map[string]string{} // by thread
	for i, line := range strings.Split(string(b), "\n") {
		pid, _, _ := strings.Cut(line, " ")
		if head, ok := strings.CutSuffix(line, " <unfinished ...>"); ok {
			unfinished[pid] = head
			continue
		}
		if _, tail, ok := strings.Cut(line, " resumed>"); ok {
			line = unfinished[pid] + tail
		}
		if err := d.step(plainPaths(line)); err != nil {
			t.Fatalf("call %d: %v: %.200s", i, err, line)
		}
	}
	t.Logf("%d writes, %d records of the journal", d.cuts, d.records)
	if d.written != 8<<20 || d.records < 8 || !d.placed {
		t.Errorf("the trace is not that of the download: %+v", d)
	}
}

// plainPaths undoes strace -xx for the calls that name files.
func plainPaths(line string) string {
	if !strings.Contains(line, "open") && !strings.Contains(line, "rename") {
		return line
	}
	return quoted.ReplaceAllStringFunc(line, func(q string) string {
		b, err := hex.DecodeString(strings.ReplaceAll(strings.Trim(q, `"`), `\x`, ""))
		if err != nil {
			return q
		}
		return strconv.Quote(string(b))
	})
}

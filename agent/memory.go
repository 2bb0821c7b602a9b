package agent

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// When memory that is no longer needed is handed back: what a start takes (settings, keys, metadata, the outbox's check) is not what a
// quiet day takes, and neither is what an update takes.
const (
	tidyFirst = 30 * time.Second
	tidyAgain = time.Minute // between two of them, whatever happens
	tidyLook  = 5 * time.Second
)

// tidy hands memory back once the start is over, and after each change of a model.
func (a *Agent) tidy(ctx context.Context) error {
	t := time.NewTimer(tidyFirst)
	defer t.Stop()
	seen := uint64(0)
	for last := (time.Time{}); ; t.Reset(tidyLook) {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		ended := a.changesEnded()
		if !last.IsZero() && (ended == seen || time.Since(last) < tidyAgain) {
			continue
		}
		last, seen = time.Now(), ended
		debug.FreeOSMemory()
		if err := dropCode(); err != nil {
			a.log.Debug("code that is not in use stays in memory", "error", err)
		}
	}
}

// changesEnded counts the wishes for a model that came to an end, however.
func (a *Agent) changesEnded() (n uint64) {
	if a.updates == nil {
		return 0
	}
	for _, s := range a.updates.models.State() {
		n += s.Counts.Installed + s.Counts.Confirmed + s.Counts.Refused + s.Counts.RolledBack + s.Counts.Superseded
	}
	return n
}

// dropCode lets go of the pages of this program's own file; those in use come back from the page cache at the next step, in
// microseconds. A start touches nearly all of a Go binary, a quiet day a third: the kernel would find that out only when memory is short.
func dropCode() error {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer f.Close()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	parts, err := codeOf(bufio.NewScanner(f), self)
	for _, p := range parts {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, p.from, p.size, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return err
}

// span is a part of the address space.
type span struct{ from, size uintptr }

// codeOf finds the mappings of the file self that nobody can have written to: read-only, private, and without a page of their own (one that
// was relocated or that a debugger has changed would be lost).
func codeOf(smaps *bufio.Scanner, self string) (parts []span, err error) {
	var now span
	ours := false
	for smaps.Scan() {
		f := strings.Fields(smaps.Text())
		if len(f) >= 5 && strings.Contains(f[0], "-") && !strings.HasSuffix(f[0], ":") {
			ours = len(f) == 6 && f[5] == self && (f[1] == "r-xp" || f[1] == "r--p")
			from, to, _ := strings.Cut(f[0], "-")
			a, err1 := strconv.ParseUint(from, 16, 64)
			b, err2 := strconv.ParseUint(to, 16, 64)
			if err1 != nil || err2 != nil || b < a {
				return nil, fmt.Errorf("smaps: %.80q", smaps.Text())
			}
			now = span{uintptr(a), uintptr(b - a)}
		}
		if ours && len(f) >= 2 && f[0] == "Anonymous:" && f[1] == "0" {
			parts = append(parts, now)
		}
	}
	return parts, smaps.Err()
}

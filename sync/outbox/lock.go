package outbox

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// openLocked opens a file and takes its lock, so that no one else works on it until it is closed. Whoever held the lock may have put another file
// in this one's place meanwhile (compaction does, and setting a damaged file aside): a lock counts only while the name still leads to what was locked.
func openLocked(path string, how int, wait time.Duration) (*os.File, error) {
	for until := time.Now().Add(wait); ; time.Sleep(50 * time.Millisecond) {
		if err := plain(path); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, how, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && named(f, path) {
			return f, nil
		}
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if time.Now().After(until) {
			holder := lockHolder(f)
			f.Close()
			return nil, fmt.Errorf("%s: %w%s; stop that one, or use another outbox.path", path, ErrLocked, holder)
		}
		f.Close()
	}
}

// plain refuses what is there and no file: a device or a pipe cannot be read as an outbox, and must not be set aside as a damaged one.
func plain(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().IsRegular() {
		return nil // what is not there, or cannot be looked at, is for whoever opens it to say
	}
	what := "a special file"
	switch {
	case info.IsDir():
		what = "a folder"
	case info.Mode()&os.ModeDevice != 0:
		what = "a device"
	case info.Mode()&os.ModeNamedPipe != 0:
		what = "a pipe"
	}
	return fmt.Errorf("%s is %s and no file; correct outbox.path", path, what)
}

// named tells whether path leads to f.
func named(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// lockHolder says who holds the lock on f, as far as the kernel tells: " (process 812, heron)" or nothing.
func lockHolder(f *os.File) string {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return ""
	}
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	dev := uint64(st.Dev) // 32 bits on some machines
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(dev), unix.Minor(dev), st.Ino)
	for line := range strings.Lines(string(b)) {
		if w := strings.Fields(line); len(w) > 5 && w[1] == "FLOCK" && w[5] == want {
			name, _ := os.ReadFile("/proc/" + w[4] + "/comm")
			return fmt.Sprintf(" (process %s, %s)", w[4], strings.TrimSpace(string(name)))
		}
	}
	return ""
}

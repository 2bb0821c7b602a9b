package outbox

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

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

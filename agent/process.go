package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is what the kernel says of one process.
type process struct {
	rss int64         // resident bytes
	cpu time.Duration // user and system
}

// readProcess reads /proc/PID/stat; the zero value when it is gone. Fields: proc(5).
func readProcess(pid int) (p process) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return p
	}
	text := string(b)
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the name may hold spaces; f[0] is field 3
	if len(f) < 22 {
		return p
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	pages, _ := strconv.ParseInt(f[21], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Heron runs on
	return process{rss: pages * int64(os.Getpagesize()), cpu: time.Duration(user+system) * tick}
}

// diskFree is what an ordinary user may still write on the file system of path.
func diskFree(path string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(filepath.Dir(path), &st) != nil {
		return 0
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

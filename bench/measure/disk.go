package measure

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Disk is a folder whose device's writes are counted. As root it is an ext4 of its own in a loop-mounted file, so that nobody
// else's writes are counted; otherwise it is a folder on the machine's disk, and only an idle machine gives a true figure.
type Disk struct {
	Dir    string
	Alone  bool // nobody else writes to the device
	mounts bool
	image  string
}

// NewDisk makes a disk of size bytes under dir. Call Close.
func NewDisk(dir, name string, size int64) (*Disk, error) {
	d := &Disk{Dir: filepath.Join(dir, name), image: filepath.Join(dir, name+".img")}
	d.Close() // what an interrupted run left
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return d, nil
	}
	if err := makeImage(d.image, size); err != nil {
		return nil, err
	}
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.Dir).CombinedOutput(); err != nil {
		Log("no loop device here (%s): the whole disk is counted", strings.TrimSpace(string(out)))
		_ = os.Remove(d.image)
		return d, nil
	}
	d.Alone, d.mounts = true, true
	return d, nil
}

func makeImage(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	// Without the lazy work that ext4 otherwise does in the background after the first mount.
	out, err := exec.Command("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return nil
}

// Close unmounts and removes the disk.
func (d *Disk) Close() {
	_ = unix.Unmount(d.Dir, 0) // EINVAL when it is no mount: then there is nothing to undo
	_ = os.RemoveAll(d.Dir)
	_ = os.Remove(d.image)
}

// Written flushes the file system and returns the bytes that its device was given since boot, journal included.
func (d *Disk) Written() int64 {
	if f, err := os.Open(d.Dir); err == nil {
		_ = unix.Syncfs(int(f.Fd()))
		f.Close()
	}
	var st syscall.Stat_t
	if syscall.Stat(d.Dir, &st) != nil {
		return 0
	}
	major, minor := fmt.Sprint(unix.Major(st.Dev)), fmt.Sprint(unix.Minor(st.Dev))
	b, _ := os.ReadFile("/proc/diskstats")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 9 && f[0] == major && f[1] == minor {
			n, _ := strconv.ParseInt(f[9], 10, 64)
			return n * 512
		}
	}
	return 0
}

//go:build linux

package openvino

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// seal puts bytes into a file without a place in any folder, which nobody can change, and which can be opened by its name as long as
// it is not closed; what is mapped stays.
func seal(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("heron-model", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd))
	if _, err := f.Write(b); err != nil {
		_ = f.Close() // the write's error matters
		return nil, fmt.Errorf("write the model into memory: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("seal the model in memory: %w", err)
	}
	return f, nil
}

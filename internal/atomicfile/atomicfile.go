// Package atomicfile writes a small file so that a reader, or a power cut, finds the old content or the new one and never a mixture.
package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Write puts data at path: written beside it, synced, renamed over it, and the folder synced.
func Write(path string, data []byte, perm fs.FileMode) error {
	if err := renameio.WriteFile(path, data, perm); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes renames and removals inside dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// maxRead is more than any settings, key or certificate has.
const maxRead = 1 << 20

// Read reads a regular file of at most 1 MiB: a wrong path (a device, a film) must neither fill the memory nor wait for ever.
func Read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRead {
		return nil, fmt.Errorf("%s: not a regular file of at most %d bytes", path, maxRead)
	}
	return os.ReadFile(path)
}

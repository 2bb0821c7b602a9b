// Package atomicfile writes a small file so that a reader, or a power cut, finds the old content or the new one and never a mixture.
package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

// Secret reads a file that holds one line, such as a password, without its line break. The error never holds what was read.
func Secret(path string) (string, error) {
	b, err := Read(path)
	if err != nil {
		return "", err
	}
	line := strings.TrimRight(string(b), "\r\n")
	switch {
	case line == "":
		return "", fmt.Errorf("%s is empty: write the password into it, one line", path)
	case strings.HasPrefix(line, "\xef\xbb\xbf"), strings.HasPrefix(line, "\xff\xfe"), strings.HasPrefix(line, "\xfe\xff"):
		return "", fmt.Errorf("%s begins with a byte order mark, which would be part of it: save it as plain UTF-8 without one", path)
	}
	return line, nil
}

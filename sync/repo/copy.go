package repo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"heron/internal/atomicfile"
)

func measure(file string) (size int64, sum []byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err == nil && size == 0 {
		err = fmt.Errorf("%s is empty", file)
	}
	return size, h.Sum(nil), err
}

func digest(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}

// copyIn puts the bundle where clients look for it, checking that it still is what was measured.
func (r *Repo) copyIn(file, name string, size int64, sum []byte) error {
	final := r.path(targetsDir, filepath.FromSlash(name))
	if n, have, err := measure(final); err == nil && n == size && bytes.Equal(have, sum) {
		return nil
	}
	if err := makeDir(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp, err := os.CreateTemp(filepath.Dir(final), ".unverified-*")
	if err != nil {
		return err
	}
	defer func() { _ = tmp.Close(); _ = os.Remove(tmp.Name()) }() // both fail after the rename
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(tmp, h), in)
	if err != nil {
		return err
	}
	if n != size || !bytes.Equal(h.Sum(nil), sum) {
		return fmt.Errorf("%s changed while it was being added", file)
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), final); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(final))
}

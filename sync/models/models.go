// Package models brings model bundles to where heron-vision can read them: a folder with manifest.json, weights and labels.
//
// An archive is treated as hostile: it is unpacked within bounds, into a folder named after its digest, which appears whole or not at all.
package models

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"heron/internal/atomicfile"
)

const (
	manifestName = "manifest.json"
	tempPrefix   = ".unpack-"
	lockName     = ".lock"
	lockPatience = 60 * time.Second // far longer than unpacking the largest archive takes
)

// Open returns the folder of the bundle at path. A folder is returned as it is. A .tar.zst archive is unpacked into
// cacheDir (made where it is missing) under its SHA-256; the same archive is unpacked once, and once more where the disk
// has damaged what was unpacked. What an interrupted Open left behind, the next one removes. Several processes may share a cacheDir.
func Open(path, cacheDir string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("model bundle %s: there is no such folder or file; put the bundle there, or correct the path", path)
	case err != nil:
		return "", fmt.Errorf("model bundle: %w", err)
	case info.IsDir():
		return path, nil
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("model bundle %s: it is neither a folder nor a regular file; name a folder or a .tar.zst archive", path)
	}
	dir, err := openArchive(path, cacheDir, defaultLimits())
	if err != nil {
		return "", fmt.Errorf("model bundle %s: %w", path, err)
	}
	return dir, nil
}

func openArchive(path, cacheDir string, lim limits) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	digest, err := digestOf(f, lim)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cacheDir, digest)
	if whole(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for unpacked bundles: %w", err)
	}
	unlock, err := lock(filepath.Join(cacheDir, lockName), lockPatience)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := sweep(cacheDir); err != nil {
		return "", err
	}
	if whole(dir) { // somebody else was faster
		return dir, nil
	}
	return dir, install(f, digest, cacheDir, dir, lim)
}

// whole is true for a folder that was moved into place, which happens only after everything in it was written and synced, and whose files are
// still what its manifest says, where it says so: the archive is at hand, and a card that forgets a bit must not cost the device its model.
func whole(dir string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	b, err := readPlain(root, manifestName, maxManifest)
	if err != nil {
		return false
	}
	var m manifest
	if json.Unmarshal(b, &m) != nil {
		return false
	}
	return !slices.ContainsFunc(m.Files, func(f manifestFile) bool { return f.check(root, false) != nil })
}

// named is true for a folder with a manifest, whatever it says.
func named(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, manifestName))
	return err == nil && info.Mode().IsRegular()
}

// digestOf reads the whole archive and leaves it at its beginning.
func digestOf(f *os.File, lim limits) (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, lim.archive+1))
	if err != nil {
		return "", fmt.Errorf("read the archive: %w", err)
	}
	if n > lim.archive {
		return "", fmt.Errorf("the archive is larger than %d MiB", lim.archive>>20)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("read the archive again: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// install unpacks aside, checks, syncs and moves into place.
func install(f io.Reader, digest, cacheDir, dir string, lim limits) error {
	tmp, err := os.MkdirTemp(cacheDir, tempPrefix)
	if err != nil {
		return fmt.Errorf("make a folder to unpack into: %w", err)
	}
	defer os.RemoveAll(tmp) // after the move it is not there any more
	h := sha256.New()
	if err := unpack(io.TeeReader(f, h), tmp, lim); err != nil {
		return err
	}
	if _, err := io.Copy(h, f); err != nil { // whatever the decoder did not need
		return fmt.Errorf("read the archive: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != digest {
		return errors.New("the archive changed while it was read; try again when it is complete")
	}
	if !named(tmp) {
		return fmt.Errorf("the archive has no %s at its top; pack the content of the bundle's folder, not the folder", manifestName)
	}
	if err := syncTree(tmp); err != nil {
		return fmt.Errorf("sync the unpacked bundle: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil { // something without a manifest, or damaged, is in the way
		return fmt.Errorf("clear the place of the bundle: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("move the bundle into place: %w", err)
	}
	if err := atomicfile.SyncDir(cacheDir); err != nil {
		return fmt.Errorf("sync the folder for unpacked bundles: %w", err)
	}
	return nil
}

// syncTree makes the entries of all folders durable (the files are synced as they are written) and the tree readable for heron-vision's user.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if err := os.Chmod(path, 0o755); err != nil {
			return err
		}
		return atomicfile.SyncDir(path)
	})
}

// sweep removes what interrupted unpacking left behind. The lock must be held.
func sweep(cacheDir string) error {
	entries, err := os.ReadDir(cacheDir)
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(cacheDir, e.Name())); err != nil {
			return fmt.Errorf("remove a leftover: %w", err)
		}
	}
	return nil
}

// lock keeps other processes, and other callers in this one, from unpacking into the same folder.
func lock(path string, patience time.Duration) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the folder for unpacked bundles: %w", err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		switch err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return func() { _ = f.Close() }, nil // closing lets go
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case time.Now().After(end):
			_ = f.Close()
			return nil, fmt.Errorf("another process has held %s for %v; end it and try again", path, patience)
		}
	}
}

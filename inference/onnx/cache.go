package onnx

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cacheEnv names the folder for what can be made again.
const cacheEnv = "HERON_CACHE"

// Bounds on the compiled models that are kept.
const (
	cacheBytes  = 1 << 30
	cacheModels = 16
)

// cache keeps what TensorRT compiled: a folder for each key below root.
type cache struct{ root string }

func newCache(getenv func(string) string) (cache, error) {
	if dir := getenv(cacheEnv); dir != "" {
		return cache{filepath.Join(dir, "tensorrt")}, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return cache{}, fmt.Errorf("find this user's cache folder: %w", err)
	}
	return cache{filepath.Join(dir, "heron", "tensorrt")}, nil
}

// key names what TensorRT compiles: it serves this very model with this runtime, driver and device, and nothing else.
func key(model, runtime, driver string, device []string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{model, runtime, driver}, device...), "\x00")))
	return hex.EncodeToString(sum[:16])
}

// folder makes the key's folder, marks it used now and removes those that were not used for longest, as long as there are too many.
func (c cache) folder(key string) (string, error) {
	dir := filepath.Join(c.root, key)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	now := time.Now()
	return dir, errors.Join(os.Chtimes(dir, now, now), c.trim(key, cacheBytes, cacheModels))
}

// trim leaves at most so many folders of at most so many bytes in all; the one in use stays.
func (c cache) trim(keep string, most int64, models int) error {
	entries, err := os.ReadDir(c.root)
	if err != nil {
		return err
	}
	type kept struct {
		path string
		used time.Time
		size int64
	}
	var all []kept
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another process removed it
		}
		path := filepath.Join(c.root, e.Name())
		if e.Name() == keep {
			most, models = most-size(path), models-1
			continue
		}
		all = append(all, kept{path, info.ModTime(), size(path)})
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(b.used.Compare(a.used), strings.Compare(a.path, b.path)) })
	for i, k := range all {
		if most -= k.size; i < models && most >= 0 {
			continue
		}
		err = errors.Join(err, os.RemoveAll(k.path))
	}
	return err
}

// size is what a folder's files take; what cannot be read counts as nothing.
func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // every error is passed over below
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}

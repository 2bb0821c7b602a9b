package repo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"heron/internal/atomicfile"
)

func parent(path string) string { return filepath.Dir(filepath.Clean(path)) }

func (r *Repo) stagedFiles() ([]string, error) {
	return filepath.Glob(r.path(stagedDir, "*.json"))
}

// stage keeps the edited roles with the signatures they have: until others have signed, or until they are public. The folder appears
// whole; in one that is there only signatures are added.
func (r *Repo) stage(c *change) error {
	there, err := r.stagedFiles()
	if err != nil {
		return err
	}
	dir := r.path(stagedDir)
	if len(there) == 0 {
		if dir, err = os.MkdirTemp(r.conf.Dir, ".staged-*"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }() // gone after the rename
	}
	for _, role := range c.roles() {
		if err := write(c.sheet(role), filepath.Join(dir, role+".json")); err != nil {
			return fmt.Errorf("staging %s: %w", role, err)
		}
	}
	if len(there) > 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := os.Rename(dir, r.path(stagedDir)); err != nil {
		return err
	}
	return atomicfile.SyncDir(r.conf.Dir)
}

// staged reads a change back; nothing is edited where none waits.
func (r *Repo) staged() (*change, error) {
	files, err := r.stagedFiles()
	if err != nil {
		return nil, err
	}
	s, err := r.published()
	if err != nil {
		return nil, err
	}
	c := r.changing(s)
	for _, file := range files {
		role := strings.TrimSuffix(filepath.Base(file), ".json")
		if role == metadata.ROOT {
			c.root, err = read[metadata.RootType](file)
			if err == nil && c.root.Signed.Version == c.oldRoot.Signed.Version && c.root.Signed.Version > 1 { // cut short after root
				c.oldRoot, err = read[metadata.RootType](r.metadataPath(role, c.root.Signed.Version-1))
			}
		} else {
			c.targets[role], err = read[metadata.TargetsType](file)
		}
		if err != nil {
			return nil, err
		}
		c.edited[role] = true
	}
	return c, nil
}

// dropStaged lets the staged folder disappear at once.
func (r *Repo) dropStaged() error {
	if _, err := os.Lstat(r.path(stagedDir)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(r.path(droppedDir)); err != nil {
		return err
	}
	if err := os.Rename(r.path(stagedDir), r.path(droppedDir)); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(r.conf.Dir); err != nil {
		return err
	}
	return os.RemoveAll(r.path(droppedDir))
}

// sweep removes what a process that was killed has left half written.
func (r *Repo) sweep() error {
	var err error
	for _, pattern := range []string{droppedDir, ".staged-*", "." + settingsFile + "*", stagedDir + "/.*.json*", metadataDir + "/.*.json*", targetsDir + "/*/.unverified-*", keysDir + "/.*.key*"} {
		left, globErr := filepath.Glob(r.path(filepath.FromSlash(pattern)))
		err = errors.Join(err, globErr)
		for _, path := range left {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

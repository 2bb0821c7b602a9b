package repo

import (
	"bytes"
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

// public says whether a device can find the staged roles, byte for byte: the publication came to its last file.
func (r *Repo) public(c *change, s *state) bool {
	for _, role := range c.roles() {
		if role != metadata.ROOT && (s.targets[role] == nil || s.version(role) != c.version(role)) {
			return false
		}
		want, err := c.sheet(role).ToBytes(false)
		have, readErr := os.ReadFile(r.metadataPath(role, c.version(role)))
		if err != nil || readErr != nil || !bytes.Equal(want, have) {
			return false
		}
	}
	return true
}

// resume finishes a staged change that has all its signatures: its publication was cut short, or the last of them was given where the keys
// of snapshot and timestamp are not. done: there was one. ErrStaged: it still waits.
func (r *Repo) resume() (res Result, done bool, err error) {
	c, err := r.staged()
	if err != nil || len(c.edited) == 0 {
		return Result{}, false, err
	}
	if m := r.missing(c); len(m) > 0 {
		return Result{}, false, fmt.Errorf("%w: %s needs %d more of %s; sign it (heron fleet repo sign) or drop it (heron fleet repo sign --discard) first",
			ErrStaged, m[0].Role, m[0].Need, strings.Join(m[0].From, ", "))
	}
	s, err := r.published()
	if err != nil {
		return Result{}, false, err
	}
	switch {
	case r.conf.DryRun:
		res, err = r.finish(c, false)
		res.Note = "would finish the change that was cut short"
		return res, true, err
	case r.public(c, s):
		res, err = c.result, r.dropStaged()
		res.Published, res.Note = err == nil, "the change that was cut short is public; run the command again for another"
		return res, true, err
	}
	res, err = r.finish(c, false)
	if err == nil {
		res.Note = "published the change that was cut short: " + strings.Join(res.Changed, ", ") + "; run the command again for another"
	}
	return res, true, err
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

// Sign adds the signatures of the keys at hand to what is staged, and publishes it when they are enough.
func (r *Repo) Sign() (Result, error) {
	c, err := r.staged()
	if err != nil {
		return Result{}, err
	}
	if len(c.edited) == 0 {
		c.result.Note = "nothing is staged"
		return c.result, nil
	}
	s, err := r.published()
	if err != nil {
		return c.result, err
	}
	if r.public(c, s) {
		res := c.result
		res.Note = "what was staged is public"
		if r.conf.DryRun {
			return res, nil
		}
		return res, r.dropStaged()
	}
	c.result.Notes = r.describe(c, s)
	return r.finish(c, true)
}

// Discard drops what is staged, unless devices may have it already. Bundles that it was about stay in targets/, where nothing points at them.
func (r *Repo) Discard() (Result, error) {
	c, err := r.staged()
	if err != nil {
		return Result{}, err
	}
	res := Result{DryRun: r.conf.DryRun, Note: fmt.Sprintf("%d staged roles dropped", len(c.edited))}
	s, err := r.published()
	if err != nil {
		return Result{}, err
	}
	for _, role := range c.roles() {
		if (role == metadata.ROOT || s.targets[role] != nil) && s.version(role) == c.version(role) {
			return Result{}, fmt.Errorf("%s %d is public already: its publication was cut short; finish it (heron fleet repo sign)", role, c.version(role))
		}
	}
	if r.conf.DryRun {
		return res, nil
	}
	return res, r.dropStaged()
}

package repo

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"heron/internal/atomicfile"
)

// InitOptions are the choices of the ceremony.
type InitOptions struct {
	RootKeys         int
	Threshold        int // of the root keys, for every later change of root
	TargetsKeys      int // 0: one
	TargetsThreshold int
	Expiry           Expiry
}

// mostKeys of one role.
const mostKeys = 16

func checkRing(role string, keys, threshold int) error {
	if keys < 1 || keys > mostKeys || threshold < 1 || threshold > keys {
		return misuse("%d keys of %s with a threshold of %d; 1 to %d keys, and a threshold no higher", keys, role, threshold, mostKeys)
	}
	return nil
}

// Init makes keys, first metadata and folders, in a folder beside the final one that takes its name when everything is there.
func Init(conf Config, o InitOptions) (Result, error) {
	if o.TargetsKeys == 0 && o.TargetsThreshold == 0 {
		o.TargetsKeys, o.TargetsThreshold = 1, 1
	}
	if err := errors.Join(checkRing(metadata.ROOT, o.RootKeys, o.Threshold), checkRing(metadata.TARGETS, o.TargetsKeys, o.TargetsThreshold), o.Expiry.validate()); err != nil {
		return Result{}, err
	}
	if left, err := os.ReadDir(conf.Dir); err == nil && len(left) > 0 {
		return Result{}, misuse("%s is not empty; name another folder with --repo", conf.Dir)
	}
	final := filepath.Clean(conf.Dir)
	if !conf.DryRun {
		tmp, err := os.MkdirTemp(filepath.Dir(final), ".heron-repo-*")
		if err != nil {
			return Result{}, err
		}
		defer func() { _ = os.RemoveAll(tmp) }() // gone after the rename
		conf.Dir = tmp
	}
	r := fresh(conf)
	r.settings = settings{V: 1, Expiry: o.Expiry}
	result, err := r.firstVersion(o)
	if err != nil || conf.DryRun {
		return result, err
	}
	if err := os.Rename(conf.Dir, final); err != nil {
		return result, err
	}
	return result, atomicfile.SyncDir(filepath.Dir(final))
}

func (r *Repo) firstVersion(o InitOptions) (Result, error) {
	r.keys.keys = map[string]*key{}
	c := r.changing(&state{targets: map[string]*metadata.Metadata[metadata.TargetsType]{}})
	c.root, c.edited[metadata.ROOT] = metadata.Root(r.until(o.Expiry.Root)), true
	r.editTargets(c, metadata.TARGETS)
	for _, role := range []struct {
		name            string
		keys, threshold int
	}{{metadata.ROOT, o.RootKeys, o.Threshold}, {metadata.TARGETS, o.TargetsKeys, o.TargetsThreshold}, {metadata.SNAPSHOT, 1, 1}, {metadata.TIMESTAMP, 1, 1}} {
		c.root.Signed.Roles[role.name].Threshold = role.threshold
		for range role.keys {
			k, err := r.keys.generate(role.name, r.conf.DryRun)
			if err != nil {
				return c.result, err
			}
			c.result.NewKeys = append(c.result.NewKeys, k.file.Name)
			if err := c.root.Signed.AddKey(k.pub, role.name); err != nil {
				return c.result, err
			}
		}
	}
	if !r.conf.DryRun {
		if err := errors.Join(makeDir(r.path(publicDir), 0o755), makeDir(r.path(targetsDir), 0o755), r.saveSettings(), os.Chmod(r.conf.Dir, 0o755)); err != nil {
			return c.result, err
		}
	}
	return r.finish(c, true) // every holder is at the table: all of them sign the first root
}

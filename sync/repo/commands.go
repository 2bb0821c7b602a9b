package repo

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"heron/internal/atomicfile"
)

// InitOptions are the choices of the ceremony.
type InitOptions struct {
	RootKeys  int
	Threshold int // of the root keys, for every later change of root
	Expiry    Expiry
}

// Init makes keys, first metadata and folders, in a folder beside the final one that takes its name when everything is there.
func Init(conf Config, o InitOptions) (Result, error) {
	if o.RootKeys < 1 || o.RootKeys > 16 || o.Threshold < 1 || o.Threshold > o.RootKeys {
		return Result{}, fmt.Errorf("%d root keys with a threshold of %d; 1 to 16 keys, and a threshold no higher", o.RootKeys, o.Threshold)
	}
	if err := o.Expiry.validate(); err != nil {
		return Result{}, err
	}
	if left, err := os.ReadDir(conf.Dir); err == nil && len(left) > 0 {
		return Result{}, fmt.Errorf("%s is not empty", conf.Dir)
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
	c := &change{state: &state{root: metadata.Root(r.until(o.Expiry.Root)), targets: map[string]*metadata.Metadata[metadata.TargetsType]{}},
		edited: map[string]bool{metadata.ROOT: true}, result: Result{DryRun: r.conf.DryRun}}
	r.editTargets(c, metadata.TARGETS)
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		n := 1
		if role == metadata.ROOT {
			n = o.RootKeys
			c.root.Signed.Roles[role].Threshold = o.Threshold
		}
		for range n {
			k, err := r.newKey(c, role)
			if err != nil {
				return c.result, err
			}
			if err := c.root.Signed.AddKey(k.pub, role); err != nil {
				return c.result, err
			}
		}
	}
	if !r.conf.DryRun {
		data, err := json.MarshalIndent(r.settings, "", " ")
		if err != nil {
			return c.result, err
		}
		if err := errors.Join(os.MkdirAll(r.path(targetsDir), 0o755), atomicfile.Write(r.path(settingsFile), append(data, '\n'), 0o644),
			os.Chmod(r.conf.Dir, 0o755)); err != nil {
			return c.result, err
		}
	}
	return r.finish(c, true) // every holder is at the table: all of them sign the first root
}

func (r *Repo) newKey(c *change, role string) (*key, error) {
	k, err := r.keys.generate(role, r.conf.DryRun)
	if err == nil {
		c.result.NewKeys = append(c.result.NewKeys, k.file.Name)
	}
	return k, err
}

// delegate gives a family its own key and its own names.
func (r *Repo) delegate(c *change, family string) error {
	k, err := r.newKey(c, family)
	if err != nil {
		return err
	}
	targets := r.editTargets(c, metadata.TARGETS)
	if targets.Delegations == nil {
		targets.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	targets.Delegations.Keys[k.id] = k.pub
	targets.Delegations.Roles = append(targets.Delegations.Roles,
		metadata.DelegatedRole{Name: family, KeyIDs: []string{k.id}, Threshold: 1, Terminating: true, Paths: []string{family + "/*"}})
	return nil
}

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
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
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
	return r.finish(c, true)
}

// Discard drops what is staged. Bundles that it was about stay in targets/, where nothing points at them.
func (r *Repo) Discard() (Result, error) {
	files, err := r.stagedFiles()
	if err != nil {
		return Result{}, err
	}
	res := Result{DryRun: r.conf.DryRun, Note: fmt.Sprintf("%d staged roles dropped", len(files))}
	if r.conf.DryRun {
		return res, nil
	}
	return res, r.dropStaged()
}

// Rotate replaces a key of a role: replace names it, and may be empty where the role has one key. A new root carries it, signed by the
// old keys and the new; a family's key is carried by targets.
func (r *Repo) Rotate(role, replace string) (Result, error) {
	c, err := r.begin()
	if err != nil {
		return Result{}, err
	}
	if c.root.Signed.Roles[role] != nil {
		err = r.rotateTop(c, role, replace)
	} else {
		err = r.rotateFamily(c, role, replace)
	}
	if err != nil {
		return c.result, err
	}
	return r.finish(c, false)
}

func (r *Repo) rotateTop(c *change, role, replace string) error {
	old, err := r.replaced(role, replace, c.root.Signed.Roles[role].KeyIDs)
	if err != nil {
		return err
	}
	k, err := r.newKey(c, role)
	if err != nil {
		return err
	}
	root := r.editRoot(c)
	if err := errors.Join(root.AddKey(k.pub, role), root.RevokeKey(old, role)); err != nil {
		return err
	}
	if role == metadata.TARGETS {
		r.editTargets(c, role) // must be signed by the new key
	}
	return nil
}

func (r *Repo) rotateFamily(c *change, family, replace string) error {
	targets := c.targets[metadata.TARGETS].Signed.Delegations
	i := -1
	if targets != nil {
		i = slices.IndexFunc(targets.Roles, func(d metadata.DelegatedRole) bool { return d.Name == family })
	}
	if i < 0 {
		return fmt.Errorf("there is no role %q: root, targets, snapshot, timestamp, or a family that has a target", family)
	}
	old, err := r.replaced(family, replace, targets.Roles[i].KeyIDs)
	if err != nil {
		return err
	}
	k, err := r.newKey(c, family)
	if err != nil {
		return err
	}
	doc := r.editTargets(c, metadata.TARGETS)
	r.editTargets(c, family)
	return errors.Join(doc.AddKey(k.pub, family), doc.RevokeKey(old, family))
}

func (r *Repo) replaced(role, replace string, ids []string) (string, error) {
	if replace != "" {
		return r.keys.named(replace, ids)
	}
	if len(ids) != 1 {
		return "", fmt.Errorf("%s has %d keys; name the one to replace with --replace (%s)", role, len(ids), strings.Join(r.keys.names(ids), ", "))
	}
	return ids[0], nil
}

// Refresh signs timestamp anew, snapshot where less than half of its life is left, and the roles that are named. It may run while a
// change is staged, unless it names roles.
func (r *Repo) Refresh(roles []string) (Result, error) {
	s, err := r.published()
	if err != nil {
		return Result{}, err
	}
	c := &change{state: s, oldRoot: s.root, edited: map[string]bool{}, result: Result{DryRun: r.conf.DryRun}}
	if len(roles) > 0 {
		if c, err = r.begin(); err != nil {
			return Result{}, err
		}
	}
	for _, role := range roles {
		switch {
		case role == metadata.ROOT:
			r.editRoot(c)
		case c.targets[role] != nil:
			r.editTargets(c, role)
		case role == metadata.SNAPSHOT:
			c.snapshot.Signed.Expires = r.conf.Now()
		case role != metadata.TIMESTAMP:
			return c.result, fmt.Errorf("there is no role %q", role)
		}
	}
	if len(roles) > 0 {
		return r.finish(c, false)
	}
	if r.conf.DryRun {
		c.result.Changed = []string{fmt.Sprintf("timestamp %d", c.timestamp.Signed.Version+1)}
		return c.result, nil
	}
	staged, err := r.stagedFiles()
	if err != nil {
		return c.result, err
	}
	if len(staged) > 0 {
		return r.republish(c)
	}
	return r.publish(c)
}

// republish renews what is published and leaves what is staged alone.
func (r *Repo) republish(c *change) (Result, error) {
	if err := errors.Join(r.makeSnapshot(c), r.makeTimestamp(c)); err != nil {
		return c.result, err
	}
	err := errors.Join(write(c.snapshot, r.path(metadataDir, fmt.Sprintf("%d.snapshot.json", c.snapshot.Signed.Version))),
		write(c.timestamp, r.path(metadataDir, "timestamp.json")))
	c.result.Published = err == nil
	return c.result, err
}

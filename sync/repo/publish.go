package repo

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"heron/internal/atomicfile"
)

// finish signs what it can, and publishes if that is enough; else the change is staged.
func (r *Repo) finish(c *change, allKeys bool) (Result, error) {
	for _, role := range c.roles() {
		c.result.Changed = append(c.result.Changed, fmt.Sprintf("%s %d", role, c.version(role)))
		if r.conf.DryRun {
			continue
		}
		if err := r.signRole(c, role, allKeys); err != nil {
			return c.result, err
		}
	}
	c.result.Missing = r.missing(c)
	switch {
	case r.conf.DryRun:
		return c.result, nil
	case len(c.result.Missing) > 0 && len(c.edited) > 0:
		return c.result, r.stage(c)
	}
	return r.publish(c)
}

// publish makes snapshot and timestamp for the change, stages it whole, and only then writes file by file what devices read. Whoever
// finds it cut short finds everything staged, and finishes it (resume).
func (r *Repo) publish(c *change) (Result, error) {
	if err := c.verify(); err != nil {
		return c.result, err
	}
	if err := r.makeSnapshot(c); err != nil {
		return c.result, err
	}
	if err := r.makeTimestamp(c); err != nil {
		return c.result, err
	}
	if len(c.edited) > 0 {
		if err := r.stage(c); err != nil {
			return c.result, err
		}
	}
	if err := makeDir(r.path(metadataDir), 0o755); err != nil {
		return c.result, err
	}
	for _, role := range c.order() {
		if err := write(c.sheet(role), r.metadataPath(role, c.version(role))); err != nil {
			return c.result, fmt.Errorf("publishing %s: %w", role, err)
		}
	}
	c.result.Published = true
	if len(c.edited) == 0 {
		return c.result, nil
	}
	return c.result, r.dropStaged()
}

// order is that of publishing: what is pointed at before what points. A new root is pointed at by nothing: devices see it as soon as it is
// there. So it comes after everything that is good under the old root as well; where an old key was not here to say so, it comes just
// before timestamp, and devices that ask between the two are refused until timestamp is there.
func (c *change) order() (out []string) {
	for _, role := range c.roles() {
		if role != metadata.ROOT {
			out = append(out, role)
		}
	}
	if c.made[metadata.SNAPSHOT] {
		out = append(out, metadata.SNAPSHOT)
	}
	switch {
	case !c.edited[metadata.ROOT]:
		return append(out, metadata.TIMESTAMP)
	case c.bridged():
		return append(out, metadata.TIMESTAMP, metadata.ROOT)
	}
	c.result.Notes = append(c.result.Notes, "not every old key could sign the new metadata too: until root and timestamp.json are both uploaded, devices install nothing")
	return append(out, metadata.ROOT, metadata.TIMESTAMP)
}

// makeSnapshot lists every targets role; it is made anew when one has changed, when root has, or when it is due.
func (r *Repo) makeSnapshot(c *change) error {
	if len(c.edited) == 0 && !r.due(c.snapshot.Signed.Expires, r.settings.Expiry.Snapshot) && c.root.VerifyDelegate(metadata.SNAPSHOT, c.snapshot) == nil {
		return nil
	}
	doc := metadata.Snapshot(r.until(r.settings.Expiry.Snapshot))
	if c.snapshot != nil {
		doc.Signed.Version = r.freeVersion(metadata.SNAPSHOT, c.snapshot.Signed.Version+1)
	}
	doc.Signed.Meta = map[string]*metadata.MetaFiles{}
	for role, t := range c.targets {
		doc.Signed.Meta[role+".json"] = metadata.MetaFile(t.Signed.Version)
	}
	c.snapshot, c.made[metadata.SNAPSHOT] = doc, true
	c.result.Changed = append(c.result.Changed, fmt.Sprintf("snapshot %d", doc.Signed.Version))
	return r.signOnline(c, metadata.SNAPSHOT)
}

// due says whether less than half of a lifetime is left.
func (r *Repo) due(expires time.Time, lifetime time.Duration) bool {
	return expires.Sub(r.conf.Now()) < lifetime/2
}

func (r *Repo) makeTimestamp(c *change) error {
	data, err := c.snapshot.ToBytes(false)
	if err != nil {
		return err
	}
	doc := metadata.Timestamp(r.until(r.settings.Expiry.Timestamp))
	if c.timestamp != nil {
		doc.Signed.Version = c.timestamp.Signed.Version + 1
	}
	doc.Signed.UnrecognizedFields = map[string]any{issuedField: r.until(0).Format(time.RFC3339)}
	meta := metadata.MetaFile(c.snapshot.Signed.Version)
	meta.Length = int64(len(data))
	meta.Hashes = metadata.Hashes{"sha256": digest(data)}
	doc.Signed.Meta["snapshot.json"] = meta
	c.timestamp, c.made[metadata.TIMESTAMP] = doc, true
	c.result.Changed = append(c.result.Changed, fmt.Sprintf("timestamp %d", doc.Signed.Version))
	return r.signOnline(c, metadata.TIMESTAMP)
}

// makeDir makes a folder whose name survives a power cut.
func makeDir(path string, perm os.FileMode) error {
	err := os.Mkdir(path, perm)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return atomicfile.SyncDir(parent(path))
}

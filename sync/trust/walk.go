package trust

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// walk is the update workflow of the specification's chapter 5: root, timestamp, snapshot, targets, each verified with the one
// before and kept as soon as it is trusted.
func (c *Client) walk(ctx context.Context, now time.Time) (*set, error) {
	s := &set{now: now, targets: map[string]*metadata.Metadata[metadata.TargetsType]{}}
	for _, step := range []func(context.Context, *set) error{c.updateRoot, c.updateTimestamp, c.updateSnapshot} {
		if err := step(ctx, s); err != nil {
			return nil, err
		}
	}
	ring, err := ringOf(s.root, metadata.TARGETS)
	if err != nil {
		return nil, err
	}
	_, err = c.role(ctx, s, metadata.TARGETS, ring)
	return s, err
}

func (c *Client) updateTimestamp(ctx context.Context, s *set) error {
	ring, err := ringOf(s.root, metadata.TIMESTAMP)
	if err != nil {
		return err
	}
	old, err := parse[metadata.TimestampType](metadata.TIMESTAMP, c.store.read(metadata.TIMESTAMP))
	if err != nil || ring.check(metadata.TIMESTAMP, old) != nil {
		old = nil
	}
	data, err := c.get(ctx, "timestamp.json", maxTimestamp)
	if err != nil {
		return err
	}
	doc, err := parse[metadata.TimestampType](metadata.TIMESTAMP, data)
	if err != nil {
		return err
	}
	if err := ring.check(metadata.TIMESTAMP, doc); err != nil {
		return err
	}
	if err := notOlder(metadata.TIMESTAMP, doc.Signed.Version, c.clock.floor.Timestamp); err != nil {
		return err
	}
	if old != nil {
		if err := notOlder(metadata.TIMESTAMP, doc.Signed.Version, old.Signed.Version); err != nil {
			return err
		}
		if doc.Signed.Version == old.Signed.Version {
			s.timestamp = old // the same version is the same file, whatever it says now
			return s.expired(metadata.TIMESTAMP, old.Signed.Expires)
		}
		if err := notOlder("the snapshot that timestamp names", doc.Signed.Meta["snapshot.json"].Version, old.Signed.Meta["snapshot.json"].Version); err != nil {
			return err
		}
	}
	s.timestamp = doc
	if err := s.expired(metadata.TIMESTAMP, doc.Signed.Expires); err != nil {
		return err
	}
	return c.store.write(metadata.TIMESTAMP, data)
}

func notOlder(what string, version, than int64) error {
	if version < than {
		return fmt.Errorf("%w: %s is at %d, and was at %d", ErrRollback, what, version, than)
	}
	return nil
}

func (c *Client) updateSnapshot(ctx context.Context, s *set) error {
	ring, err := ringOf(s.root, metadata.SNAPSHOT)
	if err != nil {
		return err
	}
	want := s.timestamp.Signed.Meta["snapshot.json"]
	cached := c.store.read(metadata.SNAPSHOT)
	old, err := parse[metadata.SnapshotType](metadata.SNAPSHOT, cached)
	if err != nil || ring.check(metadata.SNAPSHOT, old) != nil {
		old = nil
	}
	if old != nil && old.Signed.Version == want.Version && want.VerifyLengthHashes(cached) == nil && s.expired(metadata.SNAPSHOT, old.Signed.Expires) == nil {
		s.snapshot = old
		return nil
	}
	data, err := c.getMeta(ctx, s, metadata.SNAPSHOT, want)
	if err != nil {
		return err
	}
	doc, err := parse[metadata.SnapshotType](metadata.SNAPSHOT, data)
	if err != nil {
		return err
	}
	if err := ring.check(metadata.SNAPSHOT, doc); err != nil {
		return err
	}
	if err := sameVersion(metadata.SNAPSHOT, doc.Signed.Version, want.Version); err != nil {
		return err
	}
	if err := notOlder(metadata.SNAPSHOT, doc.Signed.Version, c.clock.floor.Snapshot); err != nil {
		return err
	}
	if err := holdsAll(old, doc); err != nil {
		return err
	}
	if err := s.expired(metadata.SNAPSHOT, doc.Signed.Expires); err != nil {
		return err
	}
	s.snapshot = doc
	return c.store.write(metadata.SNAPSHOT, data)
}

// holdsAll refuses a snapshot in which a role has gone back or is gone.
func holdsAll(old, doc *metadata.Metadata[metadata.SnapshotType]) error {
	if old == nil {
		return nil
	}
	for name, was := range old.Signed.Meta {
		is := doc.Signed.Meta[name]
		if is == nil {
			return fmt.Errorf("%w: snapshot no longer names %.80q", ErrRollback, name)
		}
		if err := notOlder(fmt.Sprintf("%.80q in snapshot", name), is.Version, was.Version); err != nil {
			return err
		}
	}
	return nil
}

func sameVersion(role string, version, want int64) error {
	if version != want {
		return fmt.Errorf("%w: %s is version %d where %d was announced", ErrMismatch, role, version, want)
	}
	return nil
}

// role brings one targets role up to date: from the disk if it is the announced version and still signed by whom its delegator names
// now, else from the repository.
func (c *Client) role(ctx context.Context, s *set, role string, ring keyring) (*metadata.Metadata[metadata.TargetsType], error) {
	want := s.snapshot.Signed.Meta[role+".json"]
	if want == nil {
		return nil, fmt.Errorf("%w: snapshot does not name the role %.80q", ErrNotFound, role)
	}
	if doc, err := acceptTargets(s, role, ring, want, c.store.read(role)); err == nil {
		return doc, nil
	}
	data, err := c.getMeta(ctx, s, role, want)
	if err != nil {
		return nil, err
	}
	doc, err := acceptTargets(s, role, ring, want, data)
	if err != nil {
		return nil, err
	}
	return doc, c.store.write(role, data)
}

func acceptTargets(s *set, role string, ring keyring, want *metadata.MetaFiles, data []byte) (*metadata.Metadata[metadata.TargetsType], error) {
	if err := want.VerifyLengthHashes(data); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMismatch, role, err)
	}
	doc, err := parse[metadata.TargetsType](role, data)
	if err != nil {
		return nil, err
	}
	if err := ring.check(role, doc); err != nil {
		return nil, err
	}
	if err := sameVersion(role, doc.Signed.Version, want.Version); err != nil {
		return nil, err
	}
	if err := s.expired(role, doc.Signed.Expires); err != nil {
		return nil, err
	}
	s.targets[role] = doc
	return doc, nil
}

// getMeta fetches the announced version of a role and checks it against the announcement before anything else looks at it.
func (c *Client) getMeta(ctx context.Context, s *set, role string, want *metadata.MetaFiles) ([]byte, error) {
	name, err := fileName(role)
	if err != nil {
		return nil, err
	}
	if s.root.Signed.ConsistentSnapshot {
		name = fmt.Sprintf("%d.%s", want.Version, name)
	}
	limit := limitOf(role)
	if want.Length > 0 {
		limit = min(limit, want.Length)
	}
	data, err := c.get(ctx, name, limit)
	if err != nil {
		return nil, err
	}
	if err := want.VerifyLengthHashes(data); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMismatch, role, err)
	}
	return data, nil
}

// get fetches a file of the metadata folder and sorts its errors.
func (c *Client) get(ctx context.Context, name string, limit int64) ([]byte, error) {
	data, err := c.conf.Fetch.Get(ctx, strings.TrimRight(c.conf.MetadataURL, "/")+"/"+name, limit)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	case errors.Is(err, ErrMismatch):
		return nil, fmt.Errorf("%s: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrNetwork, name, err)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", ErrMismatch, name, limit)
	}
	return data, nil
}

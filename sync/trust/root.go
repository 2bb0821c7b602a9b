package trust

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// firstRoot is the newest root that this device can start from without asking anybody: the cached one if it is whole, else the shipped one.
func (c *Client) firstRoot() (*metadata.Metadata[metadata.RootType], error) {
	cached, cachedErr := selfSigned(c.store.read(metadata.ROOT))
	if len(c.conf.Root) == 0 {
		if cachedErr != nil {
			return nil, fmt.Errorf("no trusted root: none was shipped, and %s holds none: %w", c.conf.Dir, cachedErr)
		}
		return cached, nil
	}
	shipped, err := selfSigned(c.conf.Root)
	switch {
	case cachedErr == nil && (err != nil || cached.Signed.Version >= shipped.Signed.Version):
		return cached, nil
	case err != nil:
		return nil, fmt.Errorf("the shipped root: %w", err)
	}
	return shipped, nil
}

func selfSigned(data []byte) (*metadata.Metadata[metadata.RootType], error) {
	root, err := parse[metadata.RootType](metadata.ROOT, data)
	if err != nil {
		return nil, err
	}
	ring, err := ringOf(root, metadata.ROOT)
	if err != nil {
		return nil, err
	}
	return root, ring.check(metadata.ROOT, root)
}

// updateRoot walks from the first root to the newest, one version at a time; each must be signed by the keys of the one before and
// by its own. Roots on the way may have expired, the last one not.
func (c *Client) updateRoot(ctx context.Context, s *set) error {
	root, err := c.firstRoot()
	if err != nil {
		return err
	}
	for range maxRotations {
		next := root.Signed.Version + 1
		data, err := c.get(ctx, fmt.Sprintf("%d.root.json", next), maxRoot)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		if root, err = c.acceptRoot(root, data); err != nil {
			return fmt.Errorf("root %d: %w", next, err)
		}
	}
	s.root = root
	if root.Signed.Version < c.clock.floor.Root {
		return fmt.Errorf("%w: root is at %d, and was at %d", ErrRollback, root.Signed.Version, c.clock.floor.Root)
	}
	return s.expired(metadata.ROOT, root.Signed.Expires)
}

func (c *Client) acceptRoot(old *metadata.Metadata[metadata.RootType], data []byte) (*metadata.Metadata[metadata.RootType], error) {
	root, err := parse[metadata.RootType](metadata.ROOT, data)
	if err != nil {
		return nil, err
	}
	for _, by := range []*metadata.Metadata[metadata.RootType]{old, root} {
		ring, err := ringOf(by, metadata.ROOT)
		if err != nil {
			return nil, err
		}
		if err := ring.check(metadata.ROOT, root); err != nil {
			return nil, err
		}
	}
	if root.Signed.Version != old.Signed.Version+1 {
		return nil, fmt.Errorf("%w: it says that it is version %d", ErrRollback, root.Signed.Version)
	}
	if rotated(old, root, metadata.TIMESTAMP) || rotated(old, root, metadata.SNAPSHOT) {
		if err := c.forget(root.Signed.Version); err != nil {
			return nil, err
		}
	}
	return root, c.store.write(metadata.ROOT, data)
}

// rotated says whether a key of the role has been withdrawn.
func rotated(old, root *metadata.Metadata[metadata.RootType], role string) bool {
	was, is := old.Signed.Roles[role], root.Signed.Roles[role]
	return was != nil && is != nil && slices.ContainsFunc(was.KeyIDs, func(id string) bool { return !slices.Contains(is.KeyIDs, id) })
}

// forget drops what a withdrawn key may have signed, version numbers included: whoever stole it can have signed the highest there is.
// A rotation that was already known when the floor was written lifts nothing.
func (c *Client) forget(version int64) error {
	if err := errors.Join(c.store.remove(metadata.TIMESTAMP), c.store.remove(metadata.SNAPSHOT)); err != nil {
		return err
	}
	if version <= c.clock.floor.Root {
		return nil
	}
	c.clock.floor.Timestamp, c.clock.floor.Snapshot = 0, 0
	return c.store.saveFloor(c.clock.floor)
}

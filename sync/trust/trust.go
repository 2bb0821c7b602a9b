// Package trust is the device's side of the signed repository: a client of The Update Framework (TUF 1.0) that decides which files
// may be installed. It checks thresholds, versions, lengths, hashes and expiry, keeps what it trusts on disk across power cuts, and
// knows a lower bound of the time where there is no clock. It never installs and never holds a target in memory.
package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The kinds of refusal, for errors.Is. An error that is none of these is one of this device (its disk, mostly).
var (
	ErrRollback  = errors.New("older than what is already trusted")
	ErrThreshold = errors.New("not signed by enough of the right keys")
	ErrExpired   = errors.New("expired")
	ErrMismatch  = errors.New("not the file that was signed")
	ErrNotFound  = errors.New("not in the repository")
	ErrMalformed = errors.New("malformed metadata")
	ErrNetwork   = errors.New("repository not reachable")
)

// Fetcher gets one small file. An error that is fs.ErrNotExist says that the server has no such file; every other one is taken for
// a fault on the way. It must never return more than limit bytes, and must come back soon after ctx has ended.
type Fetcher interface {
	Get(ctx context.Context, url string, limit int64) ([]byte, error)
}

// Config of a Client. Now and Fetch may be nil: the system's clock, and HTTP.
type Config struct {
	Dir         string // holds the trusted metadata; created with mode 0700; one process at a time
	Root        []byte // the root that was shipped with the package or at provisioning
	MetadataURL string
	TargetsURL  string
	Built       time.Time // it cannot be earlier than this; zero: unknown
	Now         func() time.Time
	Fetch       Fetcher
}

// TargetInfo is what the repository has signed about one file. The caller downloads it from any of URLs, and may use it only if the
// length and every digest that is not empty are these. Our own repositories always have SHA256.
type TargetInfo struct {
	Path   string
	Size   int64
	SHA256 string          // hex; empty where the publisher signed only SHA-512
	SHA512 string          // hex, or empty
	Custom json.RawMessage // as signed, or nil
	URLs   []string
}

// Role is one trusted metadata file.
type Role struct {
	Name    string
	Version int64
	Expires time.Time
}

// State is what a status page and an alarm need to know.
type State struct {
	Roles     []Role    // root, timestamp, snapshot, targets, then those that were needed for targets
	Refreshed time.Time // by the reference time, zero: not since the start
	Now       time.Time // the reference time: the system's clock, or the floor where that is later
	Floor     time.Time
}

// Client is safe for concurrent use; one call works at a time.
type Client struct {
	conf  Config
	store store
	clock clock

	mu        sync.Mutex
	set       *set // nil: nothing trusted in this process yet
	refreshed time.Time
}

// Open makes the client ready and looks at nothing but the disk. A damaged cache is not an error: the shipped root stands in for it.
func Open(conf Config) (*Client, error) {
	if conf.Now == nil {
		conf.Now = time.Now
	}
	if conf.Fetch == nil {
		conf.Fetch = NewHTTP(nil)
	}
	if err := os.MkdirAll(conf.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the trusted metadata: %w", err)
	}
	c := &Client{conf: conf, store: store{conf.Dir}}
	if err := c.store.sweep(); err != nil {
		return nil, fmt.Errorf("folder of the trusted metadata: %w", err)
	}
	c.clock = clock{now: conf.Now, floor: c.store.loadFloor()}
	c.clock.raise(conf.Built)
	if _, err := c.firstRoot(); err != nil {
		return nil, err
	}
	return c, nil
}

// Refresh brings root, timestamp, snapshot and targets up to date. After an error nothing that was running need stop; but nothing
// new may be installed until one succeeds.
func (c *Client) Refresh(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refresh(ctx)
}

func (c *Client) refresh(ctx context.Context) error {
	now := c.clock.Now() // one instant for the whole walk
	s, err := c.walk(ctx, now)
	if err != nil {
		if !errors.Is(err, ErrNetwork) {
			c.set = nil // what was trusted before has been contradicted
		}
		return err
	}
	c.set, c.refreshed = s, now
	c.clock.raise(earliest(now, s.timestamp.Signed.Expires)) // a clock in 2106 cannot get here: everything would have expired
	c.clock.raise(s.issued())
	c.clock.floor.Root, c.clock.floor.Timestamp, c.clock.floor.Snapshot = s.root.Signed.Version, s.timestamp.Signed.Version, s.snapshot.Signed.Version
	return c.store.saveFloor(c.clock.floor)
}

// Target looks up a name in the roles that may speak for it, refreshing first if nothing has been trusted yet.
func (c *Client) Target(ctx context.Context, name string) (TargetInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(ctx); err != nil {
		return TargetInfo{}, err
	}
	return c.find(ctx, name)
}

// ready refreshes if need be; what was fresh then may have expired since.
func (c *Client) ready(ctx context.Context) error {
	if c.set == nil {
		return c.refresh(ctx)
	}
	c.set.now = c.clock.Now()
	return c.set.fresh()
}

// State copies what is trusted now.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := State{Refreshed: c.refreshed, Now: c.clock.Now(), Floor: c.clock.floor.Time}
	if c.set != nil {
		st.Roles = c.set.list()
	} else if root, err := c.firstRoot(); err == nil {
		st.Roles = []Role{{metadata.ROOT, root.Signed.Version, root.Signed.Expires}}
	}
	return st
}

package trust

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// set is one consistent whole of trusted metadata.
type set struct {
	now       time.Time
	root      *metadata.Metadata[metadata.RootType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	targets   map[string]*metadata.Metadata[metadata.TargetsType] // by role name
}

func (s *set) expired(role string, at time.Time) error {
	if s.now.Before(at) {
		return nil
	}
	return fmt.Errorf("%w: %s on %s, and it is %s; the publisher must sign it anew (heron fleet repo refresh)", ErrExpired, role,
		at.UTC().Format(time.RFC3339), s.now.UTC().Format(time.RFC3339))
}

// fresh says whether the top-level roles may still be acted on. The others are held to their expiry when they are looked into.
func (s *set) fresh() error {
	for _, r := range s.list()[:4] {
		if err := s.expired(r.Name, r.Expires); err != nil {
			return err
		}
	}
	return nil
}

func (s *set) list() []Role {
	roles := []Role{
		{metadata.ROOT, s.root.Signed.Version, s.root.Signed.Expires},
		{metadata.TIMESTAMP, s.timestamp.Signed.Version, s.timestamp.Signed.Expires},
		{metadata.SNAPSHOT, s.snapshot.Signed.Version, s.snapshot.Signed.Expires},
		{metadata.TARGETS, s.targets[metadata.TARGETS].Signed.Version, s.targets[metadata.TARGETS].Signed.Expires},
	}
	for _, name := range slices.Sorted(maps.Keys(s.targets)) {
		if name != metadata.TARGETS {
			roles = append(roles, Role{name, s.targets[name].Signed.Version, s.targets[name].Signed.Expires})
		}
	}
	return roles
}

// issued is when the publisher says that timestamp was signed: a lower bound of the time. It is believed only up to root's expiry,
// so that a stolen timestamp key cannot push a device further than the offline keys allowed.
func (s *set) issued() time.Time {
	text, _ := s.timestamp.Signed.UnrecognizedFields[IssuedField].(string)
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !t.Before(s.timestamp.Signed.Expires) || !t.Before(s.root.Signed.Expires) {
		return time.Time{}
	}
	return t
}

// IssuedField is the extra field of timestamp metadata that says when it was signed, in RFC 3339.
const IssuedField = "x-heron-issued"

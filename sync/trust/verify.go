package trust

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Bounds on what a repository can make a device hold, bytes.
const (
	maxRoot       = 512_000
	maxTimestamp  = 16_384
	maxSnapshot   = 2_000_000
	maxTargets    = 5_000_000
	maxRotations  = 256 // root versions in one refresh; a device further behind goes on with the next
	maxDelegation = 32  // roles looked into for one target
)

func limitOf(role string) int64 {
	switch role {
	case metadata.ROOT:
		return maxRoot
	case metadata.TIMESTAMP:
		return maxTimestamp
	case metadata.SNAPSHOT:
		return maxSnapshot
	}
	return maxTargets
}

// keyring is who may sign for a role, and how many of them must.
type keyring struct {
	keys      map[string]*metadata.Key
	ids       []string
	threshold int
}

// ringOf is the keyring that root names for a top-level role.
func ringOf(root *metadata.Metadata[metadata.RootType], role string) (keyring, error) {
	r := root.Signed.Roles[role]
	if r == nil {
		return keyring{}, fmt.Errorf("%w: root names no keys for %s", ErrMalformed, role)
	}
	return keyring{root.Signed.Keys, r.KeyIDs, r.Threshold}, nil
}

// ringFor is the keyring that a delegating role names for another.
func ringFor(d *metadata.Delegations, role string) (keyring, error) {
	if d != nil && d.SuccinctRoles != nil && d.SuccinctRoles.IsDelegatedRole(role) {
		return keyring{d.Keys, d.SuccinctRoles.KeyIDs, d.SuccinctRoles.Threshold}, nil
	}
	if d != nil {
		for i := range d.Roles {
			if d.Roles[i].Name == role {
				return keyring{d.Keys, d.Roles[i].KeyIDs, d.Roles[i].Threshold}, nil
			}
		}
	}
	return keyring{}, fmt.Errorf("%w: nobody delegates to %s", ErrThreshold, role)
}

// check counts the distinct keys of the ring that signed doc, a *metadata.Metadata. Keys of a kind that this client does not know are
// passed over (their signatures do not count) rather than fatal: a newer publisher may have added one beside the old.
func (k keyring) check(role string, doc any) (err error) {
	defer guard(&err)
	ring := &metadata.Metadata[metadata.RootType]{}
	ring.Signed.Keys = map[string]*metadata.Key{}
	use := &metadata.Role{Threshold: k.threshold}
	ring.Signed.Roles = map[string]*metadata.Role{role: use}
	for _, id := range k.ids {
		if key := k.keys[id]; usable(key) && ring.Signed.Keys[id] == nil {
			ring.Signed.Keys[id] = key
			use.KeyIDs = append(use.KeyIDs, id)
		}
	}
	if err := ring.VerifyDelegate(role, doc); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrThreshold, role, err)
	}
	return nil
}

// guard turns a panic of go-tuf into a refusal: version 2.4.2 has some that a mirror can reach before any signature has been checked,
// such as a target that is null.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", ErrMalformed, r)
	}
}

// usable says whether a signature of the key can be checked without a panic in the library below.
func usable(key *metadata.Key) bool {
	if key == nil {
		return false
	}
	pub, err := key.ToPublicKey()
	if err != nil {
		return false
	}
	if p, ok := pub.(ed25519.PublicKey); ok {
		return len(p) == ed25519.PublicKeySize
	}
	return true
}

// parse decodes one metadata file of the kind T and checks what must hold whatever the role.
func parse[T metadata.Roles](role string, data []byte) (doc *metadata.Metadata[T], err error) {
	defer guard(&err)
	doc, err = (&metadata.Metadata[T]{}).FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, role, err)
	}
	version, spec := int64(0), ""
	switch d := any(doc).(type) {
	case *metadata.Metadata[metadata.RootType]:
		version, spec = d.Signed.Version, d.Signed.SpecVersion
	case *metadata.Metadata[metadata.TimestampType]:
		version, spec = d.Signed.Version, d.Signed.SpecVersion
		if d.Signed.Meta["snapshot.json"] == nil {
			err = errors.New("it names no snapshot")
		}
	case *metadata.Metadata[metadata.SnapshotType]:
		version, spec = d.Signed.Version, d.Signed.SpecVersion
		for name, m := range d.Signed.Meta {
			if m == nil || m.Version < 1 {
				err = fmt.Errorf("it gives no version for %.80q", name)
			}
		}
	case *metadata.Metadata[metadata.TargetsType]:
		version, spec = d.Signed.Version, d.Signed.SpecVersion
	}
	switch {
	case err != nil:
	case version < 1 || version == math.MaxInt64:
		err = fmt.Errorf("version %d", version)
	case len(spec) < 2 || spec[:2] != "1.":
		err = fmt.Errorf("specification version %.20q; this client reads 1.x", spec)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, role, err)
	}
	return doc, nil
}

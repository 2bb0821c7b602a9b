package repo

import (
	"errors"
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// ring is a set of keys of which threshold must sign.
type ring struct {
	ids       []string
	threshold int
}

func ringOf(root *metadata.Metadata[metadata.RootType], role string) ring {
	return ring{root.Signed.Roles[role].KeyIDs, root.Signed.Roles[role].Threshold}
}

// rings are all that must be satisfied before a role may be published.
func (c *change) rings(role string) []ring {
	switch role {
	case metadata.ROOT:
		if c.oldRoot == nil {
			return []ring{ringOf(c.root, role)}
		}
		return []ring{ringOf(c.oldRoot, role), ringOf(c.root, role)}
	case metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP:
		return []ring{ringOf(c.root, role)}
	}
	if d := c.delegation(role); d != nil {
		return []ring{{d.KeyIDs, d.Threshold}}
	}
	return nil
}

// delegation of a family; nil: there is none.
func (c *change) delegation(family string) *metadata.DelegatedRole {
	if d := c.targets[metadata.TARGETS].Signed.Delegations; d != nil {
		if i := slices.IndexFunc(d.Roles, func(r metadata.DelegatedRole) bool { return r.Name == family }); i >= 0 {
			return &d.Roles[i]
		}
	}
	return nil
}

// bridge is the ring of a role under the root that devices have now. A role that satisfies it and that of the new root holds for a
// device whichever of the two it has; then no moment of the publication, and no end in its middle, leaves a device without metadata.
func (c *change) bridge(role string) (ring, bool) {
	if !c.edited[metadata.ROOT] || c.oldRoot == nil || c.oldRoot.Signed.Roles[role] == nil || role == metadata.ROOT {
		return ring{}, false
	}
	return ringOf(c.oldRoot, role), true
}

// bridged says whether everything of the change is good under the old root too.
func (c *change) bridged() bool {
	for _, role := range []string{metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		if _, must := c.bridge(role); must && c.oldRoot.VerifyDelegate(role, c.sheet(role).verifiable()) != nil {
			return false
		}
	}
	return true
}

func has(doc sheet, id string) bool {
	return slices.ContainsFunc(*doc.signatures(), func(s metadata.Signature) bool { return s.KeyID == id })
}

func count(doc sheet, r ring) (n int) {
	for _, id := range r.ids {
		if has(doc, id) {
			n++
		}
	}
	return n
}

// lacking is what rings still want of doc; nil: nothing.
func (r *Repo) lacking(role string, doc sheet, rings []ring) *Missing {
	m := &Missing{Role: role}
	for _, ring := range rings {
		m.Need = max(m.Need, ring.threshold-count(doc, ring))
		for _, name := range r.keys.names(slices.DeleteFunc(slices.Clone(ring.ids), func(id string) bool { return has(doc, id) })) {
			if !slices.Contains(m.From, name) {
				m.From = append(m.From, name)
			}
		}
	}
	if m.Need <= 0 {
		return nil
	}
	return m
}

// missing is what the people's signatures still lack or, where they are complete, the keys of snapshot and timestamp that are not here.
func (r *Repo) missing(c *change) (out []Missing) {
	for _, role := range c.roles() {
		if m := r.lacking(role, c.sheet(role), c.rings(role)); m != nil {
			out = append(out, *m)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, role := range []string{metadata.SNAPSHOT, metadata.TIMESTAMP} {
		ring := ringOf(c.root, role)
		away := slices.DeleteFunc(slices.Clone(ring.ids), func(id string) bool { return r.keys.keys[id] != nil })
		if need := ring.threshold - (len(ring.ids) - len(away)); need > 0 {
			out = append(out, Missing{role, need, r.keys.names(away)})
		}
	}
	return out
}

// verify checks every signature as a client will, before anything is published.
func (c *change) verify() error {
	for _, role := range c.roles() {
		var err error
		switch role {
		case metadata.ROOT:
			err = c.root.VerifyDelegate(role, c.root)
			if c.oldRoot != nil {
				err = errors.Join(err, c.oldRoot.VerifyDelegate(role, c.root))
			}
		case metadata.TARGETS:
			err = c.root.VerifyDelegate(role, c.targets[role])
		default:
			err = c.targets[metadata.TARGETS].VerifyDelegate(role, c.targets[role])
		}
		if err != nil {
			return fmt.Errorf("the signatures of %s: %w", role, err)
		}
	}
	return nil
}

package repo

import (
	"errors"
	"maps"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Result says what a command did, or with DryRun would do.
type Result struct {
	DryRun    bool      `json:"dry_run"`
	Published bool      `json:"published"`
	Changed   []string  `json:"changed"` // role and new version
	NewKeys   []string  `json:"new_keys,omitempty"`
	Missing   []Missing `json:"missing,omitempty"` // why it is staged and not published
	Note      string    `json:"note,omitempty"`
	Notes     []string  `json:"notes,omitempty"` // beside the result: patches, an earlier change that was finished
}

// Missing are the signatures that a staged role still waits for.
type Missing struct {
	Role string   `json:"role"`
	Need int      `json:"need"`
	From []string `json:"from"` // keys that have not signed yet
}

// ErrStaged says that an earlier change still waits for signatures.
var ErrStaged = errors.New("an earlier change waits for signatures")

// change is a set of edited roles on the way to being published. Snapshot and timestamp are made at the very end.
type change struct {
	*state
	oldRoot *metadata.Metadata[metadata.RootType] // whose keys must sign a new root too; nil: the first
	edited  map[string]bool                       // root, targets, families
	made    map[string]bool                       // snapshot, timestamp: made anew for this change
	result  Result
}

// changing starts from a state.
func (r *Repo) changing(s *state) *change {
	return &change{state: s, oldRoot: s.root, edited: map[string]bool{}, made: map[string]bool{}, result: Result{DryRun: r.conf.DryRun}}
}

// begin starts a change on what is published, where none waits.
func (r *Repo) begin() (*change, error) {
	s, err := r.published()
	if err != nil {
		return nil, err
	}
	return r.changing(s), nil
}

// editRoot gives the next root to change.
func (r *Repo) editRoot(c *change) *metadata.RootType {
	if !c.edited[metadata.ROOT] {
		next := *c.root
		next.Signed.Keys, next.Signed.Roles = maps.Clone(c.root.Signed.Keys), map[string]*metadata.Role{}
		for name, role := range c.root.Signed.Roles {
			own := *role
			own.KeyIDs = slices.Clone(role.KeyIDs)
			next.Signed.Roles[name] = &own
		}
		next.Signed.Version++
		next.Signed.Expires = r.until(r.settings.Expiry.Root)
		next.Signatures = nil
		c.root, c.edited[metadata.ROOT] = &next, true
	}
	return &c.root.Signed
}

// editTargets gives the next version of targets or a family to change.
func (r *Repo) editTargets(c *change, role string) *metadata.TargetsType {
	doc := c.targets[role]
	switch {
	case doc == nil:
		doc = metadata.Targets(r.until(r.settings.Expiry.Targets))
		doc.Signed.Version = r.freeVersion(role, 1)
		c.targets[role], c.edited[role] = doc, true
	case !c.edited[role]:
		doc.Signed.Version = r.freeVersion(role, doc.Signed.Version+1)
		doc.Signed.Expires = r.until(r.settings.Expiry.Targets)
		doc.Signatures = nil
		c.edited[role] = true
	}
	return &doc.Signed
}

// roles of the change that people sign: the families, targets, root.
func (c *change) roles() []string {
	var out []string
	for _, role := range slices.Sorted(maps.Keys(c.edited)) {
		if role != metadata.ROOT && role != metadata.TARGETS {
			out = append(out, role)
		}
	}
	for _, role := range []string{metadata.TARGETS, metadata.ROOT} {
		if c.edited[role] {
			out = append(out, role)
		}
	}
	return out
}

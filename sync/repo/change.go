package repo

import (
	"crypto"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"heron/internal/atomicfile"
)

// Result says what a command did, or with DryRun would do.
type Result struct {
	DryRun    bool      `json:"dry_run"`
	Published bool      `json:"published"`
	Changed   []string  `json:"changed"` // role and new version
	NewKeys   []string  `json:"new_keys,omitempty"`
	Missing   []Missing `json:"missing,omitempty"` // why it is staged and not published
	Note      string    `json:"note,omitempty"`
	Notes     []string  `json:"notes,omitempty"` // of the patches of a bundle
}

// Missing are the signatures that a staged role still waits for.
type Missing struct {
	Role string   `json:"role"`
	Need int      `json:"need"`
	From []string `json:"from"` // keys that have not signed yet
}

// ErrStaged says that an earlier change still waits for signatures.
var ErrStaged = errors.New("an earlier change waits for signatures")

// change is a set of edited roles on the way to being published. Roles of snapshot and timestamp are made at the very end.
type change struct {
	*state
	oldRoot *metadata.Metadata[metadata.RootType] // whose keys must sign a new root too; nil: the first
	edited  map[string]bool                       // root, targets, families
	result  Result
}

// begin starts a change on what is published.
func (r *Repo) begin() (*change, error) {
	left, err := r.stagedFiles()
	if err != nil {
		return nil, err
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("%w: sign it (heron fleet repo sign) or drop it (heron fleet repo sign --discard) first", ErrStaged)
	}
	s, err := r.published()
	if err != nil {
		return nil, err
	}
	return &change{state: s, oldRoot: s.root, edited: map[string]bool{}, result: Result{DryRun: r.conf.DryRun}}, nil
}

func (r *Repo) stagedFiles() ([]string, error) {
	return filepath.Glob(r.path(stagedDir, "*.json"))
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
		c.targets[role], c.edited[role] = doc, true
	case !c.edited[role]:
		doc.Signed.Version++
		doc.Signed.Expires = r.until(r.settings.Expiry.Targets)
		doc.Signatures = nil
		c.edited[role] = true
	}
	return &doc.Signed
}

// ring is a set of keys of which threshold must sign.
type ring struct {
	ids       []string
	threshold int
}

// rings are all that must be satisfied before a role may be published.
func (c *change) rings(role string) []ring {
	of := func(root *metadata.Metadata[metadata.RootType]) ring {
		return ring{root.Signed.Roles[role].KeyIDs, root.Signed.Roles[role].Threshold}
	}
	switch role {
	case metadata.ROOT:
		if c.oldRoot == nil {
			return []ring{of(c.root)}
		}
		return []ring{of(c.oldRoot), of(c.root)}
	case metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP:
		return []ring{of(c.root)}
	}
	if d := c.targets[metadata.TARGETS].Signed.Delegations; d != nil {
		for _, r := range d.Roles {
			if r.Name == role {
				return []ring{{r.KeyIDs, r.Threshold}}
			}
		}
	}
	return nil
}

// roles of the change that people sign, in the order in which they are published.
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

// sign adds a signature, replacing an earlier one of the same key.
func sign[T metadata.Roles](r *Repo, doc *metadata.Metadata[T], k *key) error {
	priv, err := r.keys.open(k)
	if err != nil {
		return err
	}
	signer, err := signature.LoadSigner(priv, crypto.Hash(0))
	if err != nil {
		return err
	}
	doc.Signatures = slices.DeleteFunc(doc.Signatures, func(s metadata.Signature) bool { return s.KeyID == k.id })
	_, err = doc.Sign(signer)
	return err
}

// signUp signs with the keys at hand until every ring is satisfied; all: with every key at hand that counts.
func signUp[T metadata.Roles](r *Repo, doc *metadata.Metadata[T], rings []ring, all bool) error {
	for _, ring := range rings {
		for _, id := range ring.ids {
			k := r.keys.keys[id]
			if k == nil || has(doc, id) || (!all && count(doc, ring) >= ring.threshold) {
				continue
			}
			if err := sign(r, doc, k); err != nil {
				return err
			}
		}
	}
	return nil
}

func has[T metadata.Roles](doc *metadata.Metadata[T], id string) bool {
	return slices.ContainsFunc(doc.Signatures, func(s metadata.Signature) bool { return s.KeyID == id })
}

func count[T metadata.Roles](doc *metadata.Metadata[T], r ring) (n int) {
	for _, id := range r.ids {
		if has(doc, id) {
			n++
		}
	}
	return n
}

// lacking is what rings still want of doc.
func lacking[T metadata.Roles](r *Repo, role string, doc *metadata.Metadata[T], rings []ring) *Missing {
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

// finish signs what it can, and publishes if that is enough; else the change is staged.
func (r *Repo) finish(c *change, allKeys bool) (Result, error) {
	for _, role := range c.roles() {
		c.result.Changed = append(c.result.Changed, fmt.Sprintf("%s %d", role, c.version(role)))
		var m *Missing
		var err error
		if role == metadata.ROOT {
			if !r.conf.DryRun {
				err = signUp(r, c.root, c.rings(role), allKeys)
			}
			m = lacking(r, role, c.root, c.rings(role))
		} else {
			if !r.conf.DryRun {
				err = signUp(r, c.targets[role], c.rings(role), allKeys)
			}
			m = lacking(r, role, c.targets[role], c.rings(role))
		}
		if err != nil {
			return c.result, err
		}
		if m != nil {
			c.result.Missing = append(c.result.Missing, *m)
		}
	}
	if r.conf.DryRun {
		return c.result, nil
	}
	if len(c.result.Missing) > 0 {
		return c.result, r.stage(c)
	}
	return r.publish(c)
}

func (c *change) version(role string) int64 {
	if role == metadata.ROOT {
		return c.root.Signed.Version
	}
	return c.targets[role].Signed.Version
}

// stage keeps the edited roles, with the signatures they have, until others have signed.
func (r *Repo) stage(c *change) error {
	if err := os.MkdirAll(r.path(stagedDir), 0o755); err != nil {
		return err
	}
	for _, role := range c.roles() {
		var err error
		if path := r.path(stagedDir, role+".json"); role == metadata.ROOT {
			err = write(c.root, path)
		} else {
			err = write(c.targets[role], path)
		}
		if err != nil {
			return fmt.Errorf("staging %s: %w", role, err)
		}
	}
	return nil
}

// staged reads a change back.
func (r *Repo) staged() (*change, error) {
	files, err := r.stagedFiles()
	if err != nil {
		return nil, err
	}
	s, err := r.published()
	if err != nil {
		return nil, err
	}
	c := &change{state: s, oldRoot: s.root, edited: map[string]bool{}, result: Result{DryRun: r.conf.DryRun}}
	for _, file := range files {
		role := strings.TrimSuffix(filepath.Base(file), ".json")
		if role == metadata.ROOT {
			c.root, err = read[metadata.RootType](file)
			if err == nil && c.root.Signed.Version == s.root.Signed.Version && c.root.Signed.Version > 1 { // publishing was cut short after root
				c.oldRoot, err = read[metadata.RootType](r.path(metadataDir, fmt.Sprintf("%d.root.json", c.root.Signed.Version-1)))
			}
		} else {
			c.targets[role], err = read[metadata.TargetsType](file)
		}
		if err != nil {
			return nil, err
		}
		c.edited[role] = true
	}
	return c, nil
}

// publish makes snapshot and timestamp for the change and writes everything, what is pointed at before what points: a reader, or a
// power cut, finds the old whole or the new one. What was staged goes last, so that a publication cut short can be finished by sign.
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
	if err := os.MkdirAll(r.path(metadataDir), 0o755); err != nil {
		return c.result, err
	}
	for _, role := range c.roles() {
		var err error
		if path := r.path(metadataDir, fmt.Sprintf("%d.%s.json", c.version(role), role)); role == metadata.ROOT {
			err = write(c.root, path)
		} else {
			err = write(c.targets[role], path)
		}
		if err != nil {
			return c.result, fmt.Errorf("publishing %s: %w", role, err)
		}
	}
	if err := write(c.snapshot, r.path(metadataDir, fmt.Sprintf("%d.snapshot.json", c.snapshot.Signed.Version))); err != nil {
		return c.result, fmt.Errorf("publishing snapshot: %w", err)
	}
	if err := write(c.timestamp, r.path(metadataDir, "timestamp.json")); err != nil {
		return c.result, fmt.Errorf("publishing timestamp: %w", err)
	}
	c.result.Published = true
	return c.result, r.dropStaged()
}

func (r *Repo) dropStaged() error {
	files, err := r.stagedFiles()
	if err != nil || len(files) == 0 {
		return err
	}
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	return errors.Join(err, atomicfile.SyncDir(r.path(stagedDir)))
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

// makeSnapshot lists every targets role; it is made anew when one has changed, its key has, or it is due.
func (r *Repo) makeSnapshot(c *change) error {
	if len(c.edited) == 0 && !r.due(c.snapshot.Signed.Expires, r.settings.Expiry.Snapshot) {
		return nil
	}
	doc := metadata.Snapshot(r.until(r.settings.Expiry.Snapshot))
	if c.snapshot != nil {
		doc.Signed.Version = c.snapshot.Signed.Version + 1
	}
	doc.Signed.Meta = map[string]*metadata.MetaFiles{}
	for role, t := range c.targets {
		doc.Signed.Meta[role+".json"] = metadata.MetaFile(t.Signed.Version)
	}
	c.snapshot = doc
	c.result.Changed = append(c.result.Changed, fmt.Sprintf("snapshot %d", doc.Signed.Version))
	return signOnline(r, c, metadata.SNAPSHOT, doc)
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
	c.timestamp = doc
	c.result.Changed = append(c.result.Changed, fmt.Sprintf("timestamp %d", doc.Signed.Version))
	return signOnline(r, c, metadata.TIMESTAMP, doc)
}

// signOnline signs what must be published at once: snapshot and timestamp cannot wait for other holders.
func signOnline[T metadata.Roles](r *Repo, c *change, role string, doc *metadata.Metadata[T]) error {
	rings := c.rings(role)
	if err := signUp(r, doc, rings, false); err != nil {
		return err
	}
	if m := lacking(r, role, doc, rings); m != nil {
		return fmt.Errorf("%s cannot be signed here: no key file of %s; name one with --key", role, strings.Join(m.From, ", "))
	}
	if err := c.root.VerifyDelegate(role, doc); err != nil {
		return fmt.Errorf("the signatures of %s: %w", role, err)
	}
	return nil
}

package trust

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// visit is a role to look into, and who vouches for it.
type visit struct {
	role string
	ring keyring
}

// find searches the delegations in their order, depth first, each role at most once; a terminating delegation ends the search.
func (c *Client) find(ctx context.Context, name string) (TargetInfo, error) {
	if !fs.ValidPath(name) || name == "." { // on a disk, or to a web server, it would be another name
		return TargetInfo{}, fmt.Errorf("%w: target %.200q: no part of a name may be empty, . or ..", ErrMalformed, name)
	}
	todo := []visit{{role: metadata.TARGETS}}
	seen := map[string]bool{}
	for len(todo) > 0 && len(seen) <= maxDelegation {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[v.role] {
			continue
		}
		seen[v.role] = true
		doc, err := c.load(ctx, v)
		if err != nil {
			return TargetInfo{}, err
		}
		if t := doc.Signed.Targets[name]; t != nil {
			return c.info(name, t)
		}
		children, last, err := responsible(doc.Signed.Delegations, name)
		if err != nil {
			return TargetInfo{}, err
		}
		if last {
			todo = nil
		}
		slices.Reverse(children)
		todo = append(todo, children...)
	}
	return TargetInfo{}, fmt.Errorf("%w: target %.200q", ErrNotFound, name)
}

// load gives a role that is verified by the ring of this visit, even when it was trusted through another one before.
func (c *Client) load(ctx context.Context, v visit) (*metadata.Metadata[metadata.TargetsType], error) {
	if v.role == metadata.TARGETS {
		return c.set.targets[metadata.TARGETS], nil
	}
	return c.role(ctx, c.set, v.role, v.ring)
}

// responsible are the roles that may speak for a target, in order, up to the first that is terminating.
func responsible(d *metadata.Delegations, name string) (out []visit, last bool, err error) {
	if d == nil {
		return nil, false, nil
	}
	if s := d.SuccinctRoles; s != nil {
		if s.BitLength < 1 || s.BitLength > 32 {
			return nil, false, fmt.Errorf("%w: succinct roles of %d bits", ErrMalformed, s.BitLength)
		}
		return []visit{{s.GetRolesForTarget(name)[0].Name, keyring{d.Keys, s.KeyIDs, s.Threshold}}}, true, nil
	}
	for i := range d.Roles {
		r := &d.Roles[i]
		if !covers(r, name) {
			continue
		}
		if slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], r.Name) {
			return nil, false, fmt.Errorf("%w: a delegation to %q, which only root may name", ErrMalformed, r.Name)
		}
		ring, err := ringFor(d, r.Name)
		if err != nil {
			return nil, false, err
		}
		out = append(out, visit{r.Name, ring})
		if r.Terminating {
			return out, true, nil
		}
	}
	return out, false, nil
}

// covers says whether a delegation is about a target: by patterns, in which * stops at a slash, or by the hex digest of its name.
func covers(r *metadata.DelegatedRole, name string) bool {
	for _, p := range r.Paths {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	sum := sha256.Sum256([]byte(name))
	return slices.ContainsFunc(r.PathHashPrefixes, func(p string) bool { return strings.HasPrefix(hex.EncodeToString(sum[:]), p) })
}

// info turns what was signed into what the caller needs.
func (c *Client) info(name string, t *metadata.TargetFiles) (TargetInfo, error) {
	short, long := t.Hashes["sha256"], t.Hashes["sha512"]
	if (len(short) != sha256.Size && len(short) != 0) || (len(long) != sha512.Size && len(long) != 0) || len(short)+len(long) == 0 || t.Length < 0 {
		return TargetInfo{}, fmt.Errorf("%w: target %.200q has no length, or no SHA-256 and no SHA-512", ErrMalformed, name)
	}
	info := TargetInfo{Path: name, Size: t.Length, SHA256: short.String(), SHA512: long.String()}
	if t.Custom != nil {
		info.Custom = slices.Clone(*t.Custom)
	}
	dir, file := path.Split(name)
	if c.set.root.Signed.ConsistentSnapshot {
		file = cmp.Or(info.SHA256, info.SHA512) + "." + file
	}
	info.URLs = []string{strings.TrimRight(c.conf.TargetsURL, "/") + "/" + escapePath(dir+file)}
	return info, nil
}

// escapePath quotes each part of a target's name; its slashes stay.
func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// All lists every target of every role that can be reached, for whoever checks a whole repository.
func (c *Client) All(ctx context.Context) ([]TargetInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(ctx); err != nil {
		return nil, err
	}
	found := map[string]TargetInfo{}
	seen := map[string]bool{}
	todo := []visit{{role: metadata.TARGETS}}
	for len(todo) > 0 {
		v := todo[0]
		todo = todo[1:]
		if seen[v.role] {
			continue
		}
		seen[v.role] = true
		doc, err := c.load(ctx, v)
		if err != nil {
			return nil, err
		}
		for name := range doc.Signed.Targets {
			if found[name], err = c.find(ctx, name); err != nil { // as a device would: a role may name what it may not speak for
				return nil, fmt.Errorf("target %.200q of role %s: %w", name, v.role, err)
			}
		}
		todo = append(todo, everyone(doc.Signed.Delegations)...)
	}
	var all []TargetInfo
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[name])
	}
	return all, nil
}

func everyone(d *metadata.Delegations) (out []visit) {
	if d == nil {
		return nil
	}
	for _, r := range d.Roles {
		if !slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], r.Name) {
			out = append(out, visit{r.Name, keyring{d.Keys, r.KeyIDs, r.Threshold}})
		}
	}
	return out
}

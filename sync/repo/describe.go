package repo

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// describe says in words what a change does to what is published, for whoever is asked to sign it.
func (r *Repo) describe(c *change, was *state) (out []string) {
	for _, role := range c.roles() {
		say := func(format string, args ...any) {
			out = append(out, fmt.Sprintf("%s %d: ", role, c.version(role))+fmt.Sprintf(format, args...))
		}
		var until time.Time
		if role == metadata.ROOT {
			until = c.root.Signed.Expires
			for _, name := range slices.Sorted(maps.Keys(c.root.Signed.Roles)) {
				r.sayRing(say, name, ringOf(c.oldRoot, name), ringOf(c.root, name))
			}
		} else {
			until = c.targets[role].Signed.Expires
			before := &metadata.TargetsType{}
			if old := was.targets[role]; old != nil {
				before = &old.Signed
			}
			r.sayTargets(say, before, &c.targets[role].Signed)
		}
		say("good until %s", until.UTC().Format(time.DateOnly))
	}
	return out
}

func (r *Repo) sayRing(say func(string, ...any), role string, was, is ring) {
	label := func(id string) string { return fmt.Sprintf("%s (%.12s)", r.keys.names([]string{id})[0], id) }
	for _, id := range is.ids {
		if !slices.Contains(was.ids, id) {
			say("%s gets the key %s", role, label(id))
		}
	}
	for _, id := range was.ids {
		if !slices.Contains(is.ids, id) {
			say("%s loses the key %s", role, label(id))
		}
	}
	if was.threshold != is.threshold {
		say("%s wants %d of %d signatures, and wanted %d", role, is.threshold, len(is.ids), was.threshold)
	}
}

func (r *Repo) sayTargets(say func(string, ...any), was, is *metadata.TargetsType) {
	before := map[string]ring{}
	each := func(t *metadata.TargetsType, do func(d *metadata.DelegatedRole)) {
		if t.Delegations != nil {
			for i := range t.Delegations.Roles {
				do(&t.Delegations.Roles[i])
			}
		}
	}
	each(was, func(d *metadata.DelegatedRole) { before[d.Name] = ring{d.KeyIDs, d.Threshold} })
	each(is, func(d *metadata.DelegatedRole) {
		if _, known := before[d.Name]; !known {
			say("new family %s, for %s", d.Name, strings.Join(d.Paths, " "))
		}
		r.sayRing(say, d.Name, before[d.Name], ring{d.KeyIDs, d.Threshold})
	})
	for _, name := range slices.Sorted(maps.Keys(is.Targets)) {
		t, old := is.Targets[name], was.Targets[name]
		if old == nil || old.Length != t.Length || !bytes.Equal(old.Hashes["sha256"], t.Hashes["sha256"]) {
			say("%s, %d bytes, SHA-256 %s", name, t.Length, t.Hashes["sha256"])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was.Targets)) {
		if is.Targets[name] == nil {
			say("%s is gone", name)
		}
	}
}

package repo

import (
	"errors"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Rotation is what happens to the keys of a role. The zero value replaces its one key.
type Rotation struct {
	Replace   string // the key to exchange for a new one: its name, or the beginning of its identity
	Remove    string // the key to withdraw
	Add       bool   // a new key beside the others
	Threshold int    // how many must sign from now on; 0: as many as before
}

// Rotate changes the keys of a role. A new root carries those of root, targets, snapshot and timestamp, and is signed by the old keys and
// the new; targets carries those of a family.
func (r *Repo) Rotate(role string, o Rotation) (Result, error) {
	if res, done, err := r.resume(); done || err != nil {
		return res, err
	}
	c, err := r.begin()
	if err != nil {
		return Result{}, err
	}
	if err := r.rekey(c, role, o); err != nil {
		return c.result, err
	}
	return r.finish(c, false)
}

func (r *Repo) rekey(c *change, role string, o Rotation) error {
	now, err := c.ring(role)
	if err != nil {
		return err
	}
	if o == (Rotation{}) {
		if len(now.ids) != 1 {
			return misuse("%s has %d keys; name the one to replace with --replace (%s)", role, len(now.ids), strings.Join(r.keys.names(now.ids), ", "))
		}
		o.Replace = now.ids[0]
	}
	threshold, err := o.check(role, now)
	if err != nil {
		return err
	}
	old := ""
	if name := o.Replace + o.Remove; name != "" {
		if old, err = r.keys.named(name, now.ids); err != nil {
			return err
		}
	}
	if role == metadata.SNAPSHOT || role == metadata.TIMESTAMP {
		return r.exchange(c, role, old, true, threshold)
	}
	if role != metadata.ROOT {
		r.editTargets(c, role) // must be signed by whom its delegator names now
	}
	return r.exchange(c, role, old, o.Remove == "" && (o.Add || old != ""), threshold)
}

// ring of a role as it is.
func (c *change) ring(role string) (ring, error) {
	if c.root.Signed.Roles[role] != nil {
		return ringOf(c.root, role), nil
	}
	if d := c.delegation(role); d != nil {
		return ring{d.KeyIDs, d.Threshold}, nil
	}
	return ring{}, misuse("there is no role %q: root, targets, snapshot, timestamp, or a family that has a target", role)
}

// check gives the threshold that will hold.
func (o Rotation) check(role string, now ring) (threshold int, err error) {
	keys, threshold := len(now.ids), now.threshold
	asked := 0
	if o.Replace != "" {
		asked++
	}
	if o.Remove != "" {
		asked++
		keys--
	}
	if o.Add {
		asked++
		keys++
	}
	if o.Threshold != 0 {
		threshold = o.Threshold
	}
	switch {
	case asked > 1:
		return 0, misuse("one of --replace, --add and --remove at a time")
	case (role == metadata.SNAPSHOT || role == metadata.TIMESTAMP) && (o.Replace == "" || o.Threshold != 0):
		return 0, misuse("%s has one key: a machine signs it alone, every day; it can only be replaced", role)
	}
	return threshold, checkRing(role, keys, threshold)
}

// exchange withdraws the key old where there is one, and adds a new one where that is wanted, in root or in targets.
func (r *Repo) exchange(c *change, role, old string, fresh bool, threshold int) error {
	var delegator interface {
		AddKey(key *metadata.Key, role string) error
		RevokeKey(id, role string) error
	}
	var k *key
	var err error
	if fresh {
		if k, err = r.newKey(c, role); err != nil {
			return err
		}
	}
	if c.root.Signed.Roles[role] != nil {
		root := r.editRoot(c)
		delegator, root.Roles[role].Threshold = root, threshold
	} else {
		delegator = r.editTargets(c, metadata.TARGETS)
		c.delegation(role).Threshold = threshold
	}
	if k != nil {
		err = delegator.AddKey(k.pub, role)
	}
	if old != "" {
		err = errors.Join(err, delegator.RevokeKey(old, role))
	}
	return err
}

// newKey makes one, and keeps its name for the time when others hold it.
func (r *Repo) newKey(c *change, role string) (*key, error) {
	k, err := r.keys.generate(role, r.conf.DryRun)
	if err != nil {
		return nil, err
	}
	c.result.NewKeys = append(c.result.NewKeys, k.file.Name)
	if r.conf.DryRun {
		return k, nil
	}
	return k, r.saveSettings()
}

// delegate gives a family its own key and its own names.
func (r *Repo) delegate(c *change, family string) error {
	k, err := r.newKey(c, family)
	if err != nil {
		return err
	}
	targets := r.editTargets(c, metadata.TARGETS)
	if targets.Delegations == nil {
		targets.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	targets.Delegations.Keys[k.id] = k.pub
	targets.Delegations.Roles = append(targets.Delegations.Roles,
		metadata.DelegatedRole{Name: family, KeyIDs: []string{k.id}, Threshold: 1, Terminating: true, Paths: []string{family + "/*"}})
	return nil
}

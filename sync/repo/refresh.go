package repo

import (
	"errors"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Refresh signs timestamp anew, snapshot where less than half of its life is left, and the roles that are named. It may run while a
// change waits for signatures, unless it names roles; one that has them all it publishes.
func (r *Repo) Refresh(roles []string) (Result, error) {
	res, done, err := r.resume()
	if done || (err != nil && (len(roles) > 0 || !errors.Is(err, ErrStaged))) {
		return res, err
	}
	c, err := r.begin()
	if err != nil {
		return Result{}, err
	}
	for _, role := range roles {
		switch {
		case role == metadata.ROOT:
			r.editRoot(c)
		case c.targets[role] != nil:
			r.editTargets(c, role)
		case role == metadata.SNAPSHOT:
			c.snapshot.Signed.Expires = r.conf.Now()
		case role != metadata.TIMESTAMP:
			return c.result, misuse("there is no role %q", role)
		}
	}
	if r.conf.DryRun && len(c.edited) == 0 {
		c.result.Changed = []string{fmt.Sprintf("timestamp %d", c.timestamp.Signed.Version+1)}
		return c.result, nil
	}
	return r.finish(c, false)
}

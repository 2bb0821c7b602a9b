package repo

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// public says whether a device can find the staged roles, byte for byte: the publication came to its last file.
func (r *Repo) public(c *change, s *state) bool {
	for _, role := range c.roles() {
		if role != metadata.ROOT && (s.targets[role] == nil || s.version(role) != c.version(role)) {
			return false
		}
		want, err := c.sheet(role).ToBytes(false)
		have, readErr := os.ReadFile(r.metadataPath(role, c.version(role)))
		if err != nil || readErr != nil || !bytes.Equal(want, have) {
			return false
		}
	}
	return true
}

// resume finishes a staged change that has all its signatures: its publication was cut short, or the last of them was given where the keys
// of snapshot and timestamp are not. done: there was one. ErrStaged: it still waits.
func (r *Repo) resume() (res Result, done bool, err error) {
	c, err := r.staged()
	if err != nil || len(c.edited) == 0 {
		return Result{}, false, err
	}
	if m := r.missing(c); len(m) > 0 {
		return Result{}, false, fmt.Errorf("%w: %s needs %d more of %s; sign it (heron fleet repo sign) or drop it (heron fleet repo sign --discard) first",
			ErrStaged, m[0].Role, m[0].Need, strings.Join(m[0].From, ", "))
	}
	s, err := r.published()
	if err != nil {
		return Result{}, false, err
	}
	switch {
	case r.conf.DryRun:
		res, err = r.finish(c, false)
		res.Note = "would finish the change that was cut short"
		return res, true, err
	case r.public(c, s):
		res, err = c.result, r.dropStaged()
		res.Published, res.Note = err == nil, "the change that was cut short is public; run the command again for another"
		return res, true, err
	}
	res, err = r.finish(c, false)
	if err == nil {
		res.Note = "published the change that was cut short: " + strings.Join(res.Changed, ", ") + "; run the command again for another"
	}
	return res, true, err
}

// Sign adds the signatures of the keys at hand to what is staged, and publishes it when they are enough.
func (r *Repo) Sign() (Result, error) {
	c, err := r.staged()
	if err != nil {
		return Result{}, err
	}
	if len(c.edited) == 0 {
		c.result.Note = "nothing is staged"
		return c.result, nil
	}
	s, err := r.published()
	if err != nil {
		return c.result, err
	}
	if r.public(c, s) {
		res := c.result
		res.Note = "what was staged is public"
		if r.conf.DryRun {
			return res, nil
		}
		return res, r.dropStaged()
	}
	c.result.Notes = r.describe(c, s)
	return r.finish(c, true)
}

// Discard drops what is staged, unless devices may have it already. Bundles that it was about stay in targets/, where nothing points at them.
func (r *Repo) Discard() (Result, error) {
	c, err := r.staged()
	if err != nil {
		return Result{}, err
	}
	res := Result{DryRun: r.conf.DryRun, Note: fmt.Sprintf("%d staged roles dropped", len(c.edited))}
	s, err := r.published()
	if err != nil {
		return Result{}, err
	}
	for _, role := range c.roles() {
		if (role == metadata.ROOT || s.targets[role] != nil) && s.version(role) == c.version(role) {
			return Result{}, fmt.Errorf("%s %d is public already: its publication was cut short; finish it (heron fleet repo sign)", role, c.version(role))
		}
	}
	if r.conf.DryRun {
		return res, nil
	}
	return res, r.dropStaged()
}

package repo

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Item is a file that is to be a target.
type Item struct {
	File   string
	Name   string          // FAMILY/VERSION; beside it, with ManifestEnding or PatchEnding
	Custom json.RawMessage // signed with it; nil: none
}

// The endings of what is signed beside a bundle: no version can have them.
const (
	ManifestEnding = ".manifest.json"
	PatchEnding    = ".hdp"
)

// Bundle is a published one.
type Bundle struct {
	Name   string // FAMILY/VERSION
	SHA256 string // hex
	Size   int64  // bytes
	File   string // where it lies, if it still does
}

func isBeside(name string) bool {
	return strings.HasSuffix(name, ManifestEnding) || strings.HasSuffix(name, PatchEnding)
}

// Bundles are the published ones of the name's family with a lower version, the highest first.
func (r *Repo) Bundles(name string) ([]Bundle, error) {
	family, version, _ := strings.Cut(name, "/")
	s, err := r.published()
	if err != nil {
		return nil, err
	}
	doc := s.targets[family]
	if doc == nil || family == metadata.TARGETS {
		return nil, nil
	}
	var out []Bundle
	for n, t := range doc.Signed.Targets {
		_, v, _ := strings.Cut(n, "/")
		if isBeside(n) || CompareVersions(v, version) >= 0 {
			continue
		}
		sum := t.Hashes["sha256"].String()
		out = append(out, Bundle{n, sum, t.Length, r.path(targetsDir, family, sum+"."+v)})
	}
	slices.SortFunc(out, func(a, b Bundle) int { return CompareVersions(path.Base(b.Name), path.Base(a.Name)) })
	return out, nil
}

// Has says whether a target of this name is published.
func (r *Repo) Has(name string) (bool, error) {
	family, _, _ := strings.Cut(name, "/")
	s, err := r.published()
	if err != nil || s.targets[family] == nil {
		return false, err
	}
	return s.targets[family].Signed.Targets[name] != nil, nil
}

// Add signs a bundle as a target of its family. custom is signed with it and may be nil. A family that is new gets a key and a
// delegation of its own. A version that exists is never replaced: the same bytes are nothing to do, others are refused. What is given beside
// it, its manifest and patches to it, is signed in the same change.
func (r *Repo) Add(file, name string, custom json.RawMessage, beside ...Item) (Result, error) {
	if err := CheckTarget(name); err != nil {
		return Result{}, err
	}
	family, _, _ := strings.Cut(name, "/")
	for _, it := range beside {
		if !isTarget(it.Name, besideBytes) || !strings.HasPrefix(it.Name, family+"/") || !isBeside(it.Name) {
			return Result{}, fmt.Errorf("target %q: it cannot be signed beside %s", it.Name, name)
		}
	}
	items, err := measureAll(append([]Item{{file, name, custom}}, beside...))
	if err != nil {
		return Result{}, err
	}
	earlier, done, err := r.resume()
	if err != nil || (done && r.conf.DryRun) {
		return earlier, err
	}
	c, err := r.begin()
	if err != nil {
		return Result{}, err
	}
	if done {
		c.result.Notes = append(earlier.Notes, "published an earlier change that was cut short: "+strings.Join(earlier.Changed, ", "))
	}
	res, err := r.addAll(c, family, items)
	res.Published = res.Published || (done && err == nil)
	return res, err
}

// addAll puts the first, the bundle, and what is beside it under the family.
func (r *Repo) addAll(c *change, family string, items []measured) (Result, error) {
	if old := c.targets[family]; old != nil {
		for i, it := range items {
			there, err := it.published(old.Signed.Targets[it.Name])
			if err != nil {
				return c.result, err
			}
			if there && i == 0 {
				c.result.Note = it.Name + " is published already, with these very bytes"
				return c.result, nil
			}
		}
	} else if err := r.delegate(c, family); err != nil {
		return c.result, err
	}
	for _, it := range items {
		t := &metadata.TargetFiles{Length: it.size, Hashes: metadata.Hashes{"sha256": it.sum}, Path: it.Name}
		if it.Custom != nil {
			t.Custom = &it.Custom
		}
		r.editTargets(c, family).Targets[it.Name] = t
		if r.conf.DryRun {
			continue
		}
		if err := r.copyIn(it.File, path.Join(family, hex.EncodeToString(it.sum)+"."+path.Base(it.Name)), it.size, it.sum); err != nil { // nothing points at it until it is signed
			return c.result, err
		}
	}
	return r.finish(c, false)
}

// measured is an item whose file was read once.
type measured struct {
	Item
	size int64
	sum  []byte
}

func measureAll(items []Item) ([]measured, error) {
	var out []measured
	for _, it := range items {
		if it.Custom != nil && !json.Valid(it.Custom) {
			return nil, errors.New("the custom part is not JSON")
		}
		size, sum, err := measure(filepath.Clean(it.File))
		if err != nil {
			return nil, err
		}
		out = append(out, measured{it, size, sum})
	}
	return out, nil
}

// published says whether t, which may be nil, is this very file; another one is refused.
func (m measured) published(t *metadata.TargetFiles) (bool, error) {
	switch {
	case t == nil:
		return false, nil
	case t.Length == m.size && bytes.Equal(t.Hashes["sha256"], m.sum):
		return true, nil
	}
	return false, fmt.Errorf("%s exists with other bytes (SHA-256 %s…); a version is never replaced: give this one a new number", m.Name, t.Hashes["sha256"].String()[:12])
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"heron/internal/delta"
	"heron/internal/fetch"
	"heron/sync/models"
	"heron/sync/trust"
)

// patchCount is how bundles came since the start.
type patchCount struct {
	made atomic.Int64 // of a bundle that was here and a patch
	lost atomic.Int64 // whole, because a patch that was fetched or wanted did not fit
}

// Fetch leaves the archive at f.Path, or a folder that was made of a bundle which is here and a signed patch.
func (s *source) Fetch(ctx context.Context, f models.Fetching) error {
	if err := s.u.mayFlow(ctx); err != nil && !f.Made() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	err := later(s.bring(ctx, f))
	if errors.Is(err, fetch.ErrDigest) || errors.Is(err, fetch.ErrChanging) {
		return &models.InVain{Err: err}
	}
	return err
}

// bring is Fetch while bytes may flow.
func (s *source) bring(ctx context.Context, f models.Fetching) error {
	t, err := s.trust.Target(ctx, f.Offer.Target)
	if err != nil {
		return err
	}
	if t.SHA256 != f.Offer.SHA256 {
		return fmt.Errorf("%s is signed with another digest by now", f.Offer.Target)
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o750); err != nil {
		return err
	}
	done, err := s.byPatch(ctx, f)
	if done || err != nil {
		return err
	}
	if info, err := os.Lstat(f.Path); err == nil && info.IsDir() {
		if err := os.RemoveAll(f.Path); err != nil {
			return fmt.Errorf("clear the place of the archive: %w", err)
		}
	}
	return s.u.fetch.File(ctx, fetch.Request{URLs: t.URLs, Path: f.Path, Size: f.Offer.Size, SHA256: f.Offer.SHA256, Progress: f.Progress, Waits: f.Waits})
}

// byPatch is false where the archive is to be fetched. An error is one that another try may not have: what is there of the patch stays.
func (s *source) byPatch(ctx context.Context, f models.Fetching) (done bool, err error) {
	if f.Made() {
		return true, nil
	}
	d, base := f.Patch()
	if d.Target == "" {
		return false, nil
	}
	err = s.patch(ctx, f, d, base)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil && !useless(err) {
		return false, err
	}
	clear := errors.Join(dropFetched(patchFile(f)), dropFetched(manifestFile(f)))
	if clear != nil {
		s.a.log.Warn("what came of a patch could not be removed; it goes with the model", "error", clear)
	}
	if err != nil {
		s.a.log.Warn("the patch of a model is of no use; the whole bundle is fetched", "times", s.u.byPatch.lost.Add(1), "target", f.Offer.Target, "patch", d.Target, "error", err)
		return false, nil
	}
	s.a.log.Info("a model was made by a patch", "times", s.u.byPatch.made.Add(1), "target", f.Offer.Target, "patch", d.Target, "bytes", d.Size, "instead_of", f.Offer.Size)
	return true, nil
}

func patchFile(f models.Fetching) string    { return f.Path + ".hdp" }
func manifestFile(f models.Fetching) string { return f.Path + ".manifest.json" }

// dropFetched removes a fetched file and what is there of it.
func dropFetched(name string) error {
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, fetch.Discard(name))
}

// misfit is signed metadata of a patch or a manifest that contradicts the bundle's.
type misfit string

func (e misfit) Error() string { return string(e) }

// useless says that the same patch would not do next time either; anything else, such as a link that is down, is tried again.
func useless(err error) bool {
	var m misfit
	for _, of := range []error{delta.ErrPatch, fetch.ErrDigest, fetch.ErrSize, fetch.ErrChanging, fs.ErrNotExist} {
		if errors.Is(err, of) {
			return true
		}
	}
	return errors.As(err, &m)
}

// patch fetches the manifest and the patch, each a signed target of its own, and makes the bundle.
func (s *source) patch(ctx context.Context, f models.Fetching, d models.Delta, base models.Bundle) error {
	manifest := f.Offer.Target + ".manifest.json"
	if err := s.beside(ctx, manifest, manifestFile(f), func(size int64, sum string) bool { return size <= 1<<20 && sum == f.Offer.Manifest }, f, nil); err != nil {
		return err
	}
	if err := s.beside(ctx, d.Target, patchFile(f), func(size int64, _ string) bool { return size == d.Size }, f, f.Progress); err != nil {
		return err
	}
	err := f.ApplyPatch(ctx, base, manifestFile(f), patchFile(f))
	if err != nil && ctx.Err() == nil {
		return misfit(err.Error()) // what is read is here: the archive needs none of it
	}
	return err
}

// beside fetches a target that comes with the bundle's, if what is signed of it is what the bundle's says.
func (s *source) beside(ctx context.Context, target, path string, right func(size int64, sum string) bool, f models.Fetching, progress func(done, total int64)) error {
	t, err := s.trust.Target(ctx, target)
	if errors.Is(err, trust.ErrNetwork) {
		return err
	}
	if err != nil {
		return misfit(err.Error())
	}
	if t.SHA256 == "" || !right(t.Size, t.SHA256) {
		return misfit(target + " is signed with another size or digest than the bundle says")
	}
	return s.u.fetch.File(ctx, fetch.Request{URLs: t.URLs, Path: path, Size: t.Size, SHA256: t.SHA256, Progress: progress, Waits: f.Waits})
}

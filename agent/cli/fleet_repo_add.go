package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"heron/sync/models"
	"heron/sync/repo"
)

// mostPatches of one bundle: each is a target that every device reads of.
const mostPatches = 16

func (a *app) repoAdd(f *repoFlags) *cobra.Command {
	var as, customFile string
	var patches int
	c := &cobra.Command{Use: "add BUNDLE.tar.zst", Short: "Sign a bundle as a target of its family, with patches from the versions before it", Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			name, err := as, error(nil)
			if name == "" {
				name, err = repo.NameOf(list[0])
			}
			if err != nil {
				return usage("add: %v", err)
			}
			if patches < 0 || patches > mostPatches {
				return usage("add: --delta-from %d; expected 0 to %d", patches, mostPatches)
			}
			p := &publication{file: list[0], name: name, most: patches}
			if p.custom, err = readCustom(customFile); err != nil {
				return err
			}
			return a.withRepo(f, p.add)
		}}
	c.Flags().StringVar(&as, "as", "", "the target's name, `FAMILY/VERSION` (default: from the file name, FAMILY-VERSION.tar.zst)")
	c.Flags().StringVar(&customFile, "custom", "", "a JSON `file` with an object to sign with the target")
	c.Flags().IntVar(&patches, "delta-from", 3, "how many earlier versions get a patch to this one; 0: none")
	return c
}

// readCustom reads what the publisher wants to be signed; without a file it is empty.
func readCustom(file string) (map[string]any, error) {
	custom := map[string]any{}
	if file == "" {
		return custom, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &custom); err != nil || custom == nil {
		return nil, fmt.Errorf("%s: the custom part is not a JSON object: %w", file, errors.Join(err))
	}
	return custom, nil
}

// publication is a bundle on its way into the repository.
type publication struct {
	file, name string
	most       int // patches
	custom     map[string]any
	scratch    string
	dir        string // the bundle's folder
	beside     []repo.Item
	deltas     []models.Delta
	notes      []string
}

// add opens the bundle as a device will, and signs it with its manifest and its patches.
func (p *publication) add(r *repo.Repo) (res repo.Result, err error) {
	if p.scratch, err = os.MkdirTemp("", "heron-add-*"); err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.scratch)) }()
	about, err := p.open()
	if err != nil {
		return res, err
	}
	p.beside = []repo.Item{{File: filepath.Join(p.dir, "manifest.json"), Name: p.name + repo.ManifestEnding}}
	if there, err := r.Has(p.name); err != nil || there { // the same again, or other bytes: no patch is needed to say so
		p.most = 0
		if err != nil {
			return res, err
		}
	}
	if err := p.patches(r); err != nil {
		return res, err
	}
	maps.Copy(p.custom, map[string]any{"unpacked": about.Unpacked, "manifest": about.Manifest})
	delete(p.custom, "deltas")
	if len(p.deltas) > 0 {
		p.custom["deltas"] = p.deltas
	}
	custom, err := json.Marshal(p.custom)
	if err != nil {
		return res, err
	}
	res, err = r.Add(p.file, p.name, custom, p.beside...)
	res.Notes = append(res.Notes, p.notes...)
	return res, err
}

// open unpacks the bundle and holds its manifest to the target's name.
func (p *publication) open() (about models.Published, err error) {
	if p.dir, err = models.Open(p.file, filepath.Join(p.scratch, "new")); err != nil {
		return about, err
	}
	if about, err = models.Inspect(p.dir); err != nil {
		return about, fmt.Errorf("%s: %w; pack it with: heron model pack", p.file, err)
	}
	if is := about.Name + "/" + about.Version; is != p.name {
		return about, fmt.Errorf("%s is %s by its manifest and cannot be %s; correct name and version in the manifest, or --as", p.file, is, p.name)
	}
	return about, nil
}

// patches makes one from each of the newest earlier versions, where it pays. A version that cannot be read is noted.
func (p *publication) patches(r *repo.Repo) error {
	earlier, err := r.Bundles(p.name)
	if err != nil {
		return err
	}
	whole, err := os.Stat(p.file)
	if err != nil {
		return err
	}
	for _, from := range earlier[:min(p.most, len(earlier))] {
		size, err := p.patch(from, whole.Size())
		switch {
		case err != nil:
			p.notes = append(p.notes, fmt.Sprintf("no patch from %s: %v", from.Name, err))
		case size == 0:
			p.notes = append(p.notes, fmt.Sprintf("no patch from %s: it would not be much smaller than the whole", from.Name))
		default:
			p.notes = append(p.notes, fmt.Sprintf("patch from %s: %d bytes, %.1f %% of the whole", from.Name, size, 100*float64(size)/float64(whole.Size())))
		}
	}
	return nil
}

// patch makes the one from a version; 0: it does not pay.
func (p *publication) patch(from repo.Bundle, whole int64) (size int64, err error) {
	dir, err := models.Open(from.File, filepath.Join(p.scratch, "old"))
	if err != nil {
		return 0, err
	}
	if filepath.Base(dir) != from.SHA256 {
		return 0, fmt.Errorf("%s is not the archive that was signed", from.File)
	}
	before, err := models.Inspect(dir)
	if err != nil {
		return 0, err
	}
	name := from.Name + ".." + path.Base(p.name) + repo.PatchEnding
	file := filepath.Join(p.scratch, filepath.Base(name))
	w, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	err = models.MakePatch(dir, p.dir, w)
	st, statErr := w.Stat()
	if err = errors.Join(err, statErr, w.Close()); err != nil {
		return 0, err
	}
	if !models.PatchPays(st.Size(), whole) {
		return 0, nil
	}
	p.beside = append(p.beside, repo.Item{File: file, Name: name})
	p.deltas = append(p.deltas, models.Delta{From: from.Name, FromSHA256: from.SHA256, FromManifest: before.Manifest, Target: name, Size: st.Size()})
	return st.Size(), nil
}

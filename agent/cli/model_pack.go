package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"heron/inference"
	"heron/internal/atomicfile"
	"heron/sync/models"
	"heron/sync/repo"
)

// notesName is what `heron model init` leaves for its reader; it is no part of a bundle.
const notesName = "NOTES.md"

// maxManifestBytes is inference's own bound.
const maxManifestBytes = 1 << 20

type packFlags struct {
	out                                  string
	update, development, leaveOut, force bool
}

// packed is what `heron model pack --json` says.
type packed struct {
	Bundle         string   `json:"bundle"`
	Name           string   `json:"name"`
	Version        string   `json:"version"`
	Size           int64    `json:"size"`
	SHA256         string   `json:"sha256"`
	ManifestSHA256 string   `json:"manifest_sha256"`
	Files          int      `json:"files"`
	Published      bool     `json:"published"` // it has all that a published bundle needs
	Lacks          []string `json:"lacks,omitempty"`
	LeftOut        []string `json:"left_out,omitempty"`
	Unchanged      bool     `json:"unchanged,omitempty"` // the very same archive was there
}

func (a *app) modelPack() *cobra.Command {
	var f packFlags
	c := &cobra.Command{Use: "pack DIR", Short: "Make a .tar.zst of a bundle's folder: sizes and digests filled in, the same bytes every time, read back before it is there",
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error { return a.pack(c.Context(), list[0], f) }}
	c.Flags().StringVarP(&f.out, "output", "o", "", "the archive (default: NAME-VERSION.tar.zst here)")
	c.Flags().BoolVar(&f.update, "update", false, "write sizes and digests anew where they differ, also into the folder's manifest.json")
	c.Flags().BoolVar(&f.development, "development", false, "do without what a published bundle needs")
	c.Flags().BoolVar(&f.leaveOut, "leave-out", false, "pack without files that the manifest does not name, instead of refusing")
	c.Flags().BoolVar(&f.force, "force", false, "replace another archive of that name")
	return c
}

func (a *app) pack(ctx context.Context, dir string, f packFlags) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	defer root.Close()
	p, err := readFolder(root, dir)
	if err != nil {
		return err
	}
	res := packed{Name: p.m.Name, Version: p.m.Version, Lacks: lacks(p.m), LeftOut: p.unknown}
	if res.Published = len(res.Lacks) == 0; !res.Published && !f.development {
		return fmt.Errorf("pack %s: a published bundle also needs %s in %s; write them, or pack it for trials with --development", dir, strings.Join(res.Lacks, ", "), manifestName)
	}
	if err := repo.CheckTarget(res.Name + "/" + res.Version); err != nil && !f.development {
		return fmt.Errorf("pack %s: no repository takes it: %v; correct it, or pack it for trials with --development", dir, err)
	}
	if len(p.unknown) > 0 && !f.leaveOut {
		return fmt.Errorf("pack %s: %s does not name %s; delete them, name them in files, or pack without them with --leave-out", dir, manifestName, strings.Join(p.unknown, ", "))
	}
	if res.Bundle = f.out; f.out == "" {
		res.Bundle = p.m.Name + "-" + p.m.Version + ".tar.zst"
	}
	p.meter = a.meter(ctx, p.size)
	err = p.write(&res, f)
	p.meter.end()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("pack %s: interrupted; no archive was written", dir)
	case err != nil:
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	if a.json {
		return json.NewEncoder(a.out).Encode(res)
	}
	return a.printPacked(&res)
}

func (a *app) printPacked(r *packed) error {
	state := ""
	if r.Unchanged {
		state = " (was there already, the same)"
	}
	fmt.Fprintf(a.out, "%s%s\n  %s %s, %s, %s (%d bytes)\n  sha256 %s\n", r.Bundle, state, r.Name, r.Version, plural(r.Files, "file"), amount(r.Size), r.Size, r.SHA256)
	if !r.Published {
		fmt.Fprintf(a.out, "  for trials only: a published bundle also needs %s\n", strings.Join(r.Lacks, ", "))
	}
	if len(r.LeftOut) > 0 {
		fmt.Fprintf(a.out, "  left out: %s\n", strings.Join(r.LeftOut, ", "))
	}
	return nil
}

// packing is a folder on its way into an archive.
type packing struct {
	root    *os.Root
	dir     string
	m       *inference.Manifest
	files   []inference.File // what goes in, with roles; sizes and digests as the manifest has them
	unknown []string
	size    int64
	meter   *meter
}

func readFolder(root *os.Root, dir string) (*packing, error) {
	f, err := root.Open(manifestName)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %s: %w; name a bundle's folder, or begin one with `heron model init`", dir, manifestName, underlying(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifestBytes))
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	p := &packing{root: root, dir: dir}
	if p.m, err = inference.ParseManifest(b); err != nil {
		return nil, fmt.Errorf("pack: %s/%w", dir, err)
	}
	p.name()
	if err := fs.WalkDir(root.FS(), ".", p.look); err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	return p, nil
}

// name lists the files that the manifest names: those in files first, as they stand there.
func (p *packing) name() {
	p.files = slices.Clone(p.m.Files)
	add := func(name, role string) {
		i := slices.IndexFunc(p.files, func(f inference.File) bool { return f.Path == name })
		if i < 0 {
			p.files = append(p.files, inference.File{Path: name, Role: role})
		} else if p.files[i].Role == "" {
			p.files[i].Role = role
		}
	}
	for _, e := range p.m.Engines {
		add(e.File, "weights")
		if beside, ok := strings.CutSuffix(e.File, ".xml"); ok {
			if _, err := p.root.Lstat(beside + ".bin"); err == nil {
				add(beside+".bin", "weights")
			}
		}
	}
	add(p.m.Labels, "labels")
	if p.m.Baseline != "" {
		add(p.m.Baseline, "baseline")
	}
	for _, g := range p.m.Golden {
		add(g.Input, "golden")
	}
}

// look sorts what lies in the folder.
func (p *packing) look(name string, d fs.DirEntry, err error) error {
	if err != nil || d.IsDir() || name == manifestName || name == notesName {
		return err
	}
	if slices.ContainsFunc(p.files, func(f inference.File) bool { return f.Path == name }) {
		if st, err := d.Info(); err == nil {
			p.size += st.Size()
		}
		return nil
	}
	switch strings.ToUpper(strings.TrimSuffix(name, path.Ext(name))) {
	case "LICENSE", "NOTICE":
		p.files = append(p.files, inference.File{Path: name, Role: "license"})
	case "README":
		p.files = append(p.files, inference.File{Path: name, Role: "doc"})
	default:
		p.unknown = append(p.unknown, name)
	}
	return nil
}

// write copies what goes in aside, packs the copy, reads the archive back and only then gives it its name.
func (p *packing) write(res *packed, f packFlags) error {
	stage, err := os.MkdirTemp(filepath.Dir(res.Bundle), ".heron-pack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	content, archive := filepath.Join(stage, "content"), filepath.Join(stage, "archive")
	if err := p.copy(content); err != nil {
		return err
	}
	if err := p.compare(f.update); err != nil {
		return err
	}
	p.m.Files = p.files
	b, err := marshalManifest(p.m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(content, manifestName), b, 0o644); err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	res.ManifestSHA256, res.Files = hex.EncodeToString(sum[:]), len(p.files)+1
	if res.SHA256, res.Size, err = p.archive(content, archive); err != nil {
		return err
	}
	if err := p.readBack(archive, filepath.Join(stage, "back"), res); err != nil {
		return fmt.Errorf("the archive was read back: %w", err)
	}
	if f.update {
		if err := atomicfile.Write(filepath.Join(p.dir, manifestName), b, 0o644); err != nil {
			return err
		}
	}
	return p.place(archive, res, f.force)
}

// copy brings the files into a folder of their own and notes what was copied: what is hashed is what is packed.
func (p *packing) copy(to string) error {
	p.meter.begin("reading")
	for i := range p.files {
		f := &p.files[i]
		dst := filepath.Join(to, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		w, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		now, err := fileDigest(p.root, f.Path, io.MultiWriter(w, p.meter))
		if err = errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("%s names a file that cannot be packed: %w", manifestName, err)
		}
		now.Role = f.Role
		*f = now
	}
	return nil
}

// compare refuses digests that are not the files' own.
func (p *packing) compare(update bool) error {
	if len(p.m.Files) == 0 || update {
		return nil
	}
	var wrong []string
	for _, f := range p.files {
		i := slices.IndexFunc(p.m.Files, func(g inference.File) bool { return g.Path == f.Path })
		switch {
		case i < 0:
			wrong = append(wrong, f.Path+" is not listed")
		case p.m.Files[i].Size != f.Size:
			wrong = append(wrong, fmt.Sprintf("%s has %d bytes, not %d", f.Path, f.Size, p.m.Files[i].Size))
		case p.m.Files[i].SHA256 != f.SHA256:
			wrong = append(wrong, fmt.Sprintf("%s has the digest %.12s…, not %.12s…", f.Path, f.SHA256, p.m.Files[i].SHA256))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("files in %s is not what lies in the folder: %s; find out which is right, then pack with --update", manifestName, strings.Join(wrong, "; "))
	}
	return nil
}

func (p *packing) archive(content, archive string) (digest string, size int64, err error) {
	w, err := os.OpenFile(archive, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return "", 0, err
	}
	p.meter.begin("packing")
	h := sha256.New()
	err = models.Pack(content, io.MultiWriter(w, h, p.meter))
	if err == nil {
		err = w.Sync()
	}
	st, statErr := w.Stat()
	if err = errors.Join(err, statErr, w.Close()); err != nil {
		return "", 0, errors.New(strings.ReplaceAll(err.Error(), "pack "+content+": ", ""))
	}
	return hex.EncodeToString(h.Sum(nil)), st.Size(), nil
}

// readBack does what a device will do, and compares every file.
func (p *packing) readBack(archive, cache string, res *packed) error {
	dir, err := models.Open(archive, cache)
	if err != nil {
		return err
	}
	if got := filepath.Base(dir); got != res.SHA256 {
		return fmt.Errorf("its digest is %s, %s was written", got, res.SHA256)
	}
	b, err := inference.ReadBundle(dir, nil)
	if err != nil {
		return err
	}
	p.meter.begin("reading back")
	wrong, err := checkFiles(dir, b.Manifest, p.meter)
	if err == nil && len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "; "))
	}
	if err != nil {
		return err
	}
	return goldenLabels(b)
}

// goldenLabels wants every golden answer to be a label.
func goldenLabels(b *inference.Bundle) error {
	for i, g := range b.Manifest.Golden {
		if !slices.Contains(b.Labels, g.Top1) {
			return fmt.Errorf("golden[%d].top1 %q is no label of %s", i, g.Top1, b.Manifest.Labels)
		}
	}
	return nil
}

// checkFiles compares a folder with its manifest's files; wrong says what differs.
func checkFiles(dir string, m *inference.Manifest, w io.Writer) (wrong []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	known := map[string]bool{manifestName: true, notesName: true}
	for _, f := range m.Files {
		known[f.Path] = true
		now, err := fileDigest(root, f.Path, w)
		switch {
		case err != nil:
			wrong = append(wrong, err.Error())
		case now.Size != f.Size:
			wrong = append(wrong, fmt.Sprintf("%s has %d bytes, the manifest says %d", f.Path, now.Size, f.Size))
		case now.SHA256 != f.SHA256:
			wrong = append(wrong, fmt.Sprintf("%s has the digest %.12s…, the manifest says %.12s…", f.Path, now.SHA256, f.SHA256))
		}
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !known[name] && len(m.Files) > 0 {
			wrong = append(wrong, name+" is not named by the manifest")
		}
		return err
	})
	return wrong, err
}

// place gives the archive its name.
func (p *packing) place(archive string, res *packed, force bool) error {
	if old, err := os.Open(res.Bundle); err == nil {
		h := sha256.New()
		_, err = io.Copy(h, old)
		if err = errors.Join(err, old.Close()); err != nil {
			return fmt.Errorf("%s is in the way: %w", res.Bundle, err)
		}
		if res.Unchanged = hex.EncodeToString(h.Sum(nil)) == res.SHA256; !res.Unchanged && !force {
			return fmt.Errorf("%s is there already and is another; raise version, or replace it with --force", res.Bundle)
		}
	}
	if res.Unchanged {
		return nil
	}
	if err := p.meter.ctx.Err(); err != nil {
		return err
	}
	if err := os.Rename(archive, res.Bundle); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(res.Bundle))
}

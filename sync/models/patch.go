package models

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"heron/internal/delta"
)

// Delta is a patch that the publisher has signed beside a bundle. The bundle it is made from goes by the digest of its archive, or
// by that of its manifest.json: of one that came with the configuration no more is known.
type Delta struct {
	From         string `json:"from"` // target
	FromSHA256   string `json:"from_sha256"`
	FromManifest string `json:"from_manifest,omitempty"`
	Target       string `json:"target"`
	Size         int64  `json:"size"` // bytes
}

// PatchPays says whether a patch is worth its risk of being fetched for nothing: under 60 % of the whole (docs/decisions/0008).
func PatchPays(patch, whole int64) bool { return patch > 0 && float64(patch) < 0.6*float64(whole) }

// Published is what is signed of a bundle beside its archive.
type Published struct {
	Name, Version string
	Manifest      string // SHA-256 of manifest.json
	Unpacked      int64  // bytes of all files
}

// Inspect reads the folder of a bundle as a device will before it stores it: every file named, of the right size and digest, and no other.
func Inspect(dir string) (Published, error) {
	m, err := checkFolder(dir, "", false)
	if err != nil {
		return Published{}, err
	}
	p := Published{Name: m.Name, Version: m.Version, Manifest: m.digest}
	for _, f := range m.layout() {
		p.Unpacked += f.Size
	}
	return p, nil
}

// MakePatch writes the patch from one bundle's folder to another's: their files laid end to end, manifest.json first. Both are held in memory.
func MakePatch(from, to string, w io.Writer) error {
	before, err := wholeOf(from)
	if err != nil {
		return err
	}
	after, err := wholeOf(to)
	if err != nil {
		return err
	}
	return delta.Make(before, after, w)
}

func wholeOf(dir string) ([]byte, error) {
	l, err := layOut(dir)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return io.ReadAll(io.NewSectionReader(l, 0, l.size))
}

// Patch is the smallest patch that pays and starts from a bundle that is here, undamaged to the last byte; "" in Target: there is none.
func (f Fetching) Patch() (Delta, Bundle) {
	c, err := parseCustom(f.Offer.Custom)
	if err != nil || !isDigest(f.Offer.Manifest) {
		return Delta{}, Bundle{}
	}
	best, base := Delta{}, Bundle{}
	for _, d := range c.Deltas {
		if !PatchPays(d.Size, f.Offer.Size) || best.Target != "" && best.Size <= d.Size {
			continue
		}
		for _, b := range f.Have {
			if d.startsFrom(b) {
				best, base = d, b
				break
			}
		}
	}
	return best, base
}

func (d Delta) startsFrom(b Bundle) bool {
	m, err := checkFolder(b.Dir, b.Manifest, true)
	if err != nil {
		return false
	}
	if !(isDigest(d.FromSHA256) && d.FromSHA256 == b.Digest) && d.FromManifest != m.digest {
		return false
	}
	_, err = checkFolder(b.Dir, b.Manifest, false) // a patch for a damaged bundle would be fetched for nothing
	return err == nil
}

// ApplyPatch makes the bundle at f.Path, a folder, of the one in base, the fetched manifest and the patch. Every file is checked against the manifest,
// which must have the signed digest. The folder appears whole or not at all; errors that are delta.ErrPatch mean that the patch is of no use here.
func (f Fetching) ApplyPatch(ctx context.Context, base Bundle, manifestFile, patchFile string) error {
	c, err := parseCustom(f.Offer.Custom)
	if err != nil {
		return err
	}
	b, err := readHere(manifestFile, maxManifest)
	if err != nil {
		return err
	}
	m, err := parseManifest(b, f.Offer.Manifest)
	if err != nil {
		return err
	}
	if n := m.bytes(); n > unpackedBound(f.Offer, c) || len(m.Files) >= defaultLimits().files {
		return fmt.Errorf("its manifest names %d files of %d bytes, more than are signed", len(m.Files), n)
	}
	aside := f.Path + ".patched"
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("clear the place for the patched bundle: %w", err)
	}
	if err := f.applyAside(ctx, base, m, patchFile, aside); err != nil {
		return errors.Join(err, os.RemoveAll(aside))
	}
	if err := os.RemoveAll(f.Path); err != nil {
		return err
	}
	return os.Rename(aside, f.Path)
}

func (f Fetching) applyAside(ctx context.Context, base Bundle, m *manifest, patchFile, aside string) error {
	old, err := layOut(base.Dir)
	if err != nil {
		return fmt.Errorf("open the bundle that the patch starts from: %w", err)
	}
	defer old.close()
	patch, err := os.Open(patchFile)
	if err != nil {
		return err
	}
	defer patch.Close()
	if err := os.Mkdir(aside, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(aside)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := delta.ApplyFiles(old, old.size, &canceled{ctx, patch}, m.layout(), func(f delta.File) (io.WriteCloser, error) { return createIn(root, f.Path) }); err != nil {
		return err
	}
	if _, err := checkFolder(aside, m.digest, true); err != nil {
		return err
	}
	return syncTree(aside)
}

func createIn(root *os.Root, name string) (io.WriteCloser, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if d := path.Dir(name); d != "." {
		if err := root.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	return syncing{f}, err
}

// syncing is a file that is safe on the disk when it is closed.
type syncing struct{ *os.File }

func (s syncing) Close() error { return errors.Join(s.Sync(), s.File.Close()) }

// Made says whether f.Path is the bundle's folder already, from a life before this one.
func (f Fetching) Made() bool {
	if !isDigest(f.Offer.Manifest) {
		return false
	}
	_, err := checkFolder(f.Path, f.Offer.Manifest, false)
	return err == nil
}

// layout is how a bundle's files lie end to end for a patch.
func (m *manifest) layout() []delta.File {
	files := []delta.File{{Path: manifestName, Size: m.size, SHA256: m.digest}}
	for _, f := range m.Files {
		files = append(files, delta.File{Path: f.Path, Size: f.Size, SHA256: f.SHA256})
	}
	return files
}

// bytes of all files; a sum that a hostile manifest makes overflow is told as the largest there is.
func (m *manifest) bytes() (n int64) {
	for _, f := range m.layout() {
		if f.Size < 0 || n+f.Size < n {
			return 1<<63 - 1
		}
		n += f.Size
	}
	return n
}

// laidOut is a bundle's files end to end, open.
type laidOut struct {
	io.ReaderAt
	size  int64
	files []*os.File
}

func (l *laidOut) close() {
	for _, f := range l.files {
		_ = f.Close() // only read
	}
}

func layOut(dir string) (*laidOut, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m, err := readManifest(root, "")
	if err != nil {
		return nil, err
	}
	l := &laidOut{}
	var parts []delta.Part
	for _, f := range m.layout() {
		file, err := openPlain(root, f.Path)
		if err != nil {
			l.close()
			return nil, err
		}
		l.files = append(l.files, file)
		parts = append(parts, delta.Part{ReaderAt: file, Size: f.Size})
	}
	l.ReaderAt, l.size = delta.Join(parts...)
	return l, nil
}

func readHere(file string, most int64) ([]byte, error) {
	root, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return readPlain(root, filepath.Base(file), most)
}

package models

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

const (
	maxManifest = 1 << 20
	maxBaseline = 1 << 20
)

// manifest is the part of a bundle's manifest.json that matters for bringing it here; heron-vision reads all of it, strictly.
type manifest struct {
	V        int            `json:"v"`
	Name     string         `json:"name"`
	Version  string         `json:"version"`
	Files    []manifestFile `json:"files"`
	Labels   string         `json:"labels"`
	Baseline string         `json:"baseline"`
	Budget   struct {
		LatencyMS float64 `json:"latency_ms"`
		RSSMB     float64 `json:"rss_mb"`
	} `json:"budget"`
	digest string
	size   int64 // bytes of manifest.json itself
}

type manifestFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// baseline is what the trainer saw of the model on pictures that training never did.
type baseline struct {
	N          int            `json:"n"`
	Confidence float64        `json:"mean_confidence"`
	Labels     map[string]int `json:"labels"`
}

func (m *manifest) model() string { return m.Name + "@" + m.Version }

func (m *manifest) labels() string {
	for _, f := range m.Files {
		if f.Path == m.Labels {
			return f.SHA256
		}
	}
	return ""
}

// readManifest reads manifest.json in root; want, where it is set, is its digest.
func readManifest(root *os.Root, want string) (*manifest, error) {
	b, err := readPlain(root, manifestName, maxManifest)
	if err != nil {
		return nil, err
	}
	return parseManifest(b, want)
}

func parseManifest(b []byte, want string) (*manifest, error) {
	sum := sha256.Sum256(b)
	m := &manifest{digest: hex.EncodeToString(sum[:]), size: int64(len(b))}
	if want != "" && m.digest != want {
		return nil, fmt.Errorf("%s is another: its digest is %s…, expected %s…", manifestName, m.digest[:12], want[:min(12, len(want))])
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.V != 1 || m.Name == "" || m.Version == "" || len(m.Name)+len(m.Version) > 256 {
		return nil, fmt.Errorf("%s: v is not 1, or name or version is missing or too long", manifestName)
	}
	return m, nil
}

// readPlain reads a plain file that no link leads to.
func readPlain(root *os.Root, name string, most int64) ([]byte, error) {
	f, err := openPlain(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return b, nil
}

func openPlain(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a plain file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) {
		return nil, errors.Join(fmt.Errorf("%s was exchanged while it was opened", name), err, f.Close())
	}
	return f, nil
}

// checkFiles compares every file with the manifest: none may be missing, none other, none different. With quick only names and sizes are
// compared. A published bundle must name them all.
func (m *manifest) checkFiles(root *os.Root, quick bool) error {
	if len(m.Files) == 0 {
		return fmt.Errorf("%s names no files; a published bundle gives the size and SHA-256 of each", manifestName)
	}
	known := map[string]bool{manifestName: true}
	for _, f := range m.Files {
		if err := checkName(f.Path); err != nil {
			return fmt.Errorf("%s: %w", manifestName, err)
		}
		if known[f.Path] {
			return fmt.Errorf("%s names %s twice", manifestName, f.Path)
		}
		known[f.Path] = true
		if err := f.check(root, quick); err != nil {
			return err
		}
	}
	return noOthers(root, ".", known)
}

func (f manifestFile) check(root *os.Root, quick bool) error {
	file, err := openPlain(root, f.Path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is named by the manifest, and is not there", f.Path)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != f.Size {
		return fmt.Errorf("%s has %d bytes; its manifest says %d", f.Path, info.Size(), f.Size)
	}
	if quick {
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("%s has the digest %s…; its manifest says %.12s…", f.Path, got[:12], f.SHA256)
	}
	return nil
}

// noOthers refuses what the manifest does not name.
func noOthers(root *os.Root, dir string, known map[string]bool) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if err := noOthers(root, name, known); err != nil {
				return err
			}
		case !known[name]:
			return fmt.Errorf("%s is not named by the manifest", name)
		}
	}
	return nil
}

// about is what the judge needs of a bundle: its budget and its baseline. A baseline that cannot be read is none.
func about(dir string) (budgetMS float64, base *baseline) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, nil
	}
	defer root.Close()
	m, err := readManifest(root, "")
	if err != nil {
		return 0, nil
	}
	if m.Baseline != "" && checkName(m.Baseline) == nil {
		b, err := readPlain(root, m.Baseline, maxBaseline)
		v := &baseline{}
		if err == nil && json.Unmarshal(b, v) == nil && v.N > 0 {
			base = v
		}
	}
	return m.Budget.LatencyMS, base
}

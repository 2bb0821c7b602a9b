package inference

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds on what is read from a bundle, in bytes.
const (
	maxManifest = 1 << 20
	maxLabels   = 16 << 20
	maxWeights  = 2 << 30 // ONNX files cannot be larger: protobuf's own bound
	maxGolden   = 64 << 20
)

// Bundle is a model folder whose manifest and labels have been read and checked; the weights are read by Load.
type Bundle struct {
	Dir        string
	Manifest   *Manifest
	Labels     []string
	Candidates []Candidate // at least one, in the order in which they are to be tried
	Missing    []string    // choices that were wanted and for which the bundle has no entry
}

// Candidate is one engine's entry, with its overrides applied. Its Spec has no digest before Load.
type Candidate struct {
	Engine string
	File   string
	Spec   Spec
}

// ReadBundle reads manifest.json and the label file of a bundle's folder and picks the entries for the wanted engines
// (see ParseChoice), in that order; none, or "auto", is the bundle's own order. Every error is a *Refusal.
func ReadBundle(dir string, engines []string) (*Bundle, error) {
	b := &Bundle{Dir: dir}
	raw, err := b.read("manifest.json", maxManifest)
	if err != nil {
		return nil, err
	}
	if b.Manifest, err = ParseManifest(raw); err != nil {
		return nil, &Refusal{Code: CodeManifest, What: dir + "/" + err.Error(), NextStep: "correct manifest.json", Err: err}
	}
	if err := b.readLabels(); err != nil {
		return nil, err
	}
	return b, b.pick(engines)
}

func (b *Bundle) readLabels() error {
	name := b.Manifest.Labels
	raw, err := b.checked(name, maxLabels)
	if err != nil {
		return err
	}
	if b.Labels, err = parseLabels(raw); err != nil {
		return &Refusal{Code: CodeLabels, What: fmt.Sprintf("%s/%s: %v", b.Dir, name, err), NextStep: "write one label a line, in the order of the model's outputs", Err: err}
	}
	for _, label := range sortedKeys(b.Manifest.Thresholds.PerLabel) {
		if !slices.Contains(b.Labels, label) {
			return Refuse(CodeManifest, "correct thresholds.per_label", "%s/manifest.json: thresholds.per_label[%q] names no label of %s", b.Dir, label, name)
		}
	}
	return nil
}

// parseLabels reads one label a line; a last newline, CRLF, a byte order mark and equal labels are fine.
func parseLabels(b []byte) ([]string, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not UTF-8 text")
	}
	text := strings.TrimSuffix(strings.ReplaceAll(strings.TrimPrefix(string(b), "\ufeff"), "\r\n", "\n"), "\n")
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("holds no labels")
	}
	labels := strings.Split(text, "\n")
	for i, l := range labels {
		labels[i] = strings.TrimSpace(l)
		if labels[i] == "" {
			return nil, fmt.Errorf("line %d is empty", i+1)
		}
		if strings.ContainsFunc(labels[i], func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("line %d holds a control character", i+1)
		}
	}
	return labels, nil
}

// pick fills Candidates and Missing.
func (b *Bundle) pick(engines []string) error {
	m := b.Manifest
	if len(engines) == 0 || len(engines) == 1 && engines[0] == "auto" {
		for _, e := range m.Engines {
			b.add(e, "")
		}
		return nil
	}
	for _, want := range engines {
		engine, device, err := ParseChoice(want)
		if err != nil {
			return err
		}
		before := len(b.Candidates)
		for _, e := range m.Engines {
			if e.Engine == engine {
				b.add(e, device)
			}
		}
		if len(b.Candidates) == before {
			b.Missing = append(b.Missing, want)
		}
	}
	if len(b.Candidates) == 0 {
		var has []string
		for _, e := range m.Engines {
			has = append(has, e.Engine)
		}
		return Refuse(CodeEngine, "ask for one of these, or for auto", "%s has no entry for %s; it has one for %s", b.Dir, strings.Join(engines, ", "), strings.Join(has, ", "))
	}
	return nil
}

func (b *Bundle) add(e EngineEntry, device string) {
	m := b.Manifest
	s := Spec{Name: m.Name, Version: m.Version, Engine: e.Engine, Device: device, Input: m.Input, Output: m.Output, Labels: b.Labels, Thresholds: m.Thresholds}
	if e.Input != nil {
		s.Input = *e.Input
	}
	if e.Output != nil {
		s.Output = *e.Output
	}
	if m.Budget != nil {
		s.Budget = *m.Budget
	}
	b.Candidates = append(b.Candidates, Candidate{Engine: e.Engine, File: e.File, Spec: s})
}

// Load reads a candidate's weights and checks them against the manifest's files; the bytes returned are the bytes checked.
// Beside an OpenVINO .xml lies its .bin, which is read and checked likewise; the digest is that of both, one after the other.
// Every error is a *Refusal.
func (b *Bundle) Load(c Candidate) (Model, error) {
	raw, err := b.checked(c.File, maxWeights)
	if err != nil {
		return Model{}, err
	}
	m := Model{File: c.File, Bytes: raw}
	if beside, ok := strings.CutSuffix(c.File, ".xml"); ok {
		if m.Weights, err = b.beside(beside + ".bin"); err != nil {
			return Model{}, err
		}
	}
	sum := sha256.New()
	sum.Write(m.Bytes) // a hash takes everything
	sum.Write(m.Weights)
	spec := c.Spec
	spec.Digest = hex.EncodeToString(sum.Sum(nil))
	m.Spec = &spec
	return m, nil
}

// beside reads the second file of a model. A model may do without one, unless the manifest lists it.
func (b *Bundle) beside(name string) ([]byte, error) {
	raw, err := b.checked(name, maxWeights)
	if errors.Is(err, fs.ErrNotExist) && !slices.ContainsFunc(b.Manifest.Files, func(f File) bool { return f.Path == name }) {
		return nil, nil
	}
	return raw, err
}

// checked reads a file and compares it with its entry in files.
func (b *Bundle) checked(name string, most int64) ([]byte, error) {
	raw, err := b.read(name, most)
	if err != nil {
		return nil, err
	}
	return raw, b.checkDigest(name, raw, sha256.Sum256(raw))
}

// ReadGolden reads the picture of a golden entry, checked like the weights.
func (b *Bundle) ReadGolden(g Golden) ([]byte, error) {
	return b.checked(g.Input, maxGolden)
}

// checkDigest compares a file with its entry in files. A manifest that lists files must list every file that is used.
func (b *Bundle) checkDigest(name string, raw []byte, sum [sha256.Size]byte) error {
	files := b.Manifest.Files
	if len(files) == 0 {
		return nil
	}
	next := "fetch or pack the bundle again"
	i := slices.IndexFunc(files, func(f File) bool { return f.Path == name })
	if i < 0 {
		return Refuse(CodeDigest, next, "%s/manifest.json: files does not name %s", b.Dir, name)
	}
	if f := files[i]; f.Size != int64(len(raw)) {
		return Refuse(CodeDigest, next, "%s/%s has %d bytes; the manifest says %d", b.Dir, name, len(raw), f.Size)
	}
	if got := hex.EncodeToString(sum[:]); got != files[i].SHA256 {
		return Refuse(CodeDigest, next, "%s/%s has the digest %s…; the manifest says %s…", b.Dir, name, got[:12], files[i].SHA256[:12])
	}
	return nil
}

// read reads a file of the bundle whole. The folder is a root that no link leads out of.
func (b *Bundle) read(name string, most int64) ([]byte, error) {
	root, err := os.OpenRoot(b.Dir)
	if err != nil {
		return nil, b.noFolder(err)
	}
	defer root.Close()
	st, err := root.Stat(name)
	if err != nil {
		return nil, b.noFile(name, err)
	}
	if !st.Mode().IsRegular() {
		return nil, Refuse(CodeBundle, "put a plain file there", "%s/%s is not a plain file", b.Dir, name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, b.noFile(name, err)
	}
	defer f.Close()
	var buf bytes.Buffer
	buf.Grow(int(min(st.Size(), most)) + bytes.MinRead)
	n, err := buf.ReadFrom(io.LimitReader(f, most+1))
	if err != nil {
		return nil, b.noFile(name, err)
	}
	if n > most {
		return nil, Refuse(CodeBundle, "make it smaller", "%s/%s is larger than %d MiB", b.Dir, name, most>>20)
	}
	return buf.Bytes(), nil
}

func (b *Bundle) noFolder(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Refusal{Code: CodeBundle, What: fmt.Sprintf("no such model folder: %q", b.Dir), NextStep: "give the folder that holds manifest.json", Err: err}
	}
	return &Refusal{Code: CodeBundle, What: fmt.Sprintf("model folder %q: %v", b.Dir, cause(err)), NextStep: "give a folder that this user can read", Err: err}
}

func (b *Bundle) noFile(name string, err error) error {
	r := &Refusal{Code: CodeBundle, What: fmt.Sprintf("%s/%s: %v", b.Dir, name, cause(err)), NextStep: "check the folder's files and their permissions", Err: err}
	if errors.Is(err, fs.ErrNotExist) {
		r.What, r.NextStep = fmt.Sprintf("%s has no %s", b.Dir, name), "give a bundle's folder, with the files that its manifest.json names"
	}
	if st, lerr := os.Lstat(filepath.Join(b.Dir, name)); lerr == nil && st.Mode()&fs.ModeSymlink != 0 {
		r.What, r.NextStep = fmt.Sprintf("%s/%s is a link that leads to no file in the folder", b.Dir, name), "put the file itself in its place"
	}
	return r
}

// cause strips the operation and the path, which the message has already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

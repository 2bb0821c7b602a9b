package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"heron/inference"
)

// inspected is what `heron model inspect --json` says.
type inspected struct {
	Bundle     string               `json:"bundle"`
	Archive    *archiveFacts        `json:"archive,omitempty"`
	Name       string               `json:"name"`
	Version    string               `json:"version"`
	Created    string               `json:"created,omitempty"`
	Dataset    string               `json:"dataset,omitempty"`
	Lacks      []string             `json:"lacks,omitempty"` // what a published bundle needs besides
	Engines    []inspectedEngine    `json:"engines"`
	Labels     labelFacts           `json:"labels"`
	Thresholds inference.Thresholds `json:"thresholds"`
	Golden     []inference.Golden   `json:"golden,omitempty"`
	Baseline   string               `json:"baseline,omitempty"`
	Budget     *inference.Budget    `json:"budget,omitempty"`
	Rest       restFacts            `json:"about"`
	Files      []inference.File     `json:"files"` // as they lie there
}

type archiveFacts struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

type labelFacts struct {
	File  string `json:"file"`
	Count int    `json:"count"`
}

type restFacts struct {
	Accuracy *inference.Accuracy `json:"accuracy,omitempty"`
	Targets  []string            `json:"targets,omitempty"`
	License  string              `json:"license,omitempty"`
}

type inspectedEngine struct {
	Engine    string           `json:"engine"`
	File      string           `json:"file"`
	Precision string           `json:"precision,omitempty"`
	Input     inference.Input  `json:"input"`
	Output    inference.Output `json:"output"`
}

func (a *app) modelInspect() *cobra.Command {
	return &cobra.Command{Use: "inspect BUNDLE", Short: "Say what a bundle holds: engines, shapes, labels, golden pictures, budget, sizes, digests", Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			o, err := openBundle(list[0])
			if err != nil {
				return err
			}
			defer o.close()
			in, err := inspect(list[0], o)
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.out).Encode(in)
			}
			return a.printInspected(in)
		}}
}

func inspect(path string, o *opened) (*inspected, error) {
	b, err := inference.ReadBundle(o.dir, nil)
	if err != nil {
		return nil, o.said(err)
	}
	m := b.Manifest
	in := &inspected{Bundle: path, Name: m.Name, Version: m.Version, Created: m.Created, Dataset: m.Dataset, Lacks: lacks(m), Labels: labelFacts{m.Labels, len(b.Labels)},
		Thresholds: m.Thresholds, Golden: m.Golden, Baseline: m.Baseline, Budget: m.Budget, Rest: restFacts{m.Accuracy, m.Targets, m.License}}
	if o.digest != "" {
		in.Archive = &archiveFacts{o.size, o.digest}
	}
	for i, c := range b.Candidates {
		in.Engines = append(in.Engines, inspectedEngine{c.Engine, c.File, m.Engines[i].Precision, c.Spec.Input, c.Spec.Output})
	}
	in.Files, err = filesOf(o.dir, m)
	return in, err
}

// filesOf are the bundle's files as they lie there, manifest.json first, with the manifest's roles.
func filesOf(dir string, m *inference.Manifest) ([]inference.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	p := &packing{root: root, m: m}
	p.name()
	var out []inference.File
	for _, f := range slices.Insert(p.files, 0, inference.File{Path: manifestName, Role: "manifest"}) {
		now, err := fileDigest(root, f.Path, io.Discard)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(dir), err)
		}
		now.Role = f.Role
		out = append(out, now)
	}
	return out, nil
}

func (a *app) printInspected(in *inspected) error {
	c := newCanvas(a.out)
	row := func(k, v string) []cell { return []cell{{k, faint}, {v, plain}} }
	rows := [][]cell{row("model", in.Name+" "+in.Version)}
	if in.Archive != nil {
		rows = append(rows, row("archive", fmt.Sprintf("%d bytes, sha256 %s", in.Archive.Size, in.Archive.SHA256)))
	}
	rows = append(rows, row("created", orNone(in.Created)), row("dataset", orNone(in.Dataset)),
		row("labels", fmt.Sprintf("%d in %s", in.Labels.Count, in.Labels.File)), row("thresholds", thresholds(&in.Thresholds)),
		row("golden", goldenWords(in.Golden)), row("baseline", orNone(in.Baseline)), row("budget", budget(in.Budget)), row("targets", orNone(strings.Join(in.Rest.Targets, ", "))))
	if acc := in.Rest.Accuracy; acc != nil {
		rows = append(rows, row("accuracy", fmt.Sprintf("%.4g on %d pictures", acc.HeldOut, acc.N)))
	}
	rows = append(rows, row("license", orNone(in.Rest.License)))
	if len(in.Lacks) > 0 {
		rows = append(rows, []cell{{"lacks", faint}, {strings.Join(in.Lacks, ", ") + " (to be published)", yellow}})
	}
	lines := append(c.table(rows), "")
	rows = [][]cell{{{"ENGINE", plain}, {"FILE", plain}, {"PRECISION", plain}, {"INPUT", plain}, {"OUTPUT", plain}}}
	for _, e := range in.Engines {
		rows = append(rows, []cell{{e.Engine, plain}, {e.File, plain}, {e.Precision, plain}, {inputWords(&e.Input), plain}, {outputWords(&e.Output), plain}})
	}
	lines = append(append(lines, c.table(rows)...), "")
	rows = [][]cell{{{"FILE", plain}, {"ROLE", plain}, {"BYTES", plain}, {"SHA256", plain}}}
	for _, f := range in.Files {
		rows = append(rows, []cell{{f.Path, plain}, {f.Role, plain}, {fmt.Sprint(f.Size), plain}, {f.SHA256, plain}})
	}
	return c.redraw(append(lines, c.table(rows)...))
}

func thresholds(t *inference.Thresholds) string {
	s := fmt.Sprintf("%g", t.Default)
	for _, k := range slices.Sorted(maps.Keys(t.PerLabel)) {
		s += fmt.Sprintf(", %s %g", k, t.PerLabel[k])
	}
	return s
}

func goldenWords(g []inference.Golden) string {
	if len(g) == 0 {
		return "none"
	}
	var labels []string
	for _, x := range g {
		if !slices.Contains(labels, x.Top1) {
			labels = append(labels, x.Top1)
		}
	}
	return fmt.Sprintf("%s of %s", plural(len(g), "picture"), strings.Join(labels, ", "))
}

func budget(b *inference.Budget) string {
	if b == nil || b.LatencyMS == 0 && b.RSSMB == 0 {
		return "none"
	}
	var parts []string
	if b.LatencyMS > 0 {
		parts = append(parts, fmt.Sprintf("%g ms", b.LatencyMS))
	}
	if b.RSSMB > 0 {
		parts = append(parts, fmt.Sprintf("%g MB", b.RSSMB))
	}
	return strings.Join(parts, ", ")
}

func inputWords(in *inference.Input) string {
	color, resize := in.Color, in.Resize
	if color == "" {
		color = "RGB"
	}
	if resize == "" {
		resize = "stretch"
	}
	return fmt.Sprintf("%dx%d %s %s %s %s", in.Width, in.Height, color, in.Layout, in.DType, resize)
}

func outputWords(o *inference.Output) string { return fmt.Sprintf("%s %s", o.Type(), o.Kind) }

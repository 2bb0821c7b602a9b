package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"heron/inference"
	"heron/internal/atomicfile"
)

// maxModelFile bounds a model file; a bundle may not be larger either.
const maxModelFile = 512 << 20

type initFlags struct {
	from                       []string
	name, version, labels, dir string
	output                     string // name of the output with the scores
	yes                        bool
	answers                    map[string]*string
}

// begun is what `heron model init --json` says.
type begun struct {
	Dir      string                   `json:"dir"`
	Name     string                   `json:"name"`
	Version  string                   `json:"version"`
	Models   []*inference.Description `json:"models"`
	Open     []inference.Question     `json:"open"`  // with the guess that stands in the manifest
	Lacks    []string                 `json:"lacks"` // for publishing
	Labels   int                      `json:"labels"`
	files    []string
	manifest *inference.Manifest
}

func (a *app) modelInit() *cobra.Command {
	f := initFlags{answers: map[string]*string{}}
	c := &cobra.Command{Use: "init --from MODEL", Short: "Begin a bundle from an ONNX or TFLite file: what it says of itself is filled in, the rest is asked",
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if len(f.from) == 0 {
				return usage("init: --from is missing; name a .onnx or .tflite file")
			}
			return a.modelBegin(&f)
		}}
	c.Flags().StringArrayVar(&f.from, "from", nil, "a model `file`, .onnx or .tflite; again for the same model in another format, the preferred one first")
	c.Flags().StringVar(&f.name, "name", "", "the model's `name` (default: the file's)")
	c.Flags().StringVar(&f.version, "version", "0.1.0", "its `version`")
	c.Flags().StringVar(&f.labels, "labels", "", "the label `file`, one a line, in the order of the output")
	c.Flags().StringVarP(&f.dir, "output", "o", "", "the `folder` to make (default: the name)")
	c.Flags().StringVar(&f.output, "scores", "", "the `name` of the output with the scores, where the model has several")
	c.Flags().BoolVar(&f.yes, "yes", false, "take the guesses, ask nothing")
	for name, help := range map[string]string{"color": "RGB or BGR", "resize": "stretch, crop or letterbox", "mean": "what was subtracted from pixels 0…255: one number, or one a channel",
		"std": "by what the difference was divided", "kind": "probabilities or logits", "layout": "NHWC or NCHW, where the shape fits both", "output-quant": "SCALE,ZERO_POINT of the output, where the file does not say"} {
		f.answers[name] = c.Flags().String(name, "", help)
	}
	return c
}

func (a *app) modelBegin(f *initFlags) error {
	b := &begun{Name: f.name, Version: f.version, Dir: f.dir, Open: []inference.Question{}}
	if b.Name == "" {
		b.Name = baseOf(f.from[0])
	}
	if b.Dir == "" {
		b.Dir = b.Name
	}
	if exists(filepath.Join(b.Dir, manifestName)) {
		return usage("init: %s holds a bundle already; name another folder with -o", b.Dir)
	}
	raws, err := b.describe(f)
	if err != nil {
		return err
	}
	if err := a.settle(b, f); err != nil {
		return err
	}
	if err := b.write(f, raws); err != nil {
		return err
	}
	if a.json {
		return json.NewEncoder(a.out).Encode(b)
	}
	return a.printBegun(b)
}

func (b *begun) describe(f *initFlags) (raws [][]byte, err error) {
	for _, path := range f.from {
		raw, err := readModelFile(path)
		if err != nil {
			return nil, err
		}
		d, err := inference.Describe(raw, f.output)
		if err != nil {
			return nil, fmt.Errorf("%s: %w%s", path, err, elsewhere(path))
		}
		if b.Models = append(b.Models, d); d.Classes != b.Models[0].Classes {
			return nil, fmt.Errorf("%s has %d classes and %s %d: they are not the same model", path, d.Classes, f.from[0], b.Models[0].Classes)
		}
		name := plainName(filepath.Base(path))
		if slices.Contains(b.files, name) {
			return nil, usage("init: two files are called %s", name)
		}
		b.files, raws = append(b.files, name), append(raws, raw)
	}
	return raws, nil
}

// elsewhere says what to do with a file whose name says that it is of another kind.
func elsewhere(path string) string {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".onnx", ".tflite":
		return ""
	case ".xml", ".bin":
		return "; of OpenVINO's files init reads none: begin with the model that they were made from, and add the entry {\"engine\":\"openvino\",\"file\":\"….xml\"}"
	default:
		return "; init reads .onnx and .tflite: export the model as one of them"
	}
}

func readModelFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxModelFile {
		return nil, fmt.Errorf("%s is no plain file, or larger than %d MiB; name a .onnx or .tflite file", path, maxModelFile>>20)
	}
	return io.ReadAll(io.LimitReader(f, maxModelFile))
}

// settle takes the answers from flags, then asks on a terminal; what is left stays open.
func (a *app) settle(b *begun, f *initFlags) error {
	names := []string{"layout", "color", "mean", "std", "resize", "kind", "output-quant"} // the layout says how many channels there are
	for _, d := range b.Models {
		for _, name := range names {
			if v := *f.answers[name]; v != "" {
				if err := d.Answer(name, v); err != nil {
					return usage("init: --%v", err)
				}
			}
		}
	}
	if tty, ok := a.in.(*os.File); ok && !f.yes && !a.json && term.IsTerminal(int(tty.Fd())) {
		signal.Reset(os.Interrupt) // a read from a terminal waits for nobody's context; nothing is written yet
		if err := ask(b.Models, bufio.NewReader(a.in), a.errOut); err != nil {
			return err
		}
	}
	for i, d := range b.Models {
		for _, q := range d.Questions {
			b.open(i, q)
		}
	}
	return nil
}

// open notes a question of a file; once where all files put it alike.
func (b *begun) open(i int, q inference.Question) {
	shared := !slices.ContainsFunc(b.Models, func(d *inference.Description) bool { return !slices.Contains(d.Questions, q) })
	if !shared {
		q.Ask = b.files[i] + ": " + q.Ask
	}
	if !slices.Contains(b.Open, q) {
		b.Open = append(b.Open, q)
	}
}

// ask puts every open question once; one answer serves all files. An empty line leaves it open, with its guess.
func ask(models []*inference.Description, in *bufio.Reader, out io.Writer) error {
	var asked []string
	for _, d := range models {
		for _, q := range slices.Clone(d.Questions) {
			if slices.Contains(asked, q.Field) || q.Field == "output" {
				continue
			}
			asked = append(asked, q.Field)
			for {
				fmt.Fprintf(out, "%s\n  (%s)\n  Enter for %s, and to look into it later: ", q.Ask, q.Why, q.Guess)
				line, err := in.ReadString('\n')
				line = strings.TrimSpace(line)
				if err == nil || errors.Is(err, io.EOF) {
					err = answerAll(models, q.Field, line)
				} else {
					return err
				}
				if err == nil {
					break
				}
				fmt.Fprintln(out, "  "+err.Error())
				if _, err := in.Peek(1); err != nil {
					return errors.New("no answer")
				}
			}
		}
	}
	return nil
}

func answerAll(models []*inference.Description, field, line string) error {
	for _, d := range models {
		if line == "" || !slices.ContainsFunc(d.Questions, func(q inference.Question) bool { return q.Field == field }) {
			continue
		}
		if err := d.Answer(field, line); err != nil {
			return err
		}
	}
	return nil
}

// write makes the folder aside and gives it its name when it is whole.
func (b *begun) write(f *initFlags, raws [][]byte) error {
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(b.Dir)), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(b.Dir)), ".heron-init-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for i, raw := range raws {
		if err := os.WriteFile(filepath.Join(tmp, b.files[i]), raw, 0o644); err != nil {
			return err
		}
	}
	b.manifest = b.draft()
	text, err := marshalManifest(b.manifest)
	if err != nil {
		return err
	}
	if _, err := inference.ParseManifest(text); err != nil { // a name from a flag, say
		return usage("init: %v", err)
	}
	if err := os.WriteFile(filepath.Join(tmp, manifestName), text, 0o644); err != nil {
		return err
	}
	if f.labels != "" {
		if err := b.takeLabels(f.labels, tmp); err != nil {
			return err
		}
	}
	b.Lacks = lacks(b.manifest)
	if err := os.WriteFile(filepath.Join(tmp, notesName), []byte(b.notes()), 0o644); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Rename(tmp, b.Dir); err != nil {
		if errors.Is(err, fs.ErrExist) || exists(b.Dir) {
			return usage("init: %s is there already and not empty; name another folder with -o", b.Dir)
		}
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(filepath.Clean(b.Dir)))
}

// draft is the manifest: the first file's words for all, and for the others what differs.
func (b *begun) draft() *inference.Manifest {
	m := &inference.Manifest{V: 1, Name: b.Name, Version: b.Version, Task: "classification", Labels: "labels.txt", Input: b.Models[0].Input, Output: b.Models[0].Output}
	for i, d := range b.Models {
		e := inference.EngineEntry{Engine: d.Engine, File: b.files[i], Precision: d.Precision}
		if !reflect.DeepEqual(d.Input, m.Input) {
			e.Input = &d.Input
		}
		if !reflect.DeepEqual(d.Output, m.Output) {
			e.Output = &d.Output
		}
		m.Engines = append(m.Engines, e)
	}
	return m
}

func (b *begun) takeLabels(from, tmp string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, b.manifest.Labels), raw, 0o644); err != nil {
		return err
	}
	read, err := inference.ReadBundle(tmp, nil)
	if err != nil {
		return fmt.Errorf("labels: %s", strings.ReplaceAll(err.Error(), tmp+"/"+b.manifest.Labels, from))
	}
	b.Labels = len(read.Labels)
	if n := b.Models[0].Classes; n > 0 && n != b.Labels {
		next := "give the label file that belongs to this model"
		if n == 1 {
			next = "a model with one score takes one label, of what a high score means"
		} else if n-b.Labels == 1 || b.Labels-n == 1 {
			next += " (one of the two may count a first class \"background\")"
		}
		return fmt.Errorf("%s has %d labels and the model %d classes; %s", from, b.Labels, n, next)
	}
	return nil
}

// notes is the list of what is left to do, for the folder.
func (b *begun) notes() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# %s %s: what is left to do\n\nWritten by `heron model init`; `heron model pack` leaves this file out.\n", b.Name, b.Version)
	for i, line := range b.todo() {
		fmt.Fprintf(&s, "\n%d. %s\n", i+1, line)
	}
	return s.String()
}

// todo is what is left, one line each.
func (b *begun) todo() []string {
	var out []string
	if b.Labels == 0 {
		n := "one label a line, in the order of the model's output"
		if c := b.Models[0].Classes; c > 0 {
			n = fmt.Sprintf("%d labels, one a line, in the order of the model's output", c)
		}
		out = append(out, "Put `labels.txt` here: "+n+".")
	}
	for _, q := range b.Open {
		out = append(out, fmt.Sprintf("%s (`%s`) Now: %s; %s.", q.Ask, q.Field, q.Guess, q.Why))
	}
	out = append(out, "Try it: `heron classify --model "+b.Dir+" PICTURE`, with pictures whose answer you know.")
	if len(b.Lacks) > 0 {
		out = append(out, "To publish it, write "+strings.Join(b.Lacks, ", ")+" in manifest.json too (docs/operations/bundles.md), then `heron model pack "+b.Dir+"` and `heron model verify`.")
	}
	return out
}

func (a *app) printBegun(b *begun) error {
	fmt.Fprintf(a.out, "%s: %s %s\n", b.Dir, b.Name, b.Version)
	for i, d := range b.Models {
		classes := "the number of classes is open"
		if d.Classes > 0 {
			classes = fmt.Sprintf("%d classes", d.Classes)
		}
		fmt.Fprintf(a.out, "  %s: %s %s, input %s, output %s, %s\n", b.files[i], d.Engine, d.Precision, inputWords(&d.Input), outputWords(&d.Output), classes)
	}
	fmt.Fprintf(a.out, "left to do (also in %s):\n", filepath.Join(b.Dir, notesName))
	for i, line := range b.todo() {
		fmt.Fprintf(a.out, "%2d. %s\n", i+1, line)
	}
	return nil
}

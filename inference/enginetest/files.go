package enginetest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"image"
	"image/draw"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"heron/inference"
)

// Testdata is the folder of real and broken models: HERON_TESTDATA, or shared/testdata beside the repository or further up.
// The test is skipped where there is none.
func Testdata(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("HERON_TESTDATA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if found := filepath.Join(dir, "shared", "testdata"); exists(found) {
			return found
		}
	}
	t.Skip("no shared/testdata here or further up, and HERON_TESTDATA is not set")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Folder writes a model as a development bundle.
func Folder(t *testing.T, engine string, m inference.Model) string {
	t.Helper()
	dir := t.TempDir()
	manifest, err := json.Marshal(inference.Manifest{V: 1, Name: "x", Version: "1", Engines: []inference.EngineEntry{{Engine: engine, File: m.File}},
		Input: m.Spec.Input, Output: m.Spec.Output, Labels: "labels.txt", Thresholds: m.Spec.Thresholds})
	if err != nil {
		t.Fatal(err)
	}
	writeModel(t, dir, m)
	for name, b := range map[string][]byte{"labels.txt": []byte(strings.Join(m.Spec.Labels, "\n") + "\n"), "manifest.json": manifest} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// writeModel writes the model's one or two files into a bundle's folder.
func writeModel(t *testing.T, dir string, m inference.Model) {
	t.Helper()
	err := os.WriteFile(filepath.Join(dir, m.File), m.Bytes, 0o644)
	if m.Weights != nil && err == nil {
		err = os.WriteFile(filepath.Join(dir, strings.TrimSuffix(m.File, ".xml")+".bin"), m.Weights, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// openSlot opens a model by the way of a bundle's folder, as the service does.
func openSlot(t *testing.T, engine string, open inference.Opener, m inference.Model) (*inference.Slot, error) {
	t.Helper()
	b, err := inference.ReadBundle(Folder(t, engine, m), nil)
	if err != nil {
		return nil, err
	}
	s, err := inference.OpenSlot(t.Context(), b, map[string]inference.Opener{engine: open}, inference.Opening{Threads: 1})
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

// Opens is Broken's word for a file that opens and answers for a grey picture; what is wrong with it shows later, or never.
const Opens = "opens"

// Broken opens the files of testdata/models/broken whose names end in suffix, with the manifest that ok.onnx keeps.
// want says for each the code of its refusal, or Opens; a file that is not in want, and not in leave, fails the test.
// leave are those that hang or take the machine's memory: they need a process that can be killed.
func Broken(t *testing.T, engine string, open inference.Opener, suffix string, want map[string]string, leave []string) {
	dir := filepath.Join(Testdata(t), "models", "broken")
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(files) == 0 {
		t.Fatalf("no *%s in %s (%v)", suffix, dir, err)
	}
	labels := strings.Fields(string(read(t, filepath.Join(dir, "labels5.txt"))))
	spec := &inference.Spec{Labels: labels, Output: inference.Output{Kind: "probabilities"},
		Input: inference.Input{Width: 32, Height: 32, Layout: "NCHW", DType: inference.Float32, Std: []float64{255, 255, 255}}}
	for _, f := range files {
		name := filepath.Base(f)
		t.Run(name, func(t *testing.T) {
			code, known := want[name]
			if slices.Contains(leave, name) {
				t.Skip("hangs or takes the machine's memory: tested where a process can be killed")
			}
			if !known {
				t.Fatal("nobody says what is to happen with this file")
			}
			_, err := openSlot(t, engine, open, inference.Model{File: name, Bytes: read(t, f), Spec: spec})
			if code == Opens {
				if err != nil {
					t.Error(err)
				}
				return
			}
			CheckRefusal(t, err, code)
		})
	}
}

// Real is a classifier of testdata/models: a file, and what the manifest must say of it.
type Real struct {
	File   string
	Row    string // its name in expected.tsv
	Input  inference.Input
	Output inference.Output
}

// MobileNets are testdata's two classifiers in every ONNX form.
func MobileNets() []Real {
	var out []Real
	std := []float64{128, 128, 128}
	for name, side := range map[string]int{"mobilenet_v1_0.25_128": 128, "mobilenet_v1_0.75_192": 192} {
		in := inference.Input{Width: side, Height: side, Layout: "NHWC", DType: inference.Uint8, Color: "RGB", Mean: std, Std: std, Quant: &inference.Quant{Scale: 1.0 / 128, ZeroPoint: 128}, Resize: "stretch"}
		q := inference.Output{Kind: "probabilities", DType: inference.Uint8, Quant: &inference.Quant{Scale: 1.0 / 256}}
		out = append(out, Real{name + "_quant.onnx", name + "_quant", in, q}, Real{name + "_quant.fp32.onnx", name + "_quant", in, q})
		if side == 128 {
			for _, layout := range []string{"NHWC", "NCHW"} {
				real := inference.Input{Name: "input", Width: side, Height: side, Layout: layout, DType: inference.Float32, Mean: std, Std: std}
				out = append(out, Real{name + "_float_" + strings.ToLower(layout) + ".onnx", name + "_quant", real, inference.Output{Name: "probabilities", Kind: "probabilities"}})
			}
		}
	}
	slices.SortFunc(out, func(a, b Real) int { return strings.Compare(a.File, b.File) })
	return out
}

// Pictures classifies testdata's pictures with real models and compares with the answers of their TFLite originals: the same label
// where it led by 0.1, and then a score within tolerance (0.06 holds for pictures decoded as OpenCV does it).
func Pictures(t *testing.T, engine string, open inference.Opener, models []Real, tolerance float64, decode func([]byte) (image.Image, error)) {
	dir := Testdata(t)
	rows, pictures := expected(t, dir), map[string]image.Image{}
	labels := strings.Split(strings.TrimSpace(string(read(t, filepath.Join(dir, "models", "imagenet_labels.txt")))), "\n")
	for _, r := range models {
		t.Run(r.File, func(t *testing.T) {
			path := filepath.Join(dir, "models", r.File)
			if !exists(path) {
				t.Skip("testdata has no " + r.File)
			}
			s, err := openSlot(t, engine, open, inference.Model{File: r.File, Bytes: read(t, path), Spec: &inference.Spec{Labels: labels, Input: r.Input, Output: r.Output}})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range slices.Sorted(maps.Keys(rows[r.Row])) {
				if pictures[name] == nil {
					if pictures[name], err = decode(read(t, filepath.Join(dir, "pictures", name))); err != nil {
						t.Fatal(err)
					}
				}
				compare(t, s, name, pictures[name], rows[r.Row][name], tolerance)
			}
		})
	}
}

type row struct {
	label         string
	score, margin float64
}

func compare(t *testing.T, s *inference.Slot, name string, picture image.Image, want row, tolerance float64) {
	t.Helper()
	pix, w, h := BGR(picture)
	r, err := s.Classify(t.Context(), pix, w, h, 3*w)
	if err != nil {
		t.Fatal(err)
	}
	best := r.Top[0]
	t.Logf("%-28s %-28.28s %.3f  expected %-28.28s %.3f", name, best.Label, best.Score, want.label, want.score)
	if want.margin < 0.1 {
		return
	}
	if best.Label != want.label || math.Abs(best.Score-want.score) > tolerance {
		t.Errorf("%s is %s %.3f; want %s %.3f ± %.2f", name, best.Label, best.Score, want.label, want.score, tolerance)
	}
}

// expected reads the rows with OpenCV's resize, by model and picture.
func expected(t *testing.T, dir string) map[string]map[string]row {
	t.Helper()
	c := csv.NewReader(strings.NewReader(string(read(t, filepath.Join(dir, "expected.tsv")))))
	c.Comma = '\t'
	lines, err := c.ReadAll()
	if err != nil || len(lines) < 2 {
		t.Fatalf("expected.tsv: %d lines, %v", len(lines), err)
	}
	out := map[string]map[string]row{}
	for _, f := range lines[1:] {
		if f[2] != "opencv" {
			continue
		}
		if out[f[1]] == nil {
			out[f[1]] = map[string]row{}
		}
		out[f[1]][f[0]] = row{f[4], number(t, f[5]), number(t, f[6])}
	}
	return out
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// BGR makes the packed pixels that a slot takes.
func BGR(m image.Image) (pix []byte, width, height int) {
	b := m.Bounds()
	rgba := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(rgba, rgba.Bounds(), m, b.Min, draw.Src)
	pix = make([]byte, 3*b.Dx()*b.Dy())
	for i := range len(pix) / 3 {
		p := rgba.Pix[4*i : 4*i+4]
		pix[3*i], pix[3*i+1], pix[3*i+2] = p[2], p[1], p[0]
	}
	return pix, b.Dx(), b.Dy()
}

// Sample checks the bundle that lies beside a double: its files are what the tests' writer makes (HERON_WRITE_SAMPLE=1 writes them), and it
// answers on each of the engines.
func Sample(t *testing.T, dir string, files map[string][]byte, engines map[string]inference.Opener) {
	t.Helper()
	for name, want := range files {
		path := filepath.Join(dir, name)
		if os.Getenv("HERON_WRITE_SAMPLE") != "" {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(read(t, path), want) {
			t.Errorf("%s is not what the writer makes", path)
		}
	}
	for engine := range engines {
		b, err := inference.ReadBundle(dir, []string{engine})
		if err != nil {
			t.Fatal(err)
		}
		s, err := inference.OpenSlot(t.Context(), b, engines, inference.Opening{})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Classify(t.Context(), []byte{255, 0, 0}, 1, 1, 3); err != nil || len(r.Top) == 0 {
			t.Errorf("%s: %+v, %v", engine, r, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

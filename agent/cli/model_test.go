package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"heron/inference"
	"heron/sync/models"
)

// sample is a folder with everything that a published bundle needs, for the scripted engine.
func sample(t *testing.T) field {
	t.Helper()
	f := newField(t, nobody, "testcard:")
	must(t, os.MkdirAll(filepath.Join(f.dir, "bundle/golden"), 0o755))
	m := image.NewGray(image.Rect(0, 0, 64, 48))
	for p := range m.Pix {
		m.Pix[p] = 230
	}
	f.picture(t, "golden.png", m)
	must(t, os.Rename(filepath.Join(f.dir, "pictures/golden.png"), filepath.Join(f.dir, "bundle/golden/0.png")))
	f.write(t, "bundle/baseline.json", `{"n":10,"mean_confidence":0.9,"labels":{"dark":10}}`)
	f.manifest(t, nil)
	return f
}

// manifest writes the sample's, with changes.
func (f field) manifest(t *testing.T, change func(*inference.Manifest)) {
	t.Helper()
	m := &inference.Manifest{V: 1, Name: "grey", Version: "1.0.0", Created: "2026-11-20T10:00:00Z", Dataset: "grey@1", Task: "classification", Labels: "labels.txt", Baseline: "baseline.json",
		Engines: []inference.EngineEntry{{Engine: "edgetpu", File: "answers.json"}, {Engine: "scripted", File: "answers.json"}},
		Input:   inference.Input{Width: 16, Height: 16, Layout: "NHWC", DType: "uint8"}, Output: inference.Output{Kind: "probabilities", DType: "float32"},
		Thresholds: inference.Thresholds{Default: 0.5}, Golden: []inference.Golden{{Input: "golden/0.png", Top1: "bright", Score: 0.92, Tolerance: 0.05}},
		Budget: &inference.Budget{LatencyMS: 1000, RSSMB: 1000}, Targets: []string{"any"}}
	if change != nil {
		change(m)
	}
	b, err := marshalManifest(m)
	must(t, err)
	f.write(t, "bundle/manifest.json", string(b))
}

// leftovers are names in dir that no command should leave.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".heron-*"))
	must(t, err)
	return names
}

func TestModelPackGivesTheSameBytesAndReadsThemBack(t *testing.T) {
	f := sample(t)
	f.write(t, "bundle/NOTES.md", "left to do")
	f.write(t, "bundle/LICENSE", "free")
	bundle, archive := filepath.Join(f.dir, "bundle"), filepath.Join(f.dir, "grey-1.0.0.tar.zst")
	var first, second packed
	out, msg, code := heron(t, "model", "pack", bundle, "-o", archive, "--json")
	if err := json.Unmarshal([]byte(out), &first); err != nil || code != 0 || !first.Published || first.Files != 6 || len(first.SHA256) != 64 {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, msg)
	}
	must(t, os.Chtimes(filepath.Join(bundle, "labels.txt"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	out, _, code = heron(t, "model", "pack", bundle, "-o", filepath.Join(f.dir, "again.tar.zst"), "--json")
	if err := json.Unmarshal([]byte(out), &second); err != nil || code != 0 || second.SHA256 != first.SHA256 {
		t.Errorf("exit %d, %v: another digest: %s", code, err, out)
	}
	if out, _, code = heron(t, "model", "pack", bundle, "-o", archive); code != 0 || !strings.Contains(out, "was there already, the same") || !strings.Contains(out, first.SHA256) {
		t.Errorf("exit %d: %s", code, out)
	}
	f.write(t, "bundle/LICENSE", "not free")
	before, err := os.ReadFile(archive)
	must(t, err)
	if _, msg, code = heron(t, "model", "pack", bundle, "-o", archive); code != 1 || !strings.Contains(msg, "raise version") {
		t.Errorf("over another archive: exit %d: %s", code, msg)
	}
	oneLine(t, msg)
	if after, _ := os.ReadFile(archive); !bytes.Equal(before, after) {
		t.Error("the archive was touched")
	}
	if _, msg, code = heron(t, "model", "pack", bundle, "-o", archive, "--force"); code != 0 {
		t.Errorf("--force: exit %d: %s", code, msg)
	}
	if l := leftovers(t, f.dir); len(l) > 0 {
		t.Errorf("left behind: %v", l)
	}
}

func TestModelPackRefuses(t *testing.T) {
	stale := func(m *inference.Manifest) {
		m.Files = []inference.File{{Path: "labels.txt", Size: 19, SHA256: strings.Repeat("0", 64)}, {Path: "answers.json"}, {Path: "baseline.json"}, {Path: "golden/0.png"}}
		for i := range m.Files[1:] {
			m.Files[i+1].SHA256 = strings.Repeat("1", 64)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*inference.Manifest)
		extra  string
		flags  []string
		says   string // empty: it packs
	}{
		{name: "unknown file", extra: "bundle/train.py", says: "does not name train.py"},
		{name: "unknown file left out", extra: "bundle/train.py", flags: []string{"--leave-out"}},
		{name: "stale", change: stale, says: "labels.txt has the digest"},
		{name: "stale, updated", change: stale, flags: []string{"--update"}},
		{name: "missing file", change: func(m *inference.Manifest) { m.Labels = "names.txt" }, flags: []string{"--leave-out"}, says: "names.txt: no such file"},
		{name: "not to be published", change: func(m *inference.Manifest) { m.Golden, m.Budget = nil, nil }, says: "also needs golden, budget.latency_ms, budget.rss_mb"},
		{name: "a name that no repository takes", change: func(m *inference.Manifest) { m.Name = "Bottles" }, says: `no repository takes it: family "Bottles": lower case`},
		{name: "the name of a role", change: func(m *inference.Manifest) { m.Name = "targets" }, says: "the name of a role"},
		{name: "a name for trials", change: func(m *inference.Manifest) { m.Name = "Bottles_2.0" }, flags: []string{"--development"}},
		{name: "for trials", change: func(m *inference.Manifest) { m.Budget = nil }, flags: []string{"--development"}},
		{name: "golden without a label", change: func(m *inference.Manifest) { m.Golden[0].Top1 = "blue" }, says: `golden[0].top1 "blue" is no label`},
		{name: "a name that devices refuse", change: func(m *inference.Manifest) { m.Labels = "a b.txt" }, extra: "bundle/a b.txt", flags: []string{"--leave-out"}, says: `"a b.txt" is not allowed`},
		{name: "bad manifest", change: func(m *inference.Manifest) { m.Input.Layout = "HW" }, says: "input.layout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := sample(t)
			f.manifest(t, c.change)
			if c.extra != "" {
				f.write(t, c.extra, "dark\nmiddle\nbright\n")
			}
			archive := filepath.Join(f.dir, "out.tar.zst")
			_, msg, code := heron(t, append([]string{"model", "pack", filepath.Join(f.dir, "bundle"), "-o", archive}, c.flags...)...)
			if c.says == "" {
				if code != 0 || !exists(archive) {
					t.Errorf("exit %d: %s", code, msg)
				}
			} else if oneLine(t, msg); code != 1 || !strings.Contains(msg, c.says) || exists(archive) {
				t.Errorf("exit %d: %s; want %q", code, msg, c.says)
			}
			if l := leftovers(t, f.dir); len(l) > 0 {
				t.Errorf("left behind: %v", l)
			}
		})
	}
}

func TestModelPackRefusesLinksAndUpdatesTheFolder(t *testing.T) {
	f := sample(t)
	bundle, archive := filepath.Join(f.dir, "bundle"), filepath.Join(f.dir, "out.tar.zst")
	if _, msg, code := heron(t, "model", "pack", bundle, "-o", archive, "--update"); code != 0 {
		t.Fatal(msg)
	}
	b, err := inference.ReadBundle(bundle, nil)
	if err != nil || len(b.Manifest.Files) != 4 || b.Manifest.Files[0].Role != "weights" {
		t.Fatalf("%v: %+v", err, b)
	}
	must(t, os.Remove(filepath.Join(bundle, "baseline.json")))
	must(t, os.Symlink("/etc/hostname", filepath.Join(bundle, "baseline.json")))
	if _, msg, code := heron(t, "model", "pack", bundle, "-o", archive, "--update", "--force"); code != 1 || !strings.Contains(msg, "baseline.json is a link") {
		t.Errorf("exit %d: %s", code, msg)
	}
}

// inspectGolden is the page of the sample, up to the files.
const inspectGolden = `model       grey 1.0.0
created     2026-11-20T10:00:00Z
dataset     grey@1
labels      3 in labels.txt
thresholds  0.5
golden      1 picture of bright
baseline    baseline.json
budget      1000 ms, 1000 MB
targets     any
license     none

ENGINE    FILE          PRECISION  INPUT                         OUTPUT
edgetpu   answers.json             16x16 RGB NHWC uint8 stretch  float32 probabilities
scripted  answers.json             16x16 RGB NHWC uint8 stretch  float32 probabilities
`

func TestModelInspect(t *testing.T) {
	f := sample(t)
	bundle, archive := filepath.Join(f.dir, "bundle"), filepath.Join(f.dir, "a.tar.zst")
	out, msg, code := heron(t, "model", "inspect", bundle)
	if head, _, _ := strings.Cut(out, "\nFILE "); code != 0 || head != inspectGolden || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d: %s\n%s\nwant\n%s", code, msg, out, inspectGolden)
	}
	if _, msg, code := heron(t, "model", "pack", bundle, "-o", archive); code != 0 {
		t.Fatal(msg)
	}
	out, msg, code = heron(t, "model", "inspect", archive, "--json")
	var in inspected
	if err := json.Unmarshal([]byte(out), &in); err != nil || code != 0 || in.Archive == nil || len(in.Archive.SHA256) != 64 || in.Labels.Count != 3 || len(in.Engines) != 2 || len(in.Files) != 5 || in.Files[1].Role != "weights" {
		t.Errorf("exit %d, %v: %s%s", code, err, out, msg)
	}
	f.write(t, "bundle/manifest.json", `{"v":1,"surprise":true}`)
	var packed bytes.Buffer
	must(t, models.Pack(bundle, &packed))
	must(t, os.WriteFile(archive, packed.Bytes(), 0o600))
	if _, msg, code = heron(t, "model", "inspect", archive); code != 1 || !strings.Contains(msg, archive+"/manifest.json: unknown field") {
		t.Errorf("exit %d: %s\nthe folder it was unpacked into is gone; the archive is meant", code, msg)
	}
	if _, msg, code = heron(t, "model", "inspect", filepath.Join(f.dir, "none")); code != 1 {
		t.Errorf("exit %d: %s", code, msg)
	}
	oneLine(t, msg)
}

func TestModelVerify(t *testing.T) {
	t.Parallel()
	notShort(t)
	for _, c := range []struct {
		name   string
		change func(*inference.Manifest)
		script string
		args   []string
		code   int
		says   string // in stdout or stderr
	}{
		{name: "fit", says: "edgetpu           not available here  no stick; plug one in"},
		{name: "one engine", args: []string{"--engine", "scripted"}, says: "scripted          ok"},
		{name: "an engine that is not here", args: []string{"--engine", "edgetpu"}, code: 1, says: "no engine of it is available here"},
		{name: "an engine that it has not", args: []string{"--engine", "tflite"}, code: 1, says: "has no entry for tflite"},
		{name: "golden", change: func(m *inference.Manifest) { m.Golden[0].Top1 = "dark" }, code: 1, says: "golden/0.png"},
		{name: "golden of no label", change: func(m *inference.Manifest) { m.Golden[0].Top1 = "blue" }, code: 1, says: "is no label"},
		{name: "budget", change: func(m *inference.Manifest) { m.Budget.LatencyMS = 5 }, script: `{"answers":[["dark",0.9],["middle",0.95],["bright",0.92]],"latency_ms":60}`, code: 1, says: "its budget is 5 ms"},
		{name: "no numbers", change: func(m *inference.Manifest) { m.Golden = nil }, script: `{"answers":[["dark",0.9]],"nan_every":1}`, code: 1, says: "NaN"},
		{name: "digest", change: func(m *inference.Manifest) {
			m.Files = []inference.File{{Path: "labels.txt", Size: 19, SHA256: strings.Repeat("0", 64)}}
		}, code: 1, says: "labels.txt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := sample(t)
			f.manifest(t, c.change)
			if c.script != "" {
				f.write(t, "bundle/answers.json", c.script)
			}
			list := append([]string{"model", "verify", filepath.Join(f.dir, "bundle"), "--vision", os.Args[0]}, c.args...)
			out, msg, code := heron(t, list...)
			if code != c.code || !strings.Contains(out+msg, c.says) {
				t.Errorf("exit %d: %s%s; want %d and %q", code, out, msg, c.code, c.says)
			}
			out, _, _ = heron(t, append(list, "--json")...)
			var v verifiedBundle
			if err := json.Unmarshal([]byte(out), &v); err != nil || v.OK != (c.code == 0) || len(v.Checks) == 0 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestModelSchemaIsPrinted(t *testing.T) {
	out, _, code := heron(t, "model", "schema")
	if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, "2020-12") {
		t.Errorf("exit %d: %.200s", code, out)
	}
}

// onnxFile is a graph of an input and an output, with a softmax or without.
func onnxFile(softmax bool, inputs ...[]byte) string {
	msg := func(num int, b []byte) []byte {
		return append(append([]byte{byte(num<<3 | 2)}, byte(len(b))), b...)
	}
	value := func(name string, dims ...byte) []byte {
		var shape []byte
		for _, d := range dims {
			shape = append(shape, msg(1, []byte{8, d})...)
		}
		tensor := append([]byte{8, 1}, msg(2, shape)...)
		return append(msg(1, []byte(name)), msg(2, msg(1, tensor))...)
	}
	op := "Gemm"
	if softmax {
		op = "Softmax"
	}
	node := append(append(msg(1, []byte("in")), msg(2, []byte("out"))...), msg(4, []byte(op))...)
	graph := append(append(msg(1, node), msg(11, value("in", 1, 3, 8, 8))...), msg(12, value("out", 1, 2))...)
	for _, in := range inputs {
		graph = append(graph, msg(11, in)...)
	}
	return string(msg(7, graph))
}

func TestModelInit(t *testing.T) {
	f := newField(t, nobody, "testcard:")
	f.write(t, "m.onnx", onnxFile(false))
	f.write(t, "two.txt", "a\nb\n")
	f.write(t, "three.txt", "a\nb\nc\n")
	dir := filepath.Join(f.dir, "new")
	from := []string{"model", "init", "--from", filepath.Join(f.dir, "m.onnx"), "-o", dir}
	for says, flags := range map[string][]string{"3 labels and the model 2 classes": {"--labels", filepath.Join(f.dir, "three.txt")}, "expected RGB, BGR": {"--color", "red"}, `name is "a/b"`: {"--name", "a/b"}} {
		_, msg, code := heron(t, append(from, flags...)...)
		if oneLine(t, msg); code == 0 || !strings.Contains(msg, says) || exists(dir) || len(leftovers(t, f.dir)) > 0 {
			t.Errorf("%v: exit %d: %s", flags, code, msg)
		}
	}
	out, msg, code := heron(t, append(from, "--labels", filepath.Join(f.dir, "two.txt"), "--mean", "0", "--std", "255", "--color", "BGR", "--json")...)
	var b begun
	if err := json.Unmarshal([]byte(out), &b); err != nil || code != 0 || b.Labels != 2 || len(b.Open) != 2 || b.Open[0].Field != "kind" || b.Open[1].Field != "resize" {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, msg)
	}
	read, err := inference.ReadBundle(dir, nil)
	if err != nil || read.Manifest.Input.Color != "BGR" || read.Manifest.Input.Std[0] != 255 || read.Manifest.Output.Kind != "logits" {
		t.Errorf("%v: %+v", err, read)
	}
	notes, err := os.ReadFile(filepath.Join(dir, "NOTES.md"))
	if err != nil || !strings.Contains(string(notes), "probabilities or logits") || strings.Contains(string(notes), "Which mean") {
		t.Errorf("%v: %s", err, notes)
	}
	if _, msg, code = heron(t, from...); code != exitUsage || !strings.Contains(msg, "holds a bundle already") {
		t.Errorf("again: exit %d: %s", code, msg)
	}
	f.write(t, "page.html", "<html>not found</html>")
	if _, msg, code = heron(t, "model", "init", "--from", filepath.Join(f.dir, "page.html"), "-o", filepath.Join(f.dir, "x")); code != 1 || !strings.Contains(msg, "not an ONNX file") {
		t.Errorf("a page: exit %d: %s", code, msg)
	}
	oneLine(t, msg)
}

// One score and two labels is a sigmoid's yes and no, not a label file of another model.
func TestModelInitOfOneScore(t *testing.T) {
	data := cmp.Or(os.Getenv("HERON_TESTDATA"), "../../../shared/testdata")
	model, err := filepath.Abs(filepath.Join(data, "models/broken/two_outputs.onnx"))
	must(t, err)
	if !exists(model) {
		t.Skip("needs the test data: HERON_TESTDATA names no folder that has ", model)
	}
	f := newField(t, nobody, "testcard:")
	f.write(t, "two.txt", "no\nyes\n")
	f.write(t, "one.txt", "yes\n")
	from := []string{"model", "init", "--from", model, "--scores", "anomaly", "-o", filepath.Join(f.dir, "new"), "--labels"}
	if _, msg, code := heron(t, append(from, filepath.Join(f.dir, "two.txt"))...); code != exitFailed || !strings.Contains(msg, "takes one label") || strings.Contains(msg, "background") {
		t.Errorf("two labels: exit %d: %s", code, msg)
	}
	if _, msg, code := heron(t, append(from, filepath.Join(f.dir, "one.txt"))...); code != 0 {
		t.Errorf("one label: exit %d: %s", code, msg)
	}
}

// TestAskOnATerminal: wrong answers are asked again, an empty line leaves the question open.
func TestAskOnATerminal(t *testing.T) {
	d, err := inference.Describe([]byte(onnxFile(true)), "")
	must(t, err)
	var out strings.Builder
	must(t, ask([]*inference.Description{d}, bufio.NewReader(strings.NewReader("red\n128\n128\nbgr\n\n")), &out))
	if len(d.Questions) != 1 || d.Questions[0].Field != "resize" || d.Input.Mean[2] != 128 || d.Input.Color != "BGR" || !strings.Contains(out.String(), "expected a number") {
		t.Errorf("%+v\n%s", d, out.String())
	}
	if err := ask([]*inference.Description{d}, bufio.NewReader(strings.NewReader("red")), &out); err == nil {
		t.Error("no error where the answers end")
	}
}

// TestModelInitClassifiesRight: what init writes for foreign models gives the answers that their originals gave elsewhere.
func TestModelInitClassifiesRight(t *testing.T) {
	slow(t)
	program, err := filepath.Abs("../../bin/heron-vision")
	must(t, err)
	if out, err := exec.Command(program, "--version").CombinedOutput(); err != nil {
		t.Skipf("needs bin/heron-vision (make build): %v %s", err, out)
	}
	data := os.Getenv("HERON_TESTDATA")
	if data == "" {
		data = "../../../shared/testdata"
	}
	expected, err := os.ReadFile(filepath.Join(data, "expected.tsv"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs the test data: ", err)
	}
	must(t, err)
	r := csv.NewReader(bytes.NewReader(expected))
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	rows, err := r.ReadAll()
	must(t, err)
	for _, c := range []struct {
		model, file string
		flags       []string
	}{
		{"mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.25_128_quant.tflite", nil},
		{"mobilenet_v1_0.75_192_quant", "mobilenet_v1_0.75_192_quant.tflite", nil},
		{"mobilenet_v1_0.75_192_quant", "mobilenet_v1_0.75_192_quant.onnx", nil},
		{"mobilenet_v1_0.75_192_quant", "mobilenet_v1_0.75_192_quant.fp32.onnx", nil},
		{"mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.25_128_float_nchw.onnx", []string{"--mean", "128", "--std", "128"}},
		{"mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.25_128_float_nhwc.onnx", []string{"--mean", "128", "--std", "128"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "b")
			list := append([]string{"model", "init", "--from", filepath.Join(data, "models", c.file), "--labels", filepath.Join(data, "models/imagenet_labels.txt"), "-o", dir}, c.flags...)
			if _, msg, code := heron(t, list...); code != 0 {
				t.Fatal(msg)
			}
			compareAnswers(t, rows, c.model, filepath.Join(data, "pictures"), "--model", dir, "--vision", program)
		})
	}
}

func compareAnswers(t *testing.T, rows [][]string, model, pictures string, flags ...string) {
	t.Helper()
	compared := 0
	for _, row := range rows[1:] {
		if row[1] != model || row[2] != "opencv" {
			continue
		}
		out, msg, code := heron(t, append(append([]string{"classify", "--json"}, flags...), filepath.Join(pictures, row[0]))...)
		if strings.Contains(msg, "not available") {
			t.Skip("needs the engine's library: ", msg)
		}
		var ans answer
		if err := json.Unmarshal([]byte(out), &ans); err != nil || code != 0 || len(ans.Top) == 0 {
			t.Fatalf("exit %d, %v: %s%s", code, err, out, msg)
		}
		score, err := strconv.ParseFloat(row[5], 64)
		must(t, err)
		margin, err := strconv.ParseFloat(row[6], 64)
		must(t, err)
		if margin < 0.1 { // below it, another kernel may say another label
			continue
		}
		compared++
		if got := fmt.Sprint(ans.Top[0][0]); got != row[4] || math.Abs(ans.Top[0][1].(float64)-score) > 0.06 {
			t.Errorf("%s: %v; want %s %v", row[0], ans.Top[0], row[4], score)
		}
	}
	if compared < 2 {
		t.Errorf("only %d pictures compared", compared)
	}
}

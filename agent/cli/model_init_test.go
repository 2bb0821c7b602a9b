package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"heron/inference"
)

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

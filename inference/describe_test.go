package inference

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// realModels is the folder of foreign models; the test is skipped without it.
func realModels(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("HERON_TESTDATA")
	if dir == "" {
		dir = "../../shared/testdata"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("needs the test data: ", err)
	}
	return filepath.Join(dir, "models")
}

func describeFile(t *testing.T, path string) (*Description, error) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Describe(b, "")
}

// manifestOf is the draft that a description makes.
func manifestOf(d *Description) []byte {
	b, _ := json.Marshal(Manifest{V: 1, Name: "n", Version: "1", Labels: "labels.txt", Input: d.Input, Output: d.Output, Engines: []EngineEntry{{Engine: d.Engine, File: "m"}}})
	return b
}

func TestDescribeRealModels(t *testing.T) {
	dir := realModels(t)
	for _, c := range []struct{ file, engine, precision, layout, dtype, mean, kind, asks string }{
		{"mobilenet_v1_0.25_128_quant.tflite", "tflite", "int8", "NHWC", "uint8", "128", "probabilities", "mean std color resize"},
		{"mobilenet_v1_0.25_128_quant_edgetpu.tflite", "edgetpu", "int8", "NHWC", "uint8", "128", "probabilities", "mean std kind color resize"},
		{"mobilenet_v1_0.25_128_quant.onnx", "onnx", "int8", "NHWC", "uint8", "128", "probabilities", "mean std color resize"},
		{"mobilenet_v1_0.25_128_quant.fp32.onnx", "onnx", "fp32", "NHWC", "uint8", "0", "probabilities", "color resize"},
		{"mobilenet_v1_0.25_128_float_nhwc.onnx", "onnx", "fp32", "NHWC", "float32", "127.5", "probabilities", "mean std color resize"},
		{"mobilenet_v1_0.25_128_float_nchw.onnx", "onnx", "fp32", "NCHW", "float32", "123.675,116.28,103.53", "probabilities", "mean std color resize"},
	} {
		t.Run(c.file, func(t *testing.T) {
			d, err := describeFile(t, filepath.Join(dir, c.file))
			if err != nil {
				t.Fatal(err)
			}
			var asks []string
			for _, q := range d.Questions {
				asks = append(asks, q.Field)
			}
			if d.Engine != c.engine || d.Precision != c.precision || d.Input.Layout != c.layout || string(d.Input.DType) != c.dtype || numbers(d.Input.Mean, 0) != c.mean ||
				d.Output.Kind != c.kind || d.Classes != 1001 || d.Input.Width != 128 || strings.Join(asks, " ") != c.asks {
				t.Errorf("%+v asks %v", d, asks)
			}
			if d.Output.DType == Uint8 && (d.Output.Quant == nil || d.Output.Quant.Scale != 1.0/256) {
				t.Errorf("output quantisation %+v", d.Output.Quant)
			}
			if _, err := ParseManifest(manifestOf(d)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDescribeBrokenModels(t *testing.T) {
	dir := filepath.Join(realModels(t), "broken")
	for file, want := range map[string]string{
		"dynamic_nhw.onnx": CodeContract, "two_inputs.onnx": CodeContract, "int64_output.onnx": CodeContract, "external_traversal.onnx": CodeExternalData,
		"lying_dims.onnx": CodeBudget, "truncated.onnx": CodeFormat, "truncated.tflite": CodeFormat, "html.onnx": CodeFormat, "empty.onnx": CodeFormat,
	} {
		_, err := describeFile(t, filepath.Join(dir, file))
		var r *Refusal
		if !errors.As(err, &r) || r.Code != want || r.NextStep == "" {
			t.Errorf("%s: %v; want a refusal %q", file, err, want)
		}
	}
	for file, kind := range map[string]string{"ok.onnx": "probabilities", "logits.onnx": "logits"} {
		if d, err := describeFile(t, filepath.Join(dir, file)); err != nil || d.Output.Kind != kind || d.Classes != 5 {
			t.Errorf("%s: %+v, %v", file, d, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "two_outputs.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for name, classes := range map[string]int{"": 5, "probabilities": 5, "anomaly": 1} {
		if d, err := Describe(b, name); err != nil || d.Classes != classes {
			t.Errorf("output %q: %+v, %v", name, d, err)
		}
	}
	if _, err := Describe(b, "nothing"); err == nil || !strings.Contains(err.Error(), `"anomaly"`) {
		t.Errorf("an output that is not there: %v", err)
	}
}

// TestCheckFile: what init writes fits, and each thing changed does not.
func TestCheckFile(t *testing.T) {
	b, err := os.ReadFile("../demo/bundle/model.onnx")
	if err != nil {
		t.Skip("needs the demo's model: ", err)
	}
	d, err := Describe(b, "")
	if err != nil {
		t.Fatal(err)
	}
	s := Spec{Input: d.Input, Output: d.Output, Labels: []string{"a", "b", "c", "d"}}
	if err := CheckFile("m.onnx", b, &s); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Spec){
		"labels": func(s *Spec) { s.Labels = s.Labels[1:] }, "width": func(s *Spec) { s.Input.Width++ }, "dtype": func(s *Spec) { s.Input.DType = Uint8 }, "output": func(s *Spec) { s.Output.Name = "x" },
	} {
		other := s
		if change(&other); CheckFile("m.onnx", b, &other) == nil {
			t.Errorf("%s: no refusal", name)
		}
	}
	if CheckFile("m.tflite", b, &s) == nil || CheckFile("m.xml", b, &s) != nil {
		t.Error("the format is not judged by the name")
	}
}

// TestUndo: the mean and std that belong to a quantisation.
func TestUndo(t *testing.T) {
	for _, c := range []struct {
		q         Quant
		signed    bool
		mean, std string
	}{
		{Quant{1.0 / 128, 128}, false, "128", "128"},
		{Quant{1.0 / 128, 0}, true, "128", "128"},
		{Quant{1.0 / 255, 0}, false, "0", "255"},
		{Quant{1.0 / 255, -128}, true, "0", "255"},
		{Quant{2.0 / 255, 127}, false, "127.5", "127.5"},
		{Quant{2.0 / 255, -1}, true, "127.5", "127.5"},
		{Quant{0.018658, 114}, false, "123.675,116.28,103.53", "58.395,57.12,57.375"},
		{Quant{1, 0}, false, "0", "1"},
	} {
		mean, std := undo(&c.q, c.signed, 3)
		if numbers(mean, 0) != c.mean || numbers(std, 1) != c.std {
			t.Errorf("%+v: mean %v std %v; want %s and %s", c.q, mean, std, c.mean, c.std)
		}
	}
}

func TestAnswer(t *testing.T) {
	d := &Description{Input: Input{Layout: "NCHW", Color: "RGB"}, dims: []int64{1, 3, 224, 3}, Questions: []Question{{Field: "color"}, {Field: "mean"}, {Field: "layout"}}}
	for _, c := range []struct{ field, value, want string }{
		{"color", "bgr", ""}, {"color", "GRAY", "expected RGB, BGR"}, {"mean", "1,2,3", ""}, {"mean", "1,2", "expected 1 or 3 numbers"}, {"mean", "x", "expected a number"}, {"mean", "NaN", "expected a number"},
		{"std", "0", "expected a number"}, {"std", "255", ""}, {"resize", "fit", "expected stretch, crop, letterbox"}, {"layout", "nhwc", ""}, {"output-quant", "0.5,3", ""}, {"output-quant", "1", "expected SCALE,ZERO_POINT"},
		{"kind", "softmax", "expected probabilities, logits"}, {"weather", "fine", "no question"},
	} {
		err := d.Answer(c.field, c.value)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s = %s: %v; want %q", c.field, c.value, err, c.want)
		}
	}
	if len(d.Questions) != 0 || d.Input.Color != "BGR" || d.Input.Layout != "NHWC" || d.Input.Width != 224 || d.Input.Height != 3 || !slices.Equal(d.Input.Std, []float64{255, 255, 255}) {
		t.Errorf("answered: %+v", d)
	}
}

// FuzzDescribe: whatever the bytes, it comes back, with a refusal or with words that the strict reader takes.
func FuzzDescribe(f *testing.F) {
	for _, pattern := range []string{"tflite/testdata/bundle/*.tflite", "../demo/bundle/*.onnx", "../../shared/testdata/models/broken/*.onnx"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil && len(b) < 1<<20 {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Describe(b, "")
		if err != nil {
			var r *Refusal
			if !errors.As(err, &r) {
				t.Errorf("no refusal: %v", err)
			}
			return
		}
		for _, q := range d.Questions {
			if q.Field != "output" && q.Guess != "" && d.Answer(q.Field, q.Guess) != nil {
				t.Errorf("the guess %q for %s is not an answer", q.Guess, q.Field)
			}
		}
		if _, err := ParseManifest(manifestOf(d)); err != nil {
			t.Errorf("%v: %s", err, manifestOf(d))
		}
	})
}

// A detector's boxes are no scores, and a class map is none either; of several outputs the one that can be scores is taken.
func TestOutputsThatAreNoScores(t *testing.T) {
	port := func(name string, dims ...int64) Port { return Port{Name: name, DType: "float32", Dims: dims} }
	for _, c := range []struct {
		outputs []Port
		name    string
		want    string // the output; empty: refused
		classes int
	}{
		{[]Port{port("boxes", 1, 10, 4), port("scores", 1, 10, 3)}, "", "", 0},
		{[]Port{port("boxes", 1, 10, 4), port("scores", 1, 3)}, "", "scores", 3},
		{[]Port{port("boxes", 1, 10, 4), port("scores", 1, 3)}, "boxes", "", 0},
		{[]Port{port("areas", 1, 5, 32, 32)}, "", "", 0},
		{[]Port{port("features", 1, 7, 7, 64), port("pooled", 1, 64, 1, 1)}, "", "pooled", 64},
		{[]Port{port("flat", 5)}, "", "flat", 5},
		{[]Port{port("one", 1, 1)}, "", "one", 1},
		{[]Port{port("open", -1, -1)}, "", "open", 0},
	} {
		d := &Description{}
		out, err := d.takeOutput(c.outputs, c.name)
		var r *Refusal
		switch {
		case c.want == "" && (!errors.As(err, &r) || !strings.Contains(r.NextStep, "use a classifier")):
			t.Errorf("%v: %v, %v; want a refusal", c.outputs, out, err)
		case c.want != "" && (err != nil || out.Name != c.want || d.Classes != c.classes):
			t.Errorf("%v: %v, %d classes, %v; want %s", c.outputs, out, d.Classes, err, c.want)
		}
	}
}

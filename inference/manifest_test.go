package inference

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodManifest = `{
 "v": 1, "name": "bottles", "version": "1.4.2",
 "engines": [{"engine": "edgetpu", "file": "m_edgetpu.tflite", "input": {"width": 8, "height": 8, "layout": "NHWC", "dtype": "uint8"}}, {"engine": "onnx", "file": "m.onnx"}],
 "input": {"width": 8, "height": 6, "layout": "NCHW", "dtype": "float32", "mean": [1, 2, 3], "std": [4, 5, 6]},
 "output": {"kind": "probabilities"},
 "labels": "labels.txt",
 "thresholds": {"default": 0.5, "per_label": {"Leer": 0.8}}
}`

func TestManifestGood(t *testing.T) {
	m, err := ParseManifest([]byte(goodManifest))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Engines) != 2 || m.Input.Std[2] != 6 || m.Thresholds.Threshold("Leer") != 0.8 || m.Thresholds.Threshold("x") != 0.5 {
		t.Errorf("read %+v", m)
	}
}

// TestManifestContract reads the example of the contract.
func TestManifestContract(t *testing.T) {
	text := `{"v":1,"name":"bottles","version":"1.4.2","created":"2026-11-20T10:00:00Z","dataset":"bottles-2026-11@3","task":"classification",
 "files":[{"path":"model.onnx","size":412345,"sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","role":"weights"}],
 "engines":[{"engine":"edgetpu","file":"model_edgetpu.tflite"},{"engine":"tflite","file":"model.tflite"},{"engine":"onnx","file":"model.onnx","precision":"fp32"}],
 "input":{"name":"input","width":224,"height":224,"layout":"NHWC","dtype":"uint8","color":"RGB","mean":[128,128,128],"std":[128,128,128],
          "quant":{"scale":0.0078125,"zero_point":128},"resize":"stretch"},
 "output":{"name":"scores","kind":"probabilities","dtype":"uint8","quant":{"scale":0.00390625,"zero_point":0}},
 "labels":"labels.txt","thresholds":{"default":0.5,"per_label":{"empty":0.8}},
 "golden":[{"input":"golden/0.png","top1":"ok","score":0.98,"tolerance":0.05}],
 "budget":{"latency_ms":100,"rss_mb":300},"targets":["any"]}`
	if _, err := ParseManifest([]byte(text)); err != nil {
		t.Error(err)
	}
}

// TestManifestErrors changes one thing each and expects an error that names it.
func TestManifestErrors(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{`"v": 1`, `"v": 2`, "v is 2; expected 1"},
		{`"v": 1`, `"v": "1"`, "v: found string, expected a whole number"},
		{`"bottles"`, `"bot/tles"`, `name is "bot/tles"`},
		{`"bottles"`, `""`, "name is missing"},
		{`"version": "1.4.2",`, ``, "version is missing"},
		{`"width": 8, "height": 6`, `"width": 0, "height": 6`, "input.width is 0; expected 1 to 4096"},
		{`"width": 8, "height": 6`, `"width": 8, "height": 4097`, "input.height is 4097"},
		{`"width": 8, "height": 6`, `"width": 8.5, "height": 6`, "input.width: found number 8.5, expected a whole number"},
		{`"layout": "NCHW"`, `"layout": "nchw"`, `input.layout is "nchw"; expected NHWC, NCHW`},
		{`"layout": "NCHW",`, ``, "input.layout is missing"},
		{`"dtype": "float32"`, `"dtype": "float16"`, `input.dtype is "float16"; expected float32, uint8, int8`},
		{`"dtype": "float32"`, `"dtype": "uint8"`, "input.quant is missing"},
		{`"dtype": "float32"`, `"dtype": "int8"`, "input.quant is missing"},
		{`"dtype": "float32"`, `"dtype": "float32", "quant": {"scale": 1, "zero_point": 0}`, "input.quant is {1 0}; expected none for float32"},
		{`"dtype": "float32"`, `"dtype": "uint8", "quant": {"scale": 0, "zero_point": 0}`, "input.quant.scale is 0"},
		{`"dtype": "float32"`, `"dtype": "uint8", "quant": {"scale": 1, "zero_point": 256}`, "input.quant.zero_point is 256; expected 0 to 255"},
		{`"dtype": "float32"`, `"dtype": "int8", "quant": {"scale": 1, "zero_point": 128}`, "input.quant.zero_point is 128; expected -128 to 127"},
		{`"mean": [1, 2, 3]`, `"mean": [1, 2]`, "input.mean is [1 2]; expected 3 numbers"},
		{`"mean": [1, 2, 3]`, `"color": "GRAY"`, "input.std is [4 5 6]; expected 1 numbers"},
		{`"mean": [1, 2, 3]`, `"color": "YUV"`, `input.color is "YUV"; expected RGB, BGR, GRAY`},
		{`"mean": [1, 2, 3]`, `"resize": "fit"`, `input.resize is "fit"`},
		{`"mean": [1, 2, 3]`, `"filter": "nearest"`, `input.filter is "nearest"`},
		{`"mean": [1, 2, 3]`, `"pad": 256`, "input.pad is 256; expected 0 to 255"},
		{`"std": [4, 5, 6]`, `"std": [4, 0, 6]`, "input.std[1] is 0"},
		{`"std": [4, 5, 6]`, `"std": [4, -1, 6]`, "input.std[1] is -1"},
		{`"std": [4, 5, 6]`, `"std": "4"`, "input.std: found string, expected a list"},
		{`"kind": "probabilities"`, `"kind": "softmax"`, `output.kind is "softmax"; expected probabilities, logits`},
		{`"kind": "probabilities"`, `"kind": "logits", "dtype": "uint8"`, "output.quant is missing"},
		{`"labels": "labels.txt"`, `"labels": "../labels.txt"`, `labels is "../labels.txt"`},
		{`"labels": "labels.txt"`, `"labels": "/etc/passwd"`, `labels is "/etc/passwd"`},
		{`"labels": "labels.txt"`, `"labels": "a//b"`, `labels is "a//b"`},
		{`"labels": "labels.txt"`, `"labels": "a\\b"`, `labels is "a\\b"`},
		{`"labels": "labels.txt",`, ``, "labels is missing"},
		{`"file": "m.onnx"`, `"file": "."`, `engines[1].file is "."`},
		{`"engine": "onnx"`, `"engine": ""`, "engines[1].engine is missing"},
		{`"height": 8, "layout": "NHWC"`, `"height": 0, "layout": "NHWC"`, "engines[0].input.height is 0"},
		{`"default": 0.5`, `"default": 1.5`, "thresholds.default is 1.5; expected 0 to 1"},
		{`{"Leer": 0.8}`, `{"Leer": -1}`, `thresholds.per_label["Leer"] is -1`},
		{`"v": 1`, `"v": 1, "created": "yesterday"`, `created is "yesterday"`},
		{`"v": 1`, `"v": 1, "task": "detection"`, `task is "detection"; expected "classification"`},
		{`"v": 1`, `"v": 1, "golden": [{"input": "g.png", "top1": "", "score": 1, "tolerance": 0}]`, "golden[0].top1 is missing"},
		{`"v": 1`, `"v": 1, "accuracy": {"held_out": 98, "n": 1}`, "accuracy.held_out is 98"},
		{`"v": 1`, `"v": 1, "budget": {"rss_mb": -1}`, "budget.rss_mb is -1"},
		{`"v": 1`, `"v": 1, "files": [{"path": "a", "size": 1, "sha256": "AB"}]`, `files[0].sha256 is "AB"`},
		{`"v": 1`, `"v": 1, "shape": 1`, `unknown field "shape"`},
		{`"width": 8, "height": 6`, `"Width": 8, "height": 6`, `unknown field "input.Width"; did you mean "width"?`},
		{`"width": 8, "height": 6`, `"width": 8, "width": 9, "height": 6`, "line 4: input.width appears twice"},
		{`"v": 1,`, `"v": 1`, "line 2: not JSON"},
		{`{"Leer": 0.8}}`, `{"Leer": 0.8}`, "ends before the closing brace"},
	} {
		if strings.Count(goodManifest, c.from) != 1 {
			t.Fatalf("%q is not once in the manifest", c.from)
		}
		_, err := ParseManifest([]byte(strings.Replace(goodManifest, c.from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s → %s: error %v; want one line with %q", c.from, c.to, err, c.want)
		}
	}
	for text, want := range map[string]string{"": "ends before", "[]": "expected an object", goodManifest + "x": "follows the closing brace", "null": "v is 0", `{"v":1,"engines":[]`: "ends before"} {
		if _, err := ParseManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v; want %q", text, err, want)
		}
	}
}

// TestManifestsOfStrangers reads every manifest that lies about: the shipped bundles.
func TestManifestsOfStrangers(t *testing.T) {
	found, err := filepath.Glob("../demo/bundle*/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skip("no bundle in ../demo yet")
	}
	for _, f := range found {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(b); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// FuzzManifest: what is accepted is valid, and survives being written and read again.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(goodManifest))
	f.Add([]byte(`{"v":1,"thresholds":{"per_label":{"A":1}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of more than one line: %q", err)
			}
			return
		}
		if err := m.Validate(); err != nil {
			t.Fatalf("accepted, then invalid: %v", err)
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(again); err != nil {
			t.Errorf("written again and refused: %v\n%s", err, again)
		}
	})
}

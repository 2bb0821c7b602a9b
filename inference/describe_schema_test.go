package inference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(ManifestSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("manifest.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("manifest.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// agree has the schema and the reader judge one manifest.
func agree(t *testing.T, s *jsonschema.Schema, text []byte) (accepted bool) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	bySchema := s.Validate(doc)
	_, byReader := ParseManifest(text)
	if (bySchema == nil) != (byReader == nil) {
		t.Errorf("the schema says %v, the reader %v, of %s", bySchema, byReader, text)
	}
	return byReader == nil
}

// TestSchemaTakesWhatIsThere: every manifest in the repository, and every whole one in its pages and tests.
func TestSchemaTakesWhatIsThere(t *testing.T) {
	s := compiledSchema(t)
	agree(t, s, []byte(goodManifest))
	found := 0
	for _, pattern := range []string{"../demo/bundle/manifest.json", "*/testdata/bundle/manifest.json"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if found++; !agree(t, s, b) {
				t.Errorf("%s is refused", name)
			}
		}
	}
	names, _ := filepath.Glob("../docs/*.md")
	more, _ := filepath.Glob("../docs/*/*.md")
	block := regexp.MustCompile("(?s)```json\n(\\{.*?\\})\n```")
	for _, name := range slices.Concat(names, more, []string{"manifest_test.go"}) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllSubmatch(b, -1) {
			if bytes.Contains(m[1], []byte(`"engines":`)) {
				found++
				agree(t, s, bytes.ReplaceAll(m[1], []byte("…"), []byte("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")))
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d manifests found", found)
	}
}

// full is a manifest with every field.
const full = `{"v":1,"name":"bottles","version":"1.4.2","created":"2026-11-20T10:00:00Z","dataset":"d@3","task":"classification",
 "files":[{"path":"model.onnx","size":412345,"sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","role":"weights"}],
 "engines":[{"engine":"edgetpu","file":"model_edgetpu.tflite","precision":"int8","input":{"width":8,"height":8,"layout":"NHWC","dtype":"int8","color":"GRAY","mean":[1],"std":[2],"quant":{"scale":1,"zero_point":-3}},
  "output":{"kind":"logits","dtype":"int8","quant":{"scale":0.1,"zero_point":3}}},{"engine":"onnx","file":"model.onnx"}],
 "input":{"name":"input","width":224,"height":224,"layout":"NHWC","dtype":"uint8","color":"RGB","mean":[128,128,128],"std":[128,128,128],"quant":{"scale":0.0078125,"zero_point":128},"resize":"letterbox","pad":3,"filter":"area"},
 "output":{"name":"scores","kind":"probabilities","dtype":"uint8","quant":{"scale":0.00390625,"zero_point":0}},
 "labels":"labels.txt","thresholds":{"default":0.5,"per_label":{"empty":0.8}},"baseline":"baseline.json","accuracy":{"held_out":0.9,"n":10,"detail":"x"},
 "golden":[{"input":"golden/0.png","top1":"ok","score":0.98,"tolerance":0.05}],"budget":{"latency_ms":100,"rss_mb":300},"targets":["any"],"license":"MIT"}`

// TestSchemaAndReaderAgree on manifests with one to three random changes.
func TestSchemaAndReaderAgree(t *testing.T) {
	s := compiledSchema(t)
	if !agree(t, s, []byte(full)) {
		t.Fatal("the full manifest is refused")
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	judged := map[bool]int{}
	for range 4000 {
		var doc any
		if err := json.Unmarshal([]byte(full), &doc); err != nil {
			t.Fatal(err)
		}
		for range 1 + r.IntN(3) {
			mutate(r, doc)
		}
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		judged[agree(t, s, b)]++
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if judged[true] < 200 || judged[false] < 200 {
		t.Errorf("one-sided: %v", judged)
	}
}

// mutate changes, removes or adds one thing somewhere.
func mutate(r *rand.Rand, doc any) {
	values := []any{0, 1, -1, 3, 255, 256, -128, -129, 4096, 4097, 0.5, 1e-13, 1.5, 2e6, true, "x", "a/b", "../a", "..a", ".", "a//b", "/a", "a/", `a\b`, "float32", "uint8", "int8", "NCHW", "RGB", "GRAY", "BGR",
		"crop", "logits", "area", "2026-13-20T10:00:00Z", []any{}, []any{1, 2, 3}, []any{0, 0, 0}, []any{1}, []any{"a"}, map[string]any{}, map[string]any{"scale": 0.5, "zero_point": 7}}
	for {
		switch v := doc.(type) {
		case map[string]any:
			keys := slices.Sorted(maps.Keys(v))
			if len(keys) == 0 || r.IntN(40) == 0 {
				v[fmt.Sprintf("extra%d", r.IntN(3))] = 1
				return
			}
			k := keys[r.IntN(len(keys))]
			switch child := v[k]; {
			case r.IntN(6) == 0:
				delete(v, k)
				return
			case isLeaf(child) || r.IntN(6) == 0:
				v[k] = values[r.IntN(len(values))]
				return
			default:
				doc = child
			}
		case []any:
			if len(v) == 0 {
				return
			}
			i := r.IntN(len(v))
			if isLeaf(v[i]) || r.IntN(6) == 0 {
				v[i] = values[r.IntN(len(values))]
				return
			}
			doc = v[i]
		default:
			return
		}
	}
}

func isLeaf(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return true
}

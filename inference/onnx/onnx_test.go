//go:build cgo

package onnx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "golang.org/x/image/bmp"

	"heron/inference"
	"heron/inference/enginetest"
)

// library finds ONNX Runtime as the program would, and in bin/lib of the repository; without it the test is skipped.
func library(t testing.TB) {
	t.Helper()
	if found, _ := filepath.Glob("../../bin/lib/libonnxruntime.so*"); os.Getenv(libraryEnv) == "" && len(found) > 0 {
		path, err := filepath.Abs(slices.Min(found))
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(libraryEnv, path)
	}
	if _, err := Version(); err != nil {
		t.Skipf("%v", err)
	}
}

func model(layout string, in, out inference.DType) inference.Model {
	s := spec(layout, in, out)
	return inference.Model{File: "m.onnx", Bytes: classifier(s, 1), Spec: s}
}

func TestSuite(t *testing.T) {
	library(t)
	open := model("NCHW", inference.Float32, inference.Float32)
	open.Bytes = classifier(open.Spec, -1)
	seven := model("NCHW", inference.Float32, inference.Float32)
	seven.Spec.Labels = append(seven.Spec.Labels, "more")
	named := model("NCHW", inference.Float32, inference.Float32)
	named.Spec.Input.Name = "data"
	ext := model("NCHW", inference.Float32, inference.Float32)
	ext.Bytes = append(ext.Bytes, message(7, external(5))...)
	enginetest.Run(t, enginetest.Suite{Engine: "onnx", Open: Open,
		Good: []enginetest.Case{
			{Name: "float32 NCHW", Model: model("NCHW", inference.Float32, inference.Float32)},
			{Name: "uint8 NHWC", Model: model("NHWC", inference.Uint8, inference.Uint8)},
			{Name: "int8 NHWC", Model: model("NHWC", inference.Int8, inference.Int8)},
			{Name: "open batch", Model: open},
		},
		Refused: []enginetest.Case{
			{Name: "labels", Model: seven, Code: inference.CodeLabels},
			{Name: "name", Model: named, Code: inference.CodeContract},
			{Name: "external data", Model: ext, Code: inference.CodeExternalData},
		}})
}

// TestBroken: the fate of every broken model. Those left out hang while they load or run, or take 4 GB.
func TestBroken(t *testing.T) {
	library(t)
	const opens = enginetest.Opens
	enginetest.Broken(t, "onnx", Open, ".onnx", map[string]string{
		"ok.onnx": opens, "stuck.onnx": opens, "bitflip.onnx": opens, "nan_when_dark.onnx": opens,
		"nan_always.onnx": inference.CodeNotFinite, "inf_logits.onnx": inference.CodeNotFinite, "logits.onnx": inference.CodeNotProbabilities,
		"classes7.onnx": inference.CodeLabels, "int64_output.onnx": inference.CodeContract, "two_inputs.onnx": inference.CodeContract,
		"two_outputs.onnx": inference.CodeContract, "dynamic_nhw.onnx": inference.CodeContract,
		"external_absolute.onnx": inference.CodeExternalData, "external_device.onnx": inference.CodeExternalData,
		"external_missing.onnx": inference.CodeExternalData, "external_traversal.onnx": inference.CodeExternalData,
		"alloc_64g.onnx": inference.CodeBudget, "alloc_64g_load.onnx": inference.CodeBudget, "lying_dims.onnx": inference.CodeBudget,
		"empty.onnx": inference.CodeFormat, "html.onnx": inference.CodeFormat, "truncated.onnx": inference.CodeFormat, "ir_99.onnx": inference.CodeFormat,
		"opset_27.onnx": inference.CodeFormat, "opset_99.onnx": inference.CodeFormat, "unknown_op.onnx": inference.CodeFormat, "unknown_op_domain.onnx": inference.CodeFormat,
	}, append(greedy(t), "hang_loop.onnx", "hang_kernel.onnx", "hang_load.onnx", "alloc_4g.onnx"))
}

// greedy are the models that ask for 64 GiB, where the machine would give it to them.
func greedy(t *testing.T) []string {
	t.Helper()
	var kB int
	b, err := os.ReadFile("/proc/meminfo")
	if err == nil {
		_, err = fmt.Sscanf(string(b), "MemTotal: %d kB", &kB)
	}
	if err != nil || kB > 48<<20 {
		return []string{"alloc_64g.onnx", "alloc_64g_load.onnx"}
	}
	return nil
}

// TestDarkPictures: a model that breaks down on some pictures fails on those alone.
func TestDarkPictures(t *testing.T) {
	library(t)
	b, err := os.ReadFile(filepath.Join(enginetest.Testdata(t), "models", "broken", "nan_when_dark.onnx"))
	if err != nil {
		t.Skip(err)
	}
	m := inference.Model{File: "nan_when_dark.onnx", Bytes: b, Spec: &inference.Spec{Labels: []string{"ok", "scratched", "no_label", "empty", "other"}, Output: inference.Output{Kind: "probabilities"},
		Input: inference.Input{Width: 32, Height: 32, Layout: "NCHW", DType: inference.Float32, Std: []float64{255, 255, 255}}}}
	bundle, err := inference.ReadBundle(enginetest.Folder(t, "onnx", m), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := inference.OpenSlot(t.Context(), bundle, map[string]inference.Opener{"onnx": Open}, inference.Opening{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, grey := range []byte{200, 5, 200} {
		r, err := s.Classify(t.Context(), bytes.Repeat([]byte{grey}, 12), 2, 2, 6)
		if grey == 5 {
			enginetest.CheckRefusal(t, err, inference.CodeNotFinite)
		} else if err != nil || len(r.Top) != inference.TopK {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if st := s.Stats(); st.Inferred != 2 || st.Errors != 1 {
		t.Errorf("%+v", st)
	}
}

// TestPictures: Go's JPEG decoder is not OpenCV's, so the scores may lie further off than 0.06; the labels must not.
func TestPictures(t *testing.T) {
	library(t)
	enginetest.Pictures(t, "onnx", Open, enginetest.MobileNets(), 0.06, func(b []byte) (image.Image, error) {
		m, _, err := image.Decode(bytes.NewReader(b))
		return m, err
	})
}

// TestGolden: the bundle that the repository carries gives its own golden answers, by digest, resize and runtime.
func TestGolden(t *testing.T) {
	library(t)
	bundle, err := inference.ReadBundle("../../demo/bundle", []string{"onnx"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := inference.OpenSlot(t.Context(), bundle, map[string]inference.Opener{"onnx": Open}, inference.Opening{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.Golden()) == 0 {
		t.Fatal("the bundle has no golden pictures")
	}
	if err := s.CheckGoldens(t.Context(), func(g inference.Golden) ([]byte, int, int, int, error) {
		b, err := bundle.ReadGolden(g)
		if err != nil {
			return nil, 0, 0, 0, err
		}
		m, _, err := image.Decode(bytes.NewReader(b))
		if err != nil {
			return nil, 0, 0, 0, err
		}
		pix, w, h := enginetest.BGR(m)
		return pix, w, h, 3 * w, nil
	}); err != nil {
		t.Error(err)
	}
	if err := s.CheckBudget(t.Context()); err != nil {
		t.Log(err) // this machine may be slower than the bundle's
	}
}

func TestInt8WorkaroundIsNarrow(t *testing.T) {
	for _, c := range []struct {
		version string
		amx     bool
		want    bool
	}{{"1.24.3", true, true}, {"1.24.3", false, false}, {"1.25.0", true, false}, {"1.31.1", true, false}} {
		if got := int8Lies(c.version, c.amx); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestContextStopsALoop: what ONNX Runtime can stop, it stops.
func TestContextStopsALoop(t *testing.T) {
	library(t)
	dir := filepath.Join(enginetest.Testdata(t), "models", "broken")
	b, err := os.ReadFile(filepath.Join(dir, "hang_loop.onnx"))
	if err != nil {
		t.Skip(err)
	}
	s := &inference.Spec{Labels: []string{"a", "b", "c", "d", "e"}, Input: inference.Input{Width: 32, Height: 32, Layout: "NCHW", DType: inference.Float32}, Output: inference.Output{Kind: "probabilities"}}
	e, err := Open(t.Context(), inference.Model{File: "hang_loop.onnx", Bytes: b, Spec: s})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for range 2 { // the flag is taken back
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := e.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
		cancel()
	}
}

// BenchmarkRun is the cost of a call: the model itself takes some microseconds.
func BenchmarkRun(b *testing.B) {
	library(b)
	m := model("NCHW", inference.Float32, inference.Float32)
	e, err := Open(b.Context(), m)
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Run(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

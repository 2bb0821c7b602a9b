//go:build cgo && linux

package openvino

import (
	"bytes"
	"context"
	"errors"
	"image"
	_ "image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "golang.org/x/image/bmp"

	"heron/inference"
	"heron/inference/enginetest"
)

// real finds OpenVINO as the program would, and in bin/lib of the repository; without it the test is skipped.
func real(t testing.TB) *Runtime {
	t.Helper()
	exe, err := filepath.Abs("../../bin/heron-vision")
	if err != nil {
		t.Fatal(err)
	}
	r := New(Config{Executable: exe})
	if _, err := r.library(devices()[0]); err != nil {
		t.Skip(err)
	}
	return r
}

func TestSuite(t *testing.T) {
	r := real(t)
	open := onnxModel("NCHW", inference.Float32, inference.Float32)
	open.Bytes = classifier(open.Spec, -1)
	seven := onnxModel("NCHW", inference.Float32, inference.Float32)
	seven.Spec.Labels = append(seven.Spec.Labels, "more")
	renamed := onnxModel("NCHW", inference.Float32, inference.Float32)
	renamed.Spec.Input.Name = "data"
	output := onnxModel("NCHW", inference.Float32, inference.Float32)
	output.Spec.Output.Name = "answers"
	called := onnxModel("NCHW", inference.Float32, inference.Float32)
	called.Spec.Input.Name, called.Spec.Output.Name = "input", "scores"
	enginetest.Run(t, enginetest.Suite{Engine: CPU, Open: r.Open,
		Good: []enginetest.Case{
			{Name: "float32 NCHW", Model: onnxModel("NCHW", inference.Float32, inference.Float32)},
			{Name: "uint8 NHWC", Model: onnxModel("NHWC", inference.Uint8, inference.Uint8)},
			{Name: "int8 NHWC", Model: onnxModel("NHWC", inference.Int8, inference.Int8)},
			{Name: "open batch", Model: open},
			{Name: "by name", Model: called},
		},
		Refused: []enginetest.Case{
			{Name: "labels", Model: seven, Code: inference.CodeLabels},
			{Name: "name", Model: renamed, Code: inference.CodeContract},
			{Name: "output name", Model: output, Code: inference.CodeContract},
		}})
}

// TestIR: the two files of OpenVINO's own format, also by the way of a bundle's folder (the suite serves a slot from one).
func TestIR(t *testing.T) {
	r := real(t)
	s := spec("NCHW", inference.Float32, inference.Float32)
	xml, bin := ir(s)
	m := inference.Model{File: "m.xml", Bytes: xml, Weights: bin, Spec: s}
	alone, cut := m, m
	alone.Weights, cut.Weights = nil, bin[:20]
	enginetest.Run(t, enginetest.Suite{Engine: CPU, Open: r.Open, Good: []enginetest.Case{{Name: "xml and bin", Model: m}},
		Refused: []enginetest.Case{{Name: "xml alone", Model: alone, Code: inference.CodeFormat}, {Name: "half a bin", Model: cut, Code: inference.CodeFormat}}})
}

// TestBroken: the fate of every broken model. Those left out hang while they load or run, or take 4 GB. OpenVINO reads files of versions
// that are not published yet; Heron's contract, which they keep, decides.
func TestBroken(t *testing.T) {
	r := real(t)
	const opens = enginetest.Opens
	enginetest.Broken(t, CPU, r.Open, ".onnx", map[string]string{
		"ok.onnx": opens, "stuck.onnx": opens, "bitflip.onnx": opens, "nan_when_dark.onnx": opens,
		"ir_99.onnx": opens, "opset_27.onnx": opens, "opset_99.onnx": opens,
		"nan_always.onnx": inference.CodeNotFinite, "inf_logits.onnx": inference.CodeNotFinite, "logits.onnx": inference.CodeNotProbabilities,
		"classes7.onnx": inference.CodeLabels, "int64_output.onnx": inference.CodeContract, "two_inputs.onnx": inference.CodeContract,
		"two_outputs.onnx": inference.CodeContract, "dynamic_nhw.onnx": inference.CodeContract,
		"external_absolute.onnx": inference.CodeExternalData, "external_device.onnx": inference.CodeExternalData,
		"external_missing.onnx": inference.CodeExternalData, "external_traversal.onnx": inference.CodeExternalData,
		"lying_dims.onnx": inference.CodeBudget,
		"hang_load.onnx":  inference.CodeFormat, "empty.onnx": inference.CodeFormat, "html.onnx": inference.CodeFormat, "truncated.onnx": inference.CodeFormat,
		"unknown_op.onnx": inference.CodeFormat, "unknown_op_domain.onnx": inference.CodeFormat,
	}, []string{"hang_loop.onnx", "hang_kernel.onnx", "alloc_4g.onnx", "alloc_64g.onnx", "alloc_64g_load.onnx"})
}

// TestPictures: Go's JPEG decoder is not OpenCV's, so the scores may lie further off than 0.06; the labels must not.
func TestPictures(t *testing.T) {
	r := real(t)
	enginetest.Pictures(t, CPU, r.Open, enginetest.MobileNets(), 0.06, func(b []byte) (image.Image, error) {
		m, _, err := image.Decode(bytes.NewReader(b))
		return m, err
	})
}

// TestDeviceIsAskedForAlone: what is not there is refused, and never runs on the CPU instead.
func TestDeviceIsAskedForAlone(t *testing.T) {
	r := real(t)
	for _, name := range []string{GPU, NPU} {
		e, err := r.Openers()[name](t.Context(), onnxModel("NCHW", inference.Float32, inference.Float32))
		if err == nil {
			if d := e.Info().Device; d == "cpu" {
				t.Errorf("%s runs on the %s", name, d)
			}
			e.Close()
			continue
		}
		t.Log(err)
		enginetest.CheckRefusal(t, err, inference.CodeUnavailable)
		if !errors.Is(err, inference.ErrUnavailable) {
			t.Errorf("%s: %v does not wrap ErrUnavailable", name, err)
		}
	}
}

// TestContextEndsARun: between two nodes OpenVINO stops, and the next run is whole again.
func TestContextEndsARun(t *testing.T) {
	r := real(t)
	e, err := r.Open(t.Context(), slow())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		start := time.Now()
		if err := e.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v after %v", err, time.Since(start))
		}
		cancel()
		t.Log("stopped after", time.Since(start))
	}
	start := time.Now()
	if err := e.Run(t.Context()); err != nil {
		t.Error(err)
	}
	t.Log("a whole run takes", time.Since(start))
}

// slow is a model of many heavy nodes.
func slow() inference.Model {
	s := &inference.Spec{Labels: make([]string, 3), Output: inference.Output{Kind: "logits"}, Input: inference.Input{Width: 512, Height: 512, Layout: "NCHW", DType: inference.Float32}}
	g := [][]byte{valueInfo(11, "input", 1, 1, 3, 512, 512), valueInfo(12, "scores", 1, 1, 3)}
	from := "input"
	for i := range 40 {
		to := "m" + string(rune('A'+i))
		g = append(g, op("MatMul", []string{from, "input"}, to))
		from = to
	}
	g = append(g, op("ReduceMean", []string{from}, "scores", integers("axes", 2, 3), integer("keepdims", 0)))
	return inference.Model{File: "slow.onnx", Bytes: onnxFile(g...), Spec: s}
}

func TestClosedEngine(t *testing.T) {
	e, err := real(t).Open(t.Context(), onnxModel("NCHW", inference.Float32, inference.Float32))
	if err != nil {
		t.Fatal(err)
	}
	if e.Close() != nil || e.Run(t.Context()) == nil {
		t.Error("a closed engine runs")
	}
}

// TestNotOpenVINO: a library that is another one is named as such.
func TestNotOpenVINO(t *testing.T) {
	found, _ := filepath.Glob("/lib/*-linux-gnu/libm.so.6")
	if len(found) == 0 {
		t.Skip("no libm.so.6 in /lib/*-linux-gnu")
	}
	r := New(Config{Getenv: env(map[string]string{libraryEnv: found[0]})})
	_, err := r.Open(t.Context(), onnxModel("NCHW", inference.Float32, inference.Float32))
	enginetest.CheckRefusal(t, err, inference.CodeUnavailable)
	if !strings.Contains(err.Error(), "no function ov_") {
		t.Error(err)
	}
}

// TestNothingLeaks: descriptors stay as many as they were.
func TestNothingLeaks(t *testing.T) {
	r := real(t)
	m := onnxModel("NCHW", inference.Float32, inference.Float32)
	count := func() int {
		t.Helper()
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	var before int
	for i := range 12 {
		e, err := r.Open(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			before = count()
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

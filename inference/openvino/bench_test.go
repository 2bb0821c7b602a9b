//go:build cgo && linux

package openvino

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
	_ "heron/internal/malloc" // as heron-vision has it
)

// BenchmarkRun is the cost of a call: the model itself takes some microseconds.
func BenchmarkRun(b *testing.B) {
	e, err := real(b).Open(b.Context(), onnxModel("NCHW", inference.Float32, inference.Float32))
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Run(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAgainstC runs a real classifier.
func BenchmarkAgainstC(b *testing.B) {
	r := real(b)
	path := filepath.Join(os.Getenv("HERON_TESTDATA"), "models", "mobilenet_v1_0.25_128_float_nchw.onnx")
	raw, err := os.ReadFile(path)
	if err != nil {
		b.Skip("needs the test data: HERON_TESTDATA: ", err)
	}
	i := slices.IndexFunc(enginetest.MobileNets(), func(m enginetest.Real) bool { return m.File == filepath.Base(path) })
	m := enginetest.MobileNets()[i]
	enginetest.AgainstC{Source: "testdata/bareloop.c", Args: []string{r.conf.libraries(devices()[0])[0], path}, Open: func() (inference.Engine, error) {
		return r.Open(b.Context(), inference.Model{File: m.File, Bytes: raw, Threads: 1,
			Spec: &inference.Spec{Labels: make([]string, 1001), Input: m.Input, Output: m.Output}})
	}}.Run(b)
}

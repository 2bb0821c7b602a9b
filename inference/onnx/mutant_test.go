//go:build cgo && linux

package onnx

import (
	"bytes"
	"image"
	"slices"
	"testing"

	"heron/inference/enginetest"
)

// TestTorture_Mutants: what becomes of damaged copies of a real classifier, with float32 and with 8-bit weights.
func TestTorture_Mutants(t *testing.T) {
	library(t)
	small := slices.DeleteFunc(enginetest.MobileNets(), func(r enginetest.Real) bool {
		return r.File != "mobilenet_v1_0.25_128_float_nchw.onnx" && r.File != "mobilenet_v1_0.25_128_quant.onnx"
	})
	enginetest.Mutants{Test: t.Name(), Engine: CPU, Open: Open, Models: enginetest.RealModels(t, small), Decode: func(b []byte) (image.Image, error) {
		m, _, err := image.Decode(bytes.NewReader(b))
		return m, err
	}}.Run(t)
}

//go:build cgo && linux

package tflite

import (
	"bytes"
	"image"
	"testing"

	"heron/inference/enginetest"
)

// TestTorture_Mutants: what becomes of damaged copies of the real classifier.
func TestTorture_Mutants(t *testing.T) {
	library(t)
	enginetest.Mutants{Test: t.Name(), Engine: "tflite", Open: Open, Models: enginetest.RealModels(t, mobileNets()[:1]), Decode: func(b []byte) (image.Image, error) {
		m, _, err := image.Decode(bytes.NewReader(b))
		return m, err
	}}.Run(t)
}

//go:build cgo && linux

package tflite

import (
	"os"
	"path/filepath"
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
	_ "heron/internal/malloc" // as heron-vision has it
)

// BenchmarkAgainstC runs a real classifier.
func BenchmarkAgainstC(b *testing.B) {
	library(b)
	m := real(b, "mobilenet_v1_0.25_128_quant.tflite")
	file := filepath.Join(b.TempDir(), m.File)
	if err := os.WriteFile(file, m.Bytes, 0o644); err != nil {
		b.Fatal(err)
	}
	enginetest.AgainstC{Source: "testdata/bareloop.c", Args: []string{os.Getenv(libraryEnv), file},
		Open: func() (inference.Engine, error) { return Open(b.Context(), m) }}.Run(b)
}

//go:build !cgo || !linux

package tflite

import (
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
)

func work() int { return 1 }

// TestStub: without cgo the engines refuse, and say what to do.
func TestStub(t *testing.T) {
	s := spec(inference.Uint8, inference.Uint8)
	for _, open := range []inference.Opener{Open, OpenEdgeTPU} {
		_, err := open(t.Context(), modelOf("m.tflite", s, classifier(s)))
		enginetest.CheckRefusal(t, err, inference.CodeUnavailable)
	}
	if _, err := Version(); err == nil {
		t.Error("a version without a library")
	}
}

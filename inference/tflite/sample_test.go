//go:build cgo && linux

package tflite

import (
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
)

func TestSample(t *testing.T) {
	s := spec(inference.Uint8, inference.Uint8)
	plug(t)
	enginetest.Sample(t, "testdata/bundle", map[string][]byte{"m_edgetpu.tflite": compiled(s), "m.tflite": classifier(s)},
		map[string]inference.Opener{"edgetpu": OpenEdgeTPU, "tflite": Open})
}

//go:build cgo && linux

package openvino

import (
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
)

func TestSample(t *testing.T) {
	xml, bin := ir(spec("NCHW", inference.Float32, inference.Float32))
	enginetest.Sample(t, "testdata/bundle", map[string][]byte{"m.xml": xml, "m.bin": bin},
		map[string]inference.Opener{Myriad: newMachine(t).runtime().Openers()[Myriad], CPU: real(t).Open})
}

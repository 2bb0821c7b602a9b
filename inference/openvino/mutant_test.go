//go:build cgo && linux

package openvino

import (
	"bytes"
	"cmp"
	"image"
	"os"
	"slices"
	"testing"

	"heron/inference/enginetest"
)

// TestTorture_Mutants: what becomes of damaged copies of a real classifier, as ONNX and as OpenVINO's own two files. Nobody publishes the
// latter; HERON_TEST_IR names an .xml that OpenVINO's Python package made of mobilenet_v1_0.25_128_float_nchw.onnx (save_model).
func TestTorture_Mutants(t *testing.T) {
	r := real(t)
	one := slices.DeleteFunc(enginetest.MobileNets(), func(r enginetest.Real) bool { return r.File != "mobilenet_v1_0.25_128_float_nchw.onnx" })
	ir := one[0]
	ir.File = cmp.Or(os.Getenv("HERON_TEST_IR"), "/none/m.xml")
	enginetest.Mutants{Test: t.Name(), Engine: CPU, Open: r.Open, Models: enginetest.RealModels(t, append(one, ir)), Decode: func(b []byte) (image.Image, error) {
		m, _, err := image.Decode(bytes.NewReader(b))
		return m, err
	}}.Run(t)
}

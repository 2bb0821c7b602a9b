package openvino

import (
	"bytes"

	"heron/inference"
)

// checkFiles is what Heron checks itself before OpenVINO sees a byte: what the file is, and that an ONNX file neither reads
// other files nor declares more than it carries.
func checkFiles(m inference.Model, d device) error {
	if err := d.fits(m.Spec); err != nil {
		return err
	}
	again := "fetch or export the model again"
	if len(m.Bytes) == 0 {
		return inference.Refuse(inference.CodeFormat, again, "the file is empty")
	}
	if isIR(m.Bytes) {
		if len(m.Weights) == 0 && bytes.Contains(m.Bytes, []byte(`type="Const"`)) {
			return inference.Refuse(inference.CodeFormat, "use the ONNX file, or give the .bin along with the .xml", "the model's weights are in a second file, which was not given")
		}
		return nil
	}
	if len(m.Weights) > 0 {
		return inference.Refuse(inference.CodeFormat, again, "a second file of weights belongs to OpenVINO's .xml, which this is not")
	}
	_, err := inference.ReadONNX(m.Bytes)
	if r, ok := err.(*inference.Refusal); ok && r.Code == inference.CodeFormat {
		r.What += ", nor OpenVINO's .xml"
	}
	return err
}

// isIR: OpenVINO's own format is XML with one element, net.
func isIR(b []byte) bool {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\ufeff")), " \t\r\n")
	return bytes.HasPrefix(b, []byte("<?xml")) || bytes.HasPrefix(b, []byte("<net"))
}

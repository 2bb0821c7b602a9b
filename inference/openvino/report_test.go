//go:build cgo && linux

package openvino

import "testing"

func TestReportReal(t *testing.T) {
	r := real(t)
	for _, d := range r.Report(t.Context()) {
		t.Logf("%+v", d)
	}
}

package openvino

import (
	"strings"
	"testing"
)

// TestReport: every engine is named, and what is not usable has a reason and a next step, each in one line.
func TestReport(t *testing.T) {
	r := New(Config{Getenv: env(nil), Sysfs: t.TempDir(), Executable: "/none/heron-vision"})
	var seen []string
	for _, d := range r.Report(t.Context()) {
		t.Log(d)
		seen = append(seen, d.Engine)
		if d.Usable != (d.Reason == "") || d.Usable != (d.NextStep == "") || d.Usable != (d.Version != "") && d.Engine == CPU || strings.Contains(d.Reason+d.NextStep, "\n") {
			t.Errorf("%+v", d)
		}
		if d.Usable && d.Engine != CPU {
			t.Errorf("%+v on a machine without hardware", d)
		}
	}
	if strings.Join(seen, " ") != "openvino openvino-gpu openvino-npu myriad" {
		t.Errorf("%q", seen)
	}
}

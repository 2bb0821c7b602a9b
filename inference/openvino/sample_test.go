//go:build cgo && linux

package openvino

import (
	"bytes"
	"os"
	"testing"

	"heron/inference"
)

// TestSample: the bundle beside the double is what the tests' writer makes (HERON_WRITE_SAMPLE=1 writes it), and runs on the double and on
// the CPU.
func TestSample(t *testing.T) {
	xml, bin := ir(spec("NCHW", inference.Float32, inference.Float32))
	for name, want := range map[string][]byte{"m.xml": xml, "m.bin": bin} {
		path := "testdata/bundle/" + name
		if os.Getenv("HERON_WRITE_SAMPLE") != "" {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the writer makes (%v)", path, err)
		}
	}
	for engine, r := range map[string]*Runtime{Myriad: newMachine(t).runtime(), CPU: real(t)} {
		b, err := inference.ReadBundle("testdata/bundle", []string{engine})
		if err != nil {
			t.Fatal(err)
		}
		sl, err := inference.OpenSlot(t.Context(), b, r.Openers(), inference.Opening{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := sl.Classify(t.Context(), []byte{255, 0, 0}, 1, 1, 3); err != nil || len(got.Top) == 0 {
			t.Errorf("%s: %+v, %v", engine, got, err)
		}
		if err := sl.Close(); err != nil {
			t.Error(err)
		}
	}
}

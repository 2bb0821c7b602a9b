//go:build linux

package enginetest

import (
	"bytes"
	"context"
	"image"
	_ "image/jpeg"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "golang.org/x/image/bmp"

	"heron/inference"
	"heron/inference/scripted"
)

// TestMutantsAreCounted: a runtime that dies of some mutants and hangs with others is outlived, and each is counted for what it did.
func TestMutantsAreCounted(t *testing.T) {
	script := []byte(`{"answers": [["dark", 0.9], ["middling", 0.8], ["bright", 0.7]]}` + strings.Repeat(" ", 40<<10))
	m := inference.Model{File: "m.json", Bytes: script, Spec: &inference.Spec{Labels: []string{"dark", "middling", "bright"},
		Input: inference.Input{Width: 8, Height: 8, Layout: "NHWC", DType: inference.Uint8}, Output: inference.Output{Kind: "probabilities"}}}
	c := Mutants{Test: t.Name(), Engine: "scripted", Models: []inference.Model{m}, Within: 2 * time.Second,
		Open: func(ctx context.Context, m inference.Model) (inference.Engine, error) {
			switch {
			case len(m.Bytes) < len(script):
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // as a runtime's abort would
				select {}
			case bytes.Contains(m.Bytes, make([]byte, 500)):
				time.Sleep(time.Hour) // no context ends it
			}
			return scripted.Open(ctx, m)
		},
		Decode: func(b []byte) (image.Image, error) {
			m, _, err := image.Decode(bytes.NewReader(b))
			return m, err
		}}
	if job := os.Getenv(mutantEnv); job != "" {
		c.child(t, job)
		return
	}
	Testdata(t)
	c.signed(t, m, 1, 4)
	tally := c.unsigned(t, 0, m, 1, 4)
	if tally[died] != 1 || tally[hung] != 1 || tally["refused "+inference.CodeFormat] != 2 {
		t.Errorf("%v", tally)
	}
}

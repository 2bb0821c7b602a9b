//go:build cgo && linux

package openvino

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/enginetest"
)

// BenchmarkRun is the cost of a call: the model itself takes some microseconds.
func BenchmarkRun(b *testing.B) {
	e, err := real(b).Open(b.Context(), onnxModel("NCHW", inference.Float32, inference.Float32))
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Run(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAgainstC runs a real classifier here and in a bare C loop by turns: the medians' ratio, the best of the rounds of each,
// must not be over 1.05.
func BenchmarkAgainstC(b *testing.B) {
	r := real(b)
	path := filepath.Join(os.Getenv("HERON_TESTDATA"), "models", "mobilenet_v1_0.25_128_float_nchw.onnx")
	raw, err := os.ReadFile(path)
	if err != nil {
		b.Skip("needs the test data: HERON_TESTDATA: ", err)
	}
	loop := startBareLoop(b, r.conf.libraries(devices()[0])[0], path)
	i := slices.IndexFunc(enginetest.MobileNets(), func(m enginetest.Real) bool { return m.File == filepath.Base(path) })
	m := enginetest.MobileNets()[i]
	e, err := r.Open(b.Context(), inference.Model{File: m.File, Bytes: raw, Threads: 1, Spec: &inference.Spec{Labels: make([]string, 1001), Input: m.Input, Output: m.Output}})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ours, theirs := time.Hour, time.Hour
	for b.Loop() {
		for range 8 {
			theirs = min(theirs, loop(b))
			ours = min(ours, median(b, ctx, e))
		}
	}
	ratio := float64(ours) / float64(theirs)
	b.ReportMetric(ratio, "of-C")
	b.ReportMetric(float64(ours.Microseconds()), "µs/frame")
	if ratio > 1.05 {
		b.Errorf("%v a frame, %v in C: %.3f", ours, theirs, ratio)
	}
}

func median(b *testing.B, ctx context.Context, e inference.Engine) time.Duration {
	b.Helper()
	var took []time.Duration
	for range 100 {
		start := time.Now()
		if err := e.Run(ctx); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// startBareLoop compiles and starts testdata/bareloop.c; each call of what it returns is a round.
func startBareLoop(b *testing.B, library, model string) func(*testing.B) time.Duration {
	b.Helper()
	program := filepath.Join(b.TempDir(), "bareloop")
	if out, err := exec.Command("gcc", "-O2", "-o", program, "testdata/bareloop.c", "-ldl").CombinedOutput(); err != nil {
		b.Skipf("needs gcc: %v %s", err, out)
	}
	cmd := exec.Command(program, library, model)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close() // ends it
		_ = cmd.Wait()
	})
	answers := bufio.NewReader(out)
	return func(b *testing.B) time.Duration {
		b.Helper()
		var ns int64
		_, err := io.WriteString(in, "go\n")
		if err == nil {
			_, err = fmt.Fscanln(answers, &ns)
		}
		if err != nil {
			b.Fatal("the C loop: ", err)
		}
		return time.Duration(ns)
	}
}

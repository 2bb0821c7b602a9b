//go:build cgo && linux

package tflite

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"heron/inference"
)

// BenchmarkAgainstC compares turn by turn, some tens of milliseconds each, so that both get the same share of a busy machine: a real classifier through
// this package, and testdata/bare.c. The metric of interest is their ratio, by the median of the turns.
func BenchmarkAgainstC(b *testing.B) {
	library(b)
	m := real(b, "mobilenet_v1_0.25_128_quant.tflite")
	e, err := Open(b.Context(), m)
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	bare := bareLoop(b, m)
	var ours, theirs, ratios []float64
	const runs = 100
	for b.Loop() {
		g, c := goLoop(b, e, runs), bare(runs)
		ours, theirs, ratios = append(ours, g), append(theirs, c), append(ratios, g/c)
	}
	b.ReportMetric(median(ours)/1e3, "go-µs")
	b.ReportMetric(median(theirs)/1e3, "c-µs")
	b.ReportMetric(median(ratios), "ratio")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func goLoop(b *testing.B, e inference.Engine, runs int) (nanoseconds float64) {
	t0 := time.Now()
	for range runs {
		if err := e.Run(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return float64(time.Since(t0)) / float64(runs)
}

// bareLoop builds and starts the C program.
func bareLoop(b *testing.B, m inference.Model) func(runs int) (nanoseconds float64) {
	b.Helper()
	dir := b.TempDir()
	file, program := filepath.Join(dir, m.File), filepath.Join(dir, "bare")
	if err := os.WriteFile(file, m.Bytes, 0o644); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-O2", "-o", program, "testdata/bare.c", "-ldl").CombinedOutput(); err != nil {
		b.Skipf("no C compiler for the bare loop: %v %s", err, out)
	}
	cmd := exec.CommandContext(b.Context(), program, os.Getenv(libraryEnv), file)
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
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return func(runs int) float64 {
		var total float64
		if _, err := fmt.Fprintln(in, runs); err != nil {
			b.Fatal(err)
		}
		if _, err := fmt.Fscan(out, &total); err != nil {
			b.Fatal(err)
		}
		return total / float64(runs)
	}
}

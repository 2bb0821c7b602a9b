package enginetest

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
)

// most is what an engine may cost, as a multiple of the same runtime in a bare C loop.
const most = 1.05

// AgainstC compares an engine with a C program that does nothing but infer.
type AgainstC struct {
	Source string   // of the program, which ends with run of testdata/bareloop.h
	Args   []string // of the program
	Open   func() (inference.Engine, error)
}

// Run compares the medians. Where a model's buffers come to lie is chance and decides more than all else: each turn of the benchmark is a new
// process and a newly opened engine, and the medians of the turns are compared (-benchtime 15x). Within a turn they infer by turns, and
// the best round of each counts, so that a busy machine is no one's fault.
func (a AgainstC) Run(b *testing.B) {
	program := filepath.Join(b.TempDir(), "bare")
	if out, err := exec.Command("gcc", "-O2", "-I", "../enginetest/testdata", "-o", program, a.Source, "-ldl").CombinedOutput(); err != nil {
		b.Skipf("needs gcc: %v %s", err, out)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var ours, theirs []time.Duration
	for b.Loop() {
		g, c := a.turn(b, ctx, program)
		ours, theirs = append(ours, g), append(theirs, c)
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	g, c := ours[len(ours)/2], theirs[len(theirs)/2]
	ratio := float64(g) / float64(c)
	b.ReportMetric(float64(g.Microseconds()), "µs/frame")
	b.ReportMetric(float64(c.Microseconds()), "µs/frame-in-C")
	b.ReportMetric(ratio, "of-C")
	if len(ours) >= 10 && ratio > most {
		b.Errorf("%v a frame (%v to %v), %v in C (%v to %v): %.3f, over %.2f",
			g, ours[0], ours[len(ours)-1], c, theirs[0], theirs[len(theirs)-1], ratio, most)
	}
}

func (a AgainstC) turn(b *testing.B, ctx context.Context, program string) (ours, theirs time.Duration) {
	b.Helper()
	loop, end := startBare(b, program, a.Args)
	defer end()
	e, err := a.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	ours, theirs = time.Hour, time.Hour
	for range 6 {
		theirs = min(theirs, loop())
		ours = min(ours, medianRun(b, ctx, e))
	}
	return ours, theirs
}

func medianRun(b *testing.B, ctx context.Context, e inference.Engine) time.Duration {
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

// startBare starts the program; each call of loop is a round.
func startBare(b *testing.B, program string, args []string) (loop func() time.Duration, end func()) {
	b.Helper()
	cmd := exec.Command(program, args...)
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
	answers := bufio.NewReader(out)
	loop = func() time.Duration {
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
	return loop, func() {
		_ = in.Close() // ends it
		_ = cmd.Wait()
	}
}

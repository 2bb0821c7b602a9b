//go:build cgo && linux

package tflite

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"heron/inference"
)

// TestCyclesLeaveNothing: engines opened, used and closed by the dozen leave no descriptor, no thread and no memory.
func TestCyclesLeaveNothing(t *testing.T) {
	t.Run("edgetpu", func(t *testing.T) {
		plug(t)
		cycles(t, 100, OpenEdgeTPU, tpuModel(inference.Uint8))
	})
	t.Run("tflite", func(t *testing.T) {
		library(t)
		m := real(t, "mobilenet_v1_0.25_128_quant.tflite")
		m.Threads = 2 // so that there is a pool to leave behind
		cycles(t, 40, Open, m)
	})
}

func cycles(t *testing.T, n int, open inference.Opener, m inference.Model) {
	cycle := func() {
		e, err := open(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(e.Run(t.Context()), e.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for range n / 4 {
		cycle()
	}
	before := [3]int{entries(t, "fd"), entries(t, "task"), resident(t)}
	for range n {
		cycle()
	}
	after := [3]int{entries(t, "fd"), entries(t, "task"), resident(t)}
	t.Logf("descriptors, threads, KiB: %v, then %v", before, after)
	if after[0] > before[0]+2 || after[1] > before[1]+4 || after[2] > before[2]+20<<10 {
		t.Errorf("descriptors, threads, KiB: %v, then %v", before, after)
	}
}

func entries(t *testing.T, what string) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/" + what)
	if err != nil {
		t.Skip(err)
	}
	return len(d)
}

// resident is this process's memory in KiB.
func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 10
}

package tflite

import (
	"context"
	"os"
	"testing"

	"heron/inference"
)

// workFlag makes the test's binary a process with an open engine.
const workFlag = "--edgetpu-worker"

// TestMain lets the test's binary stand in for heron-vision: it may be started as the child of a trial, or as a process that is to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ProbeFlag {
		os.Exit(ProbeMain(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == workFlag {
		os.Exit(work())
	}
	os.Exit(m.Run())
}

// TestAnswersAreKept: a pair that works is not tried again, nor what kills the child until something changes; a busy device is.
func TestAnswersAreKept(t *testing.T) {
	t.Setenv(sysfsEnv, tree(t, stick("2-1", "18d1", "9302", "5")))
	t.Setenv(libraryEnv, "/none/a")
	t.Setenv(pluginEnv, "/none/b")
	var k keeper
	calls := 0
	ask := func(a Answer, final bool, model string, want Answer, wantCalls int) {
		t.Helper()
		got := k.probe(t.Context(), []byte(model), "", func(context.Context, []byte, string) (Answer, bool) {
			calls++
			return a, final
		})
		if got != want || calls != wantCalls {
			t.Errorf("%+v after %d calls; want %+v after %d", got, calls, want, wantCalls)
		}
	}
	busy, dead, good := Answer{Code: inference.CodeUnavailable, What: "busy"}, Answer{Code: inference.CodeUnavailable, What: "dead"}, Answer{OK: true}
	ask(busy, false, "m", busy, 1)
	ask(dead, true, "m", dead, 2)
	ask(good, false, "m", dead, 2)
	ask(busy, false, "other", busy, 3)
	t.Setenv(sysfsEnv, tree(t, stick("2-1", "18d1", "9302", "6"))) // plugged in anew
	ask(good, false, "m", good, 4)
	ask(dead, true, "third", good, 4)
	t.Setenv(pluginEnv, "/none/c")
	ask(busy, false, "m", busy, 5)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := k.probe(ended, []byte("x"), "", func(context.Context, []byte, string) (Answer, bool) { return dead, true }); got != dead {
		t.Errorf("%+v", got)
	}
	ask(busy, false, "x", busy, 6) // a trial that was called off says nothing
}

func TestProbeMainWantsArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"a", "b", "c"}, {"/no/such/file"}} {
		if ProbeMain(args) == 0 {
			t.Errorf("%q is fine", args)
		}
	}
}

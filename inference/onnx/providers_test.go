//go:build cgo

package onnx

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
)

// TestThreads: a session has as many threads as it was told, and they sleep between nodes unless they are told not to.
func TestThreads(t *testing.T) {
	library(t)
	tasks := func() int {
		found, err := filepath.Glob("/proc/self/task/*")
		if err != nil || len(found) == 0 {
			t.Skip("no /proc to count threads in")
		}
		return len(found)
	}
	once := func(threads int) int {
		m := model("NCHW", inference.Float32, inference.Float32)
		m.Threads = threads
		before := tasks()
		e, err := Open(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		return tasks() - before
	}
	grown := func(threads int) int { // now and then Go starts a thread of its own for native calls
		least := once(threads)
		for range 4 {
			least = min(least, once(threads))
		}
		return least
	}
	one, six := grown(1), grown(6)
	if six-one < 5 {
		t.Errorf("a session with 1 thread starts %d, one with 6 starts %d", one, six)
	}
	for _, spin := range []bool{false, true} {
		o, err := sessionOptions(&inference.Model{Spin: spin})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Destroy()
		for _, name := range []string{"session.intra_op.allow_spinning", "session.inter_op.allow_spinning"} {
			if v, err := o.GetSessionConfigEntry(name); err != nil || v != flag(spin) {
				t.Errorf("%s is %q with spin %v, %v", name, v, spin, err)
			}
		}
	}
}

// TestOneNode: the model that Report runs is what it is said to be.
func TestOneNode(t *testing.T) {
	want := file(node("Relu", "x", "", "y"), valueInfo(11, "x", typeFloat, 1, 1, 1, 1), valueInfo(12, "y", typeFloat, 1, 1))
	if string(want) != oneNode {
		t.Errorf("the constant is to be %q", want)
	}
}

var providerNames = map[string]string{CUDA: "CUDA", TensorRT: "TensorRT"} // read only

// gpuIsThere moves the look at the machine to one with a GPU, so that the library's word is heard.
func gpuIsThere(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	put(t, dir+"/dev/nvidia0", "")
	put(t, dir+"/proc/driver/nvidia/version", rm)
	t.Setenv("HERON_DEV", dir+"/dev")
	t.Setenv("HERON_PROC", dir+"/proc")
	t.Setenv(cacheEnv, dir+"/cache")
}

// TestGPURefused: without a GPU, and with one but ONNX Runtime's library for CPUs, the engines say what is missing.
func TestGPURefused(t *testing.T) {
	library(t)
	status := func() map[string]inference.Status {
		out := map[string]inference.Status{}
		for _, s := range Report(t.Context()) {
			t.Log(s)
			out[s.Engine] = s
		}
		return out
	}
	if os.Getenv("HERON_DEV") == "" && len(hostOf(os.Getenv).nodes()) > 0 {
		t.Skip("this machine has a GPU")
	}
	none := status()
	if !none[CPU].Usable || !none[CPU].Present || none[CPU].Version == "" {
		t.Errorf("%+v", none[CPU])
	}
	for _, name := range []string{CUDA, TensorRT} {
		if s := none[name]; s.Present || s.Usable || !strings.Contains(s.Reason, "shows no NVIDIA GPU") || s.NextStep == "" ||
			strings.Contains(s.Reason, "has no "+providerNames[name]+" provider") == (providers()[1].built() == nil) {
			t.Errorf("%+v", s)
		}
	}
	gpuIsThere(t)
	there := status()
	for _, name := range []string{CUDA, TensorRT} {
		s := there[name]
		if !s.Present || s.Usable || s.NextStep == "" || !strings.Contains(s.Reason, providerNames[name]) || !strings.HasSuffix(s.Version, ", driver 535.183.01") {
			t.Errorf("%+v", s)
		}
		_, err := Openers()[name](t.Context(), model("NCHW", inference.Float32, inference.Float32))
		enginetest.CheckRefusal(t, err, inference.CodeUnavailable)
	}
}

// TestGPUSuite: the contract, on each provider that works here.
func TestGPUSuite(t *testing.T) {
	library(t)
	for _, s := range Report(t.Context()) {
		t.Run(s.Engine, func(t *testing.T) {
			if s.Engine == CPU {
				t.Skip("that is TestSuite")
			}
			if !s.Usable {
				t.Skip(s)
			}
			enginetest.Run(t, enginetest.Suite{Engine: s.Engine, Open: Openers()[s.Engine],
				Good: []enginetest.Case{{Name: "float32 NCHW", Model: model("NCHW", inference.Float32, inference.Float32)}}})
		})
	}
}

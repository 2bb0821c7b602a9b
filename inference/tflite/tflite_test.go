//go:build cgo && linux

package tflite

import (
	"bytes"
	"context"
	"fmt"
	"image"
	_ "image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "golang.org/x/image/bmp"

	"heron/inference"
	"heron/inference/enginetest"
)

// library finds TensorFlow Lite as the program would, and in bin/lib of the repository; without it the test is skipped.
func library(t testing.TB) {
	t.Helper()
	for _, name := range libraryNames {
		if path, err := filepath.Abs("../../bin/lib/" + name); err == nil && exists(path) && os.Getenv(libraryEnv) == "" {
			t.Setenv(libraryEnv, path)
		}
	}
	if _, err := Version(); err != nil {
		t.Skipf("%v", err)
	}
}

func TestSuite(t *testing.T) {
	library(t)
	var good []enginetest.Case
	for _, kind := range []inference.DType{inference.Float32, inference.Uint8, inference.Int8} {
		s := spec(kind, kind)
		good = append(good, enginetest.Case{Name: string(kind), Model: modelOf("m.tflite", s, classifier(s))})
	}
	u8 := func() *inference.Spec { return spec(inference.Uint8, inference.Uint8) }
	seven, named := u8(), u8()
	seven.Labels, named.Input.Name = append(seven.Labels, "more"), "data"
	enginetest.Run(t, enginetest.Suite{Engine: "tflite", Open: Open, Good: good,
		Refused: []enginetest.Case{
			{Name: "labels", Model: modelOf("m.tflite", seven, classifier(u8())), Code: inference.CodeLabels},
			{Name: "name", Model: modelOf("m.tflite", named, classifier(u8())), Code: inference.CodeContract},
			{Name: "for the Edge TPU", Model: modelOf("m_edgetpu.tflite", u8(), compiled(u8())), Code: inference.CodeFormat},
		}})
}

func TestBroken(t *testing.T) {
	library(t)
	enginetest.Broken(t, "tflite", Open, ".tflite", map[string]string{"truncated.tflite": inference.CodeFormat}, nil)
}

// mobileNets are the two classifiers in the form in which they came.
func mobileNets() []enginetest.Real {
	var out []enginetest.Real
	for _, r := range enginetest.MobileNets() {
		if name, ok := strings.CutSuffix(r.File, "_quant.onnx"); ok {
			r.File = name + "_quant.tflite"
			out = append(out, r)
		}
	}
	return out
}

func TestPictures(t *testing.T) {
	library(t)
	enginetest.Pictures(t, "tflite", Open, mobileNets(), 0.06, func(b []byte) (image.Image, error) {
		m, _, err := image.Decode(bytes.NewReader(b))
		return m, err
	})
}

// real is a model of testdata with the manifest that fits it.
func real(t testing.TB, name string) inference.Model {
	t.Helper()
	dir := os.Getenv("HERON_TESTDATA")
	if dir == "" {
		dir = "../../../shared/testdata"
	}
	b, err := os.ReadFile(filepath.Join(dir, "models", name))
	if err != nil {
		t.Skip(err)
	}
	r := mobileNets()[0]
	return inference.Model{File: name, Bytes: b, Threads: 1, Spec: &inference.Spec{Labels: make([]string, 1001), Input: r.Input, Output: r.Output}}
}

func TestCompiledModelOnTheCPU(t *testing.T) {
	library(t)
	m := real(t, "mobilenet_v1_0.25_128_quant_edgetpu.tflite")
	_, err := Open(t.Context(), m)
	enginetest.CheckRefusal(t, err, inference.CodeFormat)
	if !strings.Contains(fmt.Sprint(err), "edgetpu_compiler") {
		t.Errorf("%v does not name the uncompiled variant", err)
	}
}

// TestContextStopsOrLets: a context that ends during a run neither hangs it nor spoils the next one.
func TestContextStopsOrLets(t *testing.T) {
	library(t)
	e, err := Open(t.Context(), real(t, "mobilenet_v1_0.75_192_quant.tflite"))
	if err != nil {
		m := real(t, "mobilenet_v1_0.25_128_quant.tflite")
		if e, err = Open(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	defer e.Close()
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		if err := e.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("ended with %v", err)
		}
		cancel()
		if err := e.Run(t.Context()); err != nil {
			t.Fatalf("the run after it: %v", err)
		}
	}
}

func TestMissingLibrary(t *testing.T) {
	if os.Getenv("HERON_TFLITE_NONE") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMissingLibrary$")
		cmd.Env = append(os.Environ(), "HERON_TFLITE_NONE=1", libraryEnv+"=/no/such/library.so")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	s := spec(inference.Uint8, inference.Uint8)
	_, err := Open(t.Context(), modelOf("m.tflite", s, classifier(s)))
	enginetest.CheckRefusal(t, err, inference.CodeUnavailable)
	if !strings.Contains(fmt.Sprint(err), "/no/such/library.so, where "+libraryEnv) {
		t.Error(err)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/vision"
)

// A library that kills whoever opens it, or never lets go: the engines of the others are told all the same, and its own say what happened.
func TestALibraryThatKillsCostsItsOwnEnginesOnly(t *testing.T) {
	program := nativeVision(t)
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("needs a C compiler (cc) for a library that aborts")
	}
	dir := t.TempDir()
	deadly := filepath.Join(dir, "deadly.so")
	cmd := exec.Command(cc, "-shared", "-fPIC", "-o", deadly, "-x", "c", "-")
	cmd.Stdin = strings.NewReader("#include <stdlib.h>\n__attribute__((constructor)) static void at_once(void) { abort(); }\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for variable, engine := range map[string]string{"HERON_ONNXRUNTIME_LIB": "onnx", "HERON_TFLITE_LIB": "tflite", "HERON_OPENVINO_LIB": "openvino"} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		list, err := vision.Look(ctx, vision.ClientConfig{Command: []string{program}, Env: []string{variable + "=" + deadly}, BeatTimeout: time.Minute})
		cancel()
		if err != nil {
			t.Errorf("%s: %v", variable, err)
		}
		for _, e := range list {
			switch e.Engine {
			case engine:
				if e.Usable || !strings.Contains(e.Reason, variable) || !strings.Contains(e.Reason, "SIGABRT") || e.NextStep == "" {
					t.Errorf("%s: %+v; want the library's death and the variable", variable, e)
				}
			case "onnx", "tflite", "openvino":
				if strings.Contains(e.Reason, "SIGABRT") {
					t.Errorf("%s: %+v; want its own answer", variable, e)
				}
			}
		}
	}
}

// Without cgo no library is opened: the child's form is what counts here.
func TestLookIsToldInOneArray(t *testing.T) {
	for _, names := range [][]string{nil, {"tflite"}, {"onnx", "openvino"}} {
		var out, errs bytes.Buffer
		var list []vision.EngineReport
		if code := run(append([]string{lookFlag, "10s"}, names...), &out, &errs); code != 0 || json.Unmarshal(out.Bytes(), &list) != nil || len(list) < 2 {
			t.Errorf("%v: %d, %q, %q", names, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := run([]string{lookFlag, "soon"}, &out, &errs); code != 1 || !strings.Contains(errs.String(), "soon") {
		t.Errorf("a bad time: %d, %q", code, errs.String())
	}
	t.Setenv("HERON_VISION_TEST", "1")
	if list, err := lookIn(time.Minute, "tflite"); err != nil || len(list) < 2 || list[0].Engine != "tflite" {
		t.Errorf("in a process of its own: %+v, %v", list, err)
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"heron/inference"
	"heron/inference/onnx"
	"heron/inference/openvino"
	"heron/inference/tflite"
	"heron/vision"
)

// lookFlag is the argument with which this program calls itself to look at engines; what follows are names of families, none: all.
const lookFlag = "--look"

// How long a look may take: first at all engines in one process, then, where that one died or hung, at each family in a process of its own. A driver
// that can be told not to be waited for is reported a little before. Both fit into the 40 s that heron waits.
const (
	lookWithin     = 18 * time.Second
	lookEachWithin = 14 * time.Second
	lookMargin     = 2 * time.Second
)

// family is what comes with one library, and may be lost with it.
type family struct {
	name, library string
	report        func(context.Context) []inference.Status
	engines       []inference.Status // named where nobody could look
}

func families() []family {
	return []family{
		{"onnx", "ONNX Runtime (HERON_ONNXRUNTIME_LIB)", onnx.Report,
			[]inference.Status{{Engine: onnx.CPU, Device: "cpu"}, {Engine: onnx.CUDA, Device: "gpu"}, {Engine: onnx.TensorRT, Device: "gpu"}}},
		{"tflite", "TensorFlow Lite (HERON_TFLITE_LIB)", tflite.Report, []inference.Status{{Engine: "tflite", Device: "cpu"}, {Engine: "edgetpu"}}},
		{"openvino", "OpenVINO (HERON_OPENVINO_LIB, HERON_OPENVINO_2022_LIB)", openvino.New(openvino.Config{}).Report,
			[]inference.Status{{Engine: openvino.CPU, Device: "cpu"}, {Engine: openvino.GPU, Device: "gpu"}, {Engine: openvino.NPU, Device: "npu"}, {Engine: openvino.Myriad, Device: "ncs2"}}},
	}
}

// look answers heron accel list, and the service's own look for the page. A library that is damaged can kill the process that opens it, or keep
// it for ever; then only its own engines are without an answer.
func look() []vision.EngineReport {
	out := []vision.EngineReport{{Engine: "scripted", Device: "none", Present: true, Usable: true, Version: version}}
	all, err := lookIn(lookWithin)
	if err == nil {
		return append(out, all...)
	}
	found := make([]chan []vision.EngineReport, len(families()))
	for i, f := range families() {
		found[i] = make(chan []vision.EngineReport, 1)
		go func() { found[i] <- f.lookAlone() }() // waited for below
	}
	for _, c := range found {
		out = append(out, <-c...)
	}
	return out
}

func (f family) lookAlone() (out []vision.EngineReport) {
	out, err := lookIn(lookEachWithin, f.name)
	if err == nil {
		return out
	}
	why := inference.Unavailable("put a whole library for this machine there (make setup), or set the variable to another", "%s cannot be looked at: %v", f.library, err)
	for _, s := range f.engines {
		out = append(out, engineReport(s.Because(why)))
	}
	return out
}

// lookIn looks in a process of its own; the error says how that one ended.
func lookIn(within time.Duration, names ...string) (out []vision.EngineReport, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program to start it again: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	told, complaint, err := inference.RunChild(ctx, nil, exe, append([]string{lookFlag, (within - lookMargin).String()}, names...)...)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("it did not answer within %v", within)
	case err != nil:
		return nil, fmt.Errorf("it killed the process that opened it (%w: %.200s)", err, complaint)
	}
	if err := json.Unmarshal(told, &out); err != nil {
		return nil, fmt.Errorf("it spoiled the answer: %w", err)
	}
	return out, nil
}

// lookMain is the child: args are its time and the families, none for all.
func lookMain(args []string, out io.Writer) error {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // it may die; its memory is of no interest
	if len(args) == 0 {
		return errors.New("how long may the look take?")
	}
	within, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return json.NewEncoder(out).Encode(lookAt(ctx, args[1:]))
}

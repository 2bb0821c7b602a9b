package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"time"

	"heron/inference"
	"heron/inference/onnx"
	"heron/inference/openvino"
	"heron/inference/scripted"
	"heron/inference/tflite"
	"heron/vision"
)

// lookWithin bounds a look at every engine; a driver that does not answer by then is reported so.
const lookWithin = 20 * time.Second

// openers are all engines that this program can run. Those whose library is missing say so when they are asked for.
func openers(ov *openvino.Runtime) map[string]inference.Opener {
	all := map[string]inference.Opener{"onnx": onnx.Open, "scripted": scripted.Open, "tflite": tflite.Open, "edgetpu": tflite.OpenEdgeTPU}
	maps.Copy(all, ov.Openers())
	return all
}

// report is what the hello says: engines that cost nothing to look at. Looking at all of them opens every runtime (see everyEngine).
func report() []vision.EngineReport {
	onnxCPU := vision.EngineReport{Engine: "onnx", Device: "cpu"}
	v, err := onnx.Version()
	if err == nil {
		onnxCPU.Present, onnxCPU.Usable, onnxCPU.Version = true, true, v
	} else {
		onnxCPU.Reason = err.Error()
		if r := (*inference.Refusal)(nil); errors.As(err, &r) {
			onnxCPU.Reason, onnxCPU.NextStep = r.What, r.NextStep
		}
	}
	return []vision.EngineReport{onnxCPU, {Engine: "scripted", Device: "none", Present: true, Usable: true, Version: version}}
}

// everyEngine looks at each engine and says why it cannot run where it cannot.
func everyEngine(ctx context.Context, ov *openvino.Runtime) []vision.EngineReport {
	out := report()
	const next = "use the engine onnx; a later version of Heron brings this one"
	for _, provider := range []string{"cuda", "tensorrt"} {
		out = append(out, vision.EngineReport{Engine: provider, Device: "gpu", Reason: "this version of Heron runs ONNX Runtime on the CPU only", NextStep: next})
	}
	for _, s := range tflite.Report(ctx) {
		out = append(out, vision.EngineReport{Engine: s.Engine, Device: s.Device, Present: s.Present, Usable: s.Usable, Version: s.Version, Reason: s.Reason, NextStep: s.NextStep})
	}
	for _, d := range ov.Report(ctx) {
		out = append(out, vision.EngineReport{Engine: d.Engine, Device: d.Device, Present: d.Present, Usable: d.Usable, Version: d.Version, Reason: d.Reason, NextStep: d.NextStep})
	}
	return out
}

// printEngines answers --engines: one JSON array.
func printEngines(out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	return json.NewEncoder(out).Encode(everyEngine(ctx, openvino.New(openvino.Config{})))
}

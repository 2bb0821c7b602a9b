package main

import (
	"context"
	"maps"
	"slices"
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
	all := map[string]inference.Opener{"scripted": scripted.Open, "tflite": tflite.Open, "edgetpu": tflite.OpenEdgeTPU}
	maps.Copy(all, onnx.Openers())
	maps.Copy(all, ov.Openers())
	return all
}

// report is what the hello says: engines that cost nothing to look at. Looking at all of them opens every runtime (see everyEngine).
func report() []vision.EngineReport {
	cpu := inference.Status{Engine: "onnx", Device: "cpu"}
	v, err := onnx.Version()
	cpu.Present, cpu.Version = err == nil, v
	return []vision.EngineReport{engineReport(cpu.Because(err)), {Engine: "scripted", Device: "none", Present: true, Usable: true, Version: version}}
}

// everyEngine looks at each engine and says why it cannot run where it cannot.
func everyEngine(ctx context.Context, ov *openvino.Runtime) []vision.EngineReport {
	out := []vision.EngineReport{{Engine: "scripted", Device: "none", Present: true, Usable: true, Version: version}}
	for _, s := range slices.Concat(onnx.Report(ctx), tflite.Report(ctx), ov.Report(ctx)) {
		out = append(out, engineReport(s))
	}
	return out
}

func engineReport(s inference.Status) vision.EngineReport {
	return vision.EngineReport{Engine: s.Engine, Device: s.Device, Present: s.Present, Usable: s.Usable, Version: s.Version, Reason: s.Reason, NextStep: s.NextStep}
}

// look answers heron accel list, and the service's own look for the page.
func look() []vision.EngineReport {
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	return everyEngine(ctx, openvino.New(openvino.Config{}))
}

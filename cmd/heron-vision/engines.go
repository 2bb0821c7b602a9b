package main

import (
	"context"
	"maps"
	"slices"

	"heron/inference"
	"heron/inference/onnx"
	"heron/inference/openvino"
	"heron/inference/scripted"
	"heron/inference/tflite"
	"heron/vision"
)

// openers are all engines that this program can run. Those whose library is missing say so when they are asked for.
func openers(ov *openvino.Runtime) map[string]inference.Opener {
	all := map[string]inference.Opener{"scripted": scripted.Open, "tflite": tflite.Open, "edgetpu": tflite.OpenEdgeTPU}
	maps.Copy(all, onnx.Openers())
	maps.Copy(all, ov.Openers())
	return all
}

// report is what the hello says: what can be known without opening a library. One that is damaged kills the process that opens it, and must not take
// the models of the other engines along; look asks them all.
func report() []vision.EngineReport {
	return []vision.EngineReport{{Engine: "scripted", Device: "none", Present: true, Usable: true, Version: version}}
}

// sayReport is what --version says besides: whether ONNX Runtime can be opened.
func sayReport() []vision.EngineReport {
	cpu := inference.Status{Engine: onnx.CPU, Device: "cpu"}
	v, err := onnx.Version()
	cpu.Present, cpu.Version = err == nil, v
	return append([]vision.EngineReport{engineReport(cpu.Because(err))}, report()...)
}

// lookAt looks at each engine of these families, none for all, and says why it cannot run where it cannot.
func lookAt(ctx context.Context, names []string) (out []vision.EngineReport) {
	for _, f := range families() {
		if len(names) > 0 && !slices.Contains(names, f.name) {
			continue
		}
		for _, s := range f.report(ctx) {
			out = append(out, engineReport(s))
		}
	}
	return out
}

func engineReport(s inference.Status) vision.EngineReport {
	return vision.EngineReport{Engine: s.Engine, Device: s.Device, Present: s.Present, Usable: s.Usable, Version: s.Version, Reason: s.Reason, NextStep: s.NextStep}
}

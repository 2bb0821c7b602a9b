package main

import (
	"errors"
	"log/slog"
	"strings"

	"heron/camera"
	"heron/camera/opencv"
	"heron/camera/replay"
	"heron/inference"
	"heron/inference/onnx"
	"heron/inference/scripted"
	"heron/vision"
)

// drivers are all that this program has. Without OpenCV (build tag opencv) or cgo those that need them say so when they are asked for.
func drivers(log *slog.Logger) vision.Drivers {
	d := vision.Drivers{
		Version:     version,
		Camera:      camera.FirstOf(replay.New(opencv.Decoder()), opencv.Open),
		CameraNames: []string{"replay"},
		Engines:     map[string]inference.Opener{"onnx": onnx.Open, "scripted": scripted.Open},
		Report:      report,
		Picture:     replay.Files{Decode: opencv.Decoder()}.Read,
		Encode:      opencv.Encoder(),
		Log:         log,
	}
	if v := opencv.Version(); v != "" {
		d.CameraNames = append(d.CameraNames, "opencv "+v)
	}
	return d
}

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

func state(e vision.EngineReport) string {
	if e.Usable {
		return strings.TrimSpace("usable " + e.Version)
	}
	return "not usable: " + strings.TrimSuffix(e.Reason+"; "+e.NextStep, "; ")
}

func list(names []string) string { return strings.Join(names, ", ") }

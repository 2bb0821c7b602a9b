package main

import (
	"log/slog"
	"strings"

	"heron/camera/opencv"
	"heron/camera/replay"
	"heron/inference/openvino"
	"heron/vision"
)

// drivers are all that this program has. Without OpenCV (build tag opencv) or cgo those that need them say so when they are asked for.
func drivers(log *slog.Logger) vision.Drivers {
	d := vision.Drivers{
		Version:     version,
		Camera:      cameras(),
		CameraNames: []string{"replay"},
		Engines:     openers(openvino.New(openvino.Config{})),
		Report:      report,
		Look:        look,
		Picture:     replay.Files{Decode: opencv.Decoder()}.Read,
		Encode:      opencv.Encoder(),
		Resize:      opencv.Resizer(),
		Log:         log,
	}
	if v := opencv.Version(); v != "" {
		d.CameraNames = append(d.CameraNames, "opencv "+v)
	}
	return d
}

func state(e vision.EngineReport) string {
	if e.Usable {
		return strings.TrimSpace("usable " + e.Version)
	}
	return "not usable: " + strings.TrimSuffix(e.Reason+"; "+e.NextStep, "; ")
}

func list(names []string) string { return strings.Join(names, ", ") }

package tflite

import (
	"context"

	"heron/inference"
)

// Report asks the library for the CPU and, where Edge TPUs are attached, the pair in a child process: a Status for each of them.
func Report(ctx context.Context) []inference.Status {
	cpu := inference.Status{Engine: "tflite", Device: "cpu"}
	v, err := Version()
	cpu.Present, cpu.Version = err == nil, v
	return append([]inference.Status{cpu.Because(err)}, edge(ctx)...)
}

// edge says the same of each device that is attached: the libraries are theirs together.
func edge(ctx context.Context) (out []inference.Status) {
	all := Devices()
	if err := noDevice(all, ""); err != nil {
		return []inference.Status{inference.Status{Engine: "edgetpu"}.Because(err)}
	}
	a := Probe(ctx, nil, "")
	for _, d := range all {
		out = append(out, inference.Status{Engine: "edgetpu", Device: d.Name, Present: true, Version: a.version()}.Because(a.Err()))
	}
	return out
}

package tflite

import (
	"context"
	"strings"

	"heron/inference"
)

// Report asks the library for the CPU and, where an Edge TPU is attached, the pair in a child process.
func Report(ctx context.Context) []inference.Status {
	cpu := inference.Status{Engine: "tflite", Device: "cpu"}
	v, err := Version()
	cpu.Present, cpu.Version = err == nil, v
	return []inference.Status{cpu.Because(err), edge(ctx)}
}

func edge(ctx context.Context) inference.Status {
	s := inference.Status{Engine: "edgetpu"}
	all := Devices()
	if err := noDevice(all, ""); err != nil {
		return s.Because(err)
	}
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	s.Present, s.Device = true, strings.Join(names, ", ")
	a := Probe(ctx, nil, "")
	s.Version = a.version()
	return s.Because(a.Err())
}

package tflite

import (
	"context"
	"errors"
	"strings"

	"heron/inference"
)

// Status is what can run here, and why not. Usable means that the libraries and the device are there; a model proves the rest.
type Status struct {
	Engine   string // "tflite", "edgetpu"
	Device   string // "cpu"; the devices' names for "edgetpu"
	Present  bool   // the CPU's library; an Edge TPU
	Usable   bool
	Version  string
	Reason   string // why it is not usable
	NextStep string
}

// Report asks the library for the CPU and, where an Edge TPU is attached, the pair in a child process.
func Report(ctx context.Context) []Status {
	cpu := Status{Engine: "tflite", Device: "cpu"}
	v, err := Version()
	if err == nil {
		cpu.Present, cpu.Usable, cpu.Version = true, true, v
	} else {
		cpu.fail(err)
	}
	return []Status{cpu, edge(ctx)}
}

func edge(ctx context.Context) Status {
	s := Status{Engine: "edgetpu"}
	all := Devices()
	if err := noDevice(all, ""); err != nil {
		s.fail(err)
		return s
	}
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	s.Present, s.Device = true, strings.Join(names, ", ")
	a := Probe(ctx, nil, "")
	s.Usable, s.Version = a.OK, a.version()
	if err := a.Err(); err != nil {
		s.fail(err)
	}
	return s
}

func (s *Status) fail(err error) {
	s.Reason = err.Error()
	if r := (*inference.Refusal)(nil); errors.As(err, &r) {
		s.Reason, s.NextStep = r.What, r.NextStep
	}
}

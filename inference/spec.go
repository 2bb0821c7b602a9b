package inference

import (
	"maps"
	"slices"
)

// Spec is what one engine needs to know of a bundle: the manifest with the engine's overrides applied, and the labels read.
type Spec struct {
	Name, Version string
	Digest        string // sha256 of the weights, hex
	Engine        string // the manifest's entry that was chosen
	Device        string // the one device of Engine that is to be used, as ParseChoice has it; empty: any
	Input         Input
	Output        Output
	Labels        []string
	Thresholds    Thresholds
	Budget        Budget
}

// ID names the model in records: name@version#first six digits of the weights' digest.
func (s *Spec) ID() string {
	d := s.Digest
	if len(d) > 6 {
		d = d[:6]
	}
	return s.Name + "@" + s.Version + "#" + d
}

// Channels is 1 for GRAY, else 3.
func (in *Input) Channels() int {
	if in.Color == "GRAY" {
		return 1
	}
	return 3
}

// Shape is the whole shape of the input tensor, batch 1 included.
func (in *Input) Shape() []int {
	if in.Layout == "NCHW" {
		return []int{1, in.Channels(), in.Height, in.Width}
	}
	return []int{1, in.Height, in.Width, in.Channels()}
}

// plain says that mean and std change nothing.
func (in *Input) plain() bool {
	return !slices.ContainsFunc(in.Mean, func(v float64) bool { return v != 0 }) && !slices.ContainsFunc(in.Std, func(v float64) bool { return v != 1 })
}

// Type is the element type of the output: float32 unless the manifest says otherwise.
func (o *Output) Type() DType {
	if o.DType == "" {
		return Float32
	}
	return o.DType
}

// Threshold is the least score with which a label counts.
func (t *Thresholds) Threshold(label string) float64 {
	if v, ok := t.PerLabel[label]; ok {
		return v
	}
	return t.Default
}

// Score is one label with its score, 0…1.
type Score struct {
	Label string  `json:"label"`
	Score float64 `json:"score"`
}

// Unknown is the label of an answer below its threshold.
const Unknown = "unknown"

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

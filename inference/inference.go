// Package inference makes results: it turns a frame into an engine's input tensor, runs the engine and decodes the answer.
//
// Engines live in folders below (onnx, scripted) and know this package, never each other.
package inference

import (
	"context"
	"fmt"
)

// DType is the element type of a tensor.
type DType string

// Element types that Heron feeds and reads.
const (
	Uint8   DType = "uint8"
	Int8    DType = "int8"
	Float32 DType = "float32"
)

// Tensor is a view onto an engine's own memory; exactly one of U8, I8 and F32 is set, as DType says.
// It stays valid until the engine is closed.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // the whole shape, batch included, every dimension ≥ 1
	U8    []uint8
	I8    []int8
	F32   []float32
}

// Engine is one loaded model on one device. One goroutine uses it at a time.
type Engine interface {
	// Input is the one input tensor: written before Run, in place.
	Input() *Tensor
	// Output is the tensor that Spec.Output names: read after Run, in place.
	Output() *Tensor
	// Run infers. When ctx ends, engines that can stop do so and return its error; those that cannot block on,
	// and whoever watches the process replaces it.
	Run(ctx context.Context) error
	Info() Info
	Close() error
}

// Info names what runs.
type Info struct {
	Engine  string `json:"engine"`            // "onnx", "scripted", later "edgetpu", "openvino", …
	Device  string `json:"device,omitempty"`  // "cpu", …
	Version string `json:"version,omitempty"` // of the runtime library
}

// Model is what an engine loads: the very bytes that were checked, never a path to be read again.
type Model struct {
	File    string // base name, for messages
	Bytes   []byte // owned by the caller; an engine that needs them after Open copies or keeps them
	Spec    *Spec  // Input and Output as the engine's entry in the manifest has them
	Threads int    // 0 lets the engine choose
}

// Opener loads a model, checks it against m.Spec (inputs, names, shape, dtype, label count) and returns an engine.
// A model that does not fit is a *Refusal; a missing library wraps ErrUnavailable.
type Opener func(ctx context.Context, m Model) (Engine, error)

// Refusal is the answer to a model that cannot or must not run here.
type Refusal struct {
	Code     string // "contract", "digest", "format", "external-data", "labels", "not-finite", "budget", "unavailable", …
	What     string // one line: what is wrong, and where
	NextStep string // one line: what to do
}

func (r *Refusal) Error() string {
	if r.NextStep == "" {
		return r.What
	}
	return fmt.Sprintf("%s; %s", r.What, r.NextStep)
}

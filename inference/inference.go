// Package inference makes results: it turns a frame into an engine's input tensor, runs the engine and decodes the answer.
//
// Engines live in folders below (onnx, scripted) and know this package, never each other.
package inference

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	Engine  string `json:"engine"`            // "onnx", "cuda", "tensorrt", "tflite", "edgetpu", "openvino", …, "myriad", "scripted"
	Device  string `json:"device,omitempty"`  // "cpu", …
	Version string `json:"version,omitempty"` // of the runtime library
}

// Accelerated says whether the device is something that can be unplugged, overheat or lose its memory.
func (i Info) Accelerated() bool {
	return i.Device != "" && i.Device != "none" && !strings.EqualFold(i.Device, "cpu")
}

// Model is what an engine loads: the very bytes that were checked, never a path to be read again.
type Model struct {
	File    string // base name, for messages
	Bytes   []byte // owned by the caller; an engine that needs them after Open copies or keeps them
	Spec    *Spec  // Input and Output as the engine's entry in the manifest has them
	Threads int    // 0 lets the engine choose
	Spin    bool   // let threads wait busily, where the engine can be told
	Weights []byte // a second file that belongs to Bytes, checked like it (OpenVINO IR: the .bin beside the .xml); nil: none
}

// Opener loads a model, checks it against m.Spec (inputs, names, shape, dtype, label count) and returns an engine.
// A model that does not fit is a *Refusal; a missing library wraps ErrUnavailable.
type Opener func(ctx context.Context, m Model) (Engine, error)

// ErrUnavailable is wrapped by the Refusal of an engine whose library or device is not on this machine.
var ErrUnavailable = errors.New("engine is not available on this machine")

// Refusal is the answer to a bundle, a model or an answer of a model that cannot or must not be used here.
type Refusal struct {
	Code     string // one of the Code… constants
	What     string // one line: what is wrong, and where
	NextStep string // one line: what to do
	Err      error  // the cause, where a caller may branch on it; What already says it in words
}

func (r *Refusal) Error() string {
	if r.NextStep == "" {
		return r.What
	}
	return fmt.Sprintf("%s; %s", r.What, r.NextStep)
}

// Unwrap gives errors.Is and errors.As the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// The codes of a Refusal, for programs: counters, tests, the page.
const (
	CodeBundle           = "bundle"            // the folder cannot be read as a bundle: no folder, no file, too large
	CodeManifest         = "manifest"          // manifest.json is not what the contract says
	CodeLabels           = "labels"            // the label file is empty, not text, or does not have one label per class
	CodeDigest           = "digest"            // a file is not the one that the manifest names
	CodeEngine           = "engine"            // no entry for the engine that is wanted, or no such engine in this build
	CodeUnavailable      = "unavailable"       // the engine's library or device is missing; wraps ErrUnavailable
	CodeFormat           = "format"            // the runtime cannot read or run the file
	CodeContract         = "contract"          // inputs, outputs, names, shapes or types differ from the manifest
	CodeExternalData     = "external-data"     // the model wants to read other files
	CodeBudget           = "budget"            // the model declares more memory than it carries or than is allowed
	CodeNotFinite        = "not-finite"        // an answer holds NaN or infinity
	CodeNotProbabilities = "not-probabilities" // kind is probabilities, and an answer is outside 0…1
	CodeGolden           = "golden"            // a golden picture got another answer
	CodeConstant         = "constant"          // it answers every picture alike
	CodeOverBudget       = "over-budget"       // it takes more time or memory than its manifest allows
	CodeHung             = "hung"              // it did not load or answer in time
	CodeNone             = "none"              // the slot has no model yet
	CodeAvoided          = "avoided"           // it failed here before and is passed over for now
)

// Refuse makes a Refusal whose What is formatted.
func Refuse(code, next, format string, args ...any) *Refusal {
	return &Refusal{Code: code, What: fmt.Sprintf(format, args...), NextStep: next}
}

//go:build cgo

package onnx

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
	"golang.org/x/sys/cpu"

	"heron/inference"
)

// environment guards the wrapper's process-wide state, which is made once and, on the advice of every report about it, never destroyed.
var environment sync.Mutex

// Version opens the library if it is not open yet and tells its version; the error is a *inference.Refusal that wraps ErrUnavailable.
func Version() (string, error) {
	if err := initialise(); err != nil {
		return "", err
	}
	return ort.GetVersion(), nil
}

func initialise() error {
	environment.Lock()
	defer environment.Unlock()
	if ort.IsInitialized() {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		exe = "."
	}
	Mute() // for programs that did not think of it
	tried := libraries(os.Getenv, exe)
	for _, path := range tried {
		ort.SetSharedLibraryPath(path)
		if err = ort.InitializeEnvironment(ort.WithLogLevelFatal()); err == nil {
			return nil
		}
	}
	what := missing(os.Getenv, tried)
	if strings.Contains(err.Error(), "API base") {
		what = fmt.Sprintf("the ONNX Runtime at %s is older than 1.24", tried[len(tried)-1])
	}
	return &inference.Refusal{Code: inference.CodeUnavailable, What: what,
		NextStep: "run make setup, or set " + libraryEnv + " to libonnxruntime.so (1.24 or newer)", Err: fmt.Errorf("%w: %w", inference.ErrUnavailable, err)}
}

// engine is one session with its two tensors. The tensors lie in Go memory, pinned, where the runtime reads and writes them.
type engine struct {
	session  *ort.AdvancedSession
	options  *ort.RunOptions
	provider provider
	values   []ort.Value
	pins     runtime.Pinner
	in, out  *inference.Tensor
	info     inference.Info
}

// Open runs a model on the CPU. It checks the file without a runtime, then makes a session of the very bytes it checked.
// It cannot be stopped: a model may keep ONNX Runtime busy for ever while it loads.
func Open(ctx context.Context, m inference.Model) (inference.Engine, error) {
	return open(ctx, m, providers()[0])
}

func open(ctx context.Context, m inference.Model, p provider) (inference.Engine, error) {
	g, err := inference.ReadONNX(m.Bytes)
	if err != nil {
		return nil, inference.InFile(m.File, err)
	}
	b, err := bind(g, m.Spec)
	if err != nil {
		return nil, inference.InFile(m.File, err)
	}
	if err := p.ready(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e := &engine{provider: p, info: inference.Info{Engine: p.engine, Device: p.device, Version: ort.GetVersion()}}
	if err := e.load(m, b); err != nil {
		return nil, inference.InFile(m.File, joinClose(err, e))
	}
	return e, nil
}

func joinClose(err error, e *engine) error {
	_ = e.Close() // the load error is the one that matters
	return err
}

func (e *engine) load(m inference.Model, b *binding) error {
	var err error
	if e.in, err = e.tensor(b.input, b.inDType, b.inShape); err != nil {
		return fmt.Errorf("make the input tensor: %w", err)
	}
	if e.out, err = e.tensor(b.output, b.outDType, b.outShape); err != nil {
		return fmt.Errorf("make the output tensor: %w", err)
	}
	if e.options, err = ort.NewRunOptions(); err != nil {
		return fmt.Errorf("make run options: %w", err)
	}
	so, err := sessionOptions(&m)
	if err != nil {
		return fmt.Errorf("make session options: %w", err)
	}
	defer so.Destroy()
	if err := e.provider.addTo(so, m.Bytes, m.Spec.Digest); err != nil {
		return err
	}
	e.session, err = ort.NewAdvancedSessionWithONNXData(m.Bytes, []string{b.input}, []string{b.output}, e.values[:1], e.values[1:], so)
	if err != nil {
		return e.provider.explain(e.info.Version, err)
	}
	return nil
}

// sessionOptions: one pool of threads, every optimisation, memory kept between runs.
func sessionOptions(m *inference.Model) (*ort.SessionOptions, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	for _, err := range []error{
		o.SetIntraOpNumThreads(m.ThreadsOr()),
		o.SetInterOpNumThreads(1),
		o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		o.SetCpuMemArena(true),
		o.SetMemPattern(true),
		o.SetLogSeverityLevel(ort.LoggingLevelFatal),                             // every error is returned, and reported once by whoever gets it
		o.AddSessionConfigEntry("session.intra_op.allow_spinning", flag(m.Spin)), // on two cores, spinning made a run cost 14 to 38 ms of CPU instead of 6
		o.AddSessionConfigEntry("session.inter_op.allow_spinning", flag(m.Spin)),
		o.AddSessionConfigEntry("session.disable_quant_qdq", flag(int8Lies(ort.GetVersion(), cpu.X86.HasAMXInt8))),
	} {
		if err != nil {
			o.Destroy()
			return nil, err
		}
	}
	return o, nil
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// int8Lies: on CPUs with AMX, ONNX Runtime 1.24 answers otherwise for quantised models, and not twice the same (0.65, then 0.68, for 0.88);
// 1.25 does not. Without its fused kernels the answers are right, and take two to three times as long.
func int8Lies(version string, amx bool) bool {
	return amx && strings.HasPrefix(version, "1.24.")
}

func (e *engine) tensor(name string, t inference.DType, shape []int) (*inference.Tensor, error) {
	out := &inference.Tensor{Name: name, DType: t, Shape: shape}
	var err error
	switch t {
	case inference.Float32:
		out.F32, err = bound[float32](e, shape)
	case inference.Uint8:
		out.U8, err = bound[uint8](e, shape)
	case inference.Int8:
		out.I8, err = bound[int8](e, shape)
	}
	return out, err
}

// bound makes a slice that the runtime may hold on to until the engine is closed.
func bound[T float32 | uint8 | int8](e *engine, shape []int) ([]T, error) {
	n, dims := 1, make(ort.Shape, len(shape))
	for i, d := range shape {
		n, dims[i] = n*d, int64(d)
	}
	data := make([]T, n)
	e.pins.Pin(&data[0])
	v, err := ort.NewTensor(dims, data)
	if err != nil {
		return nil, err
	}
	e.values = append(e.values, v)
	return data, nil
}

func (e *engine) Input() *inference.Tensor  { return e.in }
func (e *engine) Output() *inference.Tensor { return e.out }
func (e *engine) Info() inference.Info      { return e.info }

// Run infers. When ctx ends, ONNX Runtime stops before the next node; one long node it does not interrupt.
func (e *engine) Run(ctx context.Context) error { return inference.RunNative(ctx, e) }

// Infer, Stop and Rearm are for inference.RunNative.
func (e *engine) Infer() error {
	if err := e.session.RunWithOptions(e.options); err != nil {
		return e.provider.explain(e.info.Version, err)
	}
	return nil
}

// Stop fails only on options that were freed, and Close waits for Run.
func (e *engine) Stop()  { _ = e.options.Terminate() }
func (e *engine) Rearm() { _ = e.options.UnsetTerminate() }

// Close frees session and tensors. The tensors must not be used after it.
func (e *engine) Close() error {
	if e.session != nil {
		_ = e.session.Destroy()
		e.session = nil
	}
	if e.options != nil {
		_ = e.options.Destroy()
		e.options = nil
	}
	for _, v := range e.values {
		_ = v.Destroy()
	}
	e.values = nil
	e.pins.Unpin()
	return nil
}

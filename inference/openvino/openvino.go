// Package openvino runs models with OpenVINO, whose C library is opened at run time: on the CPU, Intel GPUs and NPUs with a current
// release, and on the Neural Compute Stick 2 with 2022.3.1, the last that knows it and which the user brings.
//
// A device is asked for alone, never through AUTO, MULTI or HETERO: those run on the CPU without a word when the device is not there.
// What to do then is the caller's decision. Models are ONNX files, or OpenVINO's own IR (an .xml and its .bin).
package openvino

import (
	"cmp"
	"context"
	"os"
	"sync"

	"heron/inference"
)

// The names of the engines, as manifests and configurations have them.
const (
	CPU    = "openvino"
	GPU    = "openvino-gpu"
	NPU    = "openvino-npu"
	Myriad = "myriad" // Neural Compute Stick 2
)

// Config says where things are; the zero Config is right outside of tests.
type Config struct {
	Getenv     func(string) string // nil: os.Getenv
	Executable string              // libraries are looked for beside it; empty: this program
	Sysfs      string              // empty: HERON_SYSFS, else /sys
	Dev        string              // empty: HERON_DEV, else /dev
}

// Runtime opens OpenVINO's libraries when they are first needed, each once, and never closes them: their threads outlive every model.
// Its methods may be called from any goroutine. A process needs one: a stick serves one opened library only, and one process.
type Runtime struct {
	conf Config
	mu   sync.Mutex
	open map[string]library // by path
}

// New opens nothing yet.
func New(c Config) *Runtime {
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Executable == "" {
		c.Executable, _ = os.Executable() // without it the system's names are left
	}
	c.Sysfs = cmp.Or(c.Sysfs, c.Getenv("HERON_SYSFS"), "/sys")
	c.Dev = cmp.Or(c.Dev, c.Getenv("HERON_DEV"), "/dev")
	return &Runtime{conf: c, open: map[string]library{}}
}

// Openers are the engines by name.
func (r *Runtime) Openers() map[string]inference.Opener {
	out := map[string]inference.Opener{}
	for _, d := range devices() {
		out[d.engine] = func(ctx context.Context, m inference.Model) (inference.Engine, error) { return r.load(ctx, d, m) }
	}
	return out
}

// Open is the engine "openvino": it loads a model on the CPU. OpenVINO's IR are two files: m.Bytes is the .xml, m.Weights the .bin.
// It cannot be stopped: a model may keep OpenVINO busy for ever while it loads.
func (r *Runtime) Open(ctx context.Context, m inference.Model) (inference.Engine, error) {
	return r.load(ctx, devices()[0], m)
}

func (r *Runtime) load(ctx context.Context, d device, m inference.Model) (inference.Engine, error) {
	if err := checkFiles(m, d); err != nil {
		return nil, inference.InFile(m.File, err)
	}
	l, err := r.ready(d)
	if err != nil {
		return nil, unavailable(err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e, err := l.load(ctx, d, m)
	if err == nil {
		return e, nil
	}
	if ref, ok := err.(*inference.Refusal); ok && d.engine == Myriad && busy(ref.What) {
		if who := r.holder(); who != "" {
			ref.What += "; it is held by " + who
		}
	}
	return nil, inference.InFile(m.File, err)
}

// unavailable lets callers branch on a refusal of the device.
func unavailable(err error) error {
	if r, ok := err.(*inference.Refusal); ok && r.Err == nil {
		r.Err = inference.ErrUnavailable
	}
	return err
}

// library is an opened OpenVINO.
type library interface {
	version() string
	devices() ([]string, error)
	property(device, key string) (string, error)
	load(ctx context.Context, d device, m inference.Model) (inference.Engine, error)
}

// library opens the first of the device's libraries that can be opened.
func (r *Runtime) library(d device) (library, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	paths := r.conf.libraries(d)
	var why error
	for _, p := range paths {
		if l := r.open[p]; l != nil {
			return l, nil
		}
		l, err := openLibrary(p)
		if err == nil {
			r.open[p] = l
			return l, nil
		}
		why = err
	}
	return nil, r.conf.missing(d, paths, why)
}

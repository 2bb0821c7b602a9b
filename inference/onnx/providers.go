//go:build cgo

package onnx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"

	ort "github.com/yalue/onnxruntime_go"

	"heron/inference"
)

// Openers are the engines by name.
func Openers() map[string]inference.Opener {
	out := map[string]inference.Opener{}
	for _, p := range providers() {
		out[p.engine] = func(ctx context.Context, m inference.Model) (inference.Engine, error) { return open(ctx, m, p) }
	}
	return out
}

// ready opens the library, after a look at whether there is something for it to run on.
func (p provider) ready() error {
	if p.gpu() {
		if err := hostOf(os.Getenv).reachable(); err != nil {
			return err
		}
	}
	return initialise()
}

// addTo asks for the provider alone. digest is the model's, where the caller knows it.
func (p provider) addTo(o *ort.SessionOptions, model []byte, digest string) error {
	var err error
	switch p.engine {
	case CPU:
		return nil
	case CUDA:
		err = addCUDA(o)
	case TensorRT:
		err = addTensorRT(o, model, digest)
	}
	if r := (*inference.Refusal)(nil); err != nil && !errors.As(err, &r) {
		return p.explain(ort.GetVersion(), err)
	}
	if err != nil {
		return err
	}
	return o.AddSessionConfigEntry("session.disable_cpu_ep_fallback", "1")
}

func addCUDA(o *ort.SessionOptions) error {
	c, err := ort.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer c.Destroy()
	// Update opens the provider's library and says why it could not; the call that adds it does not.
	if err := c.Update(map[string]string{"device_id": "0", "arena_extend_strategy": "kSameAsRequested"}); err != nil {
		return err
	}
	return o.AppendExecutionProviderCUDA(c)
}

func addTensorRT(o *ort.SessionOptions, model []byte, digest string) error {
	t, err := ort.NewTensorRTProviderOptions()
	if err != nil {
		return err
	}
	defer t.Destroy()
	dir, err := compiledFor(model, digest)
	if err != nil {
		return err
	}
	if err := t.Update(map[string]string{"device_id": "0", "trt_engine_cache_enable": "1", "trt_engine_cache_path": dir,
		"trt_timing_cache_enable": "1", "trt_timing_cache_path": dir}); err != nil {
		return err
	}
	return o.AppendExecutionProviderTensorRT(t)
}

// compiledFor is the folder for what TensorRT makes of a model here. Without one each start would take minutes, so there is no going on without.
func compiledFor(model []byte, digest string) (string, error) {
	if digest == "" {
		sum := sha256.Sum256(model)
		digest = hex.EncodeToString(sum[:])
	}
	h := hostOf(os.Getenv)
	c, err := newCache(os.Getenv)
	if err == nil {
		var dir string
		if dir, err = c.folder(key(digest, ort.GetVersion(), h.driver(), h.boards())); err == nil {
			return dir, nil
		}
	}
	return "", inference.Unavailable("set "+cacheEnv+" to a folder that heron-vision may write", "TensorRT has no place for what it compiles: %v", err)
}

// Report looks at every engine: the library, the GPU, its driver, and whether a model of one node runs there. A driver that does not answer
// before ctx ends is reported so, and its call is left behind: the process should be replaced before that device is used.
func Report(ctx context.Context) []inference.Status {
	var out []inference.Status
	for _, p := range providers() {
		s := inference.Status{Engine: p.engine, Device: p.device, Present: !p.gpu() || len(hostOf(os.Getenv).nodes()) > 0}
		answer := make(chan inference.Status, 1)
		go func() { answer <- p.look(s) }() // waited for below as long as anything can wait for a native call
		select {
		case s = <-answer:
		case <-ctx.Done():
			s = s.Because(inference.Unavailable("look into the kernel's log for NVRM and Xid", "%s does not say whether it works: %v", p.name, context.Cause(ctx)))
		}
		out = append(out, s)
	}
	return out
}

// look asks the machine and the library, and then tries.
func (p provider) look(s inference.Status) inference.Status {
	err := initialise()
	if err == nil {
		s.Version = ort.GetVersion()
	}
	if !p.gpu() {
		s.Present = err == nil
		return s.Because(err)
	}
	h := hostOf(os.Getenv)
	if driver := h.driver(); driver != "" && err == nil {
		s.Version += ", driver " + driver
	}
	if gone := h.reachable(); gone != nil {
		return s.Because(alsoWithout(gone, err, p))
	}
	if err == nil {
		err = p.try()
	}
	return s.Because(err)
}

// alsoWithout says of a GPU that cannot be used that the library could not use it either, where that is so.
func alsoWithout(gone, library error, p provider) error {
	if library == nil {
		library = p.built()
	}
	g, r := (*inference.Refusal)(nil), (*inference.Refusal)(nil)
	if errors.As(library, &r) && errors.As(gone, &g) {
		return &inference.Refusal{Code: g.Code, What: g.What + "; besides, " + r.What, NextStep: g.NextStep, Err: g}
	}
	return gone
}

// built says whether the library was built with the provider; whether it can be loaded is another matter.
func (p provider) built() error {
	var err error
	if p.engine == TensorRT {
		var t *ort.TensorRTProviderOptions
		if t, err = ort.NewTensorRTProviderOptions(); err == nil {
			return t.Destroy()
		}
	} else {
		var c *ort.CUDAProviderOptions
		if c, err = ort.NewCUDAProviderOptions(); err == nil {
			return c.Destroy()
		}
	}
	return p.explain(ort.GetVersion(), err)
}

// oneNode is a model that TensorRT, too, compiles in no time: y = Relu(x), one float32.
const oneNode = "\b\aB\x04\n\x00\x10\r:F\n\f\n\x01x\x12\x01y\"\x04ReluZ\x1b\n\x01x\x12\x16\n\x14\b\x01\x12\x10\n\x02\b\x01\n\x02\b\x01\n\x02\b\x01\n\x02\b\x01b\x13\n\x01y\x12\x0e\n\f\b\x01\x12\b\n\x02\b\x01\n\x02\b\x01\x12\x04test"

// try runs a model of one node.
func (p provider) try() error {
	s := &inference.Spec{Labels: []string{"y"}, Input: inference.Input{Width: 1, Height: 1, Layout: "NCHW", DType: inference.Float32, Color: "GRAY"}, Output: inference.Output{Kind: "logits"}}
	e, err := open(context.Background(), inference.Model{File: "a model of one node", Bytes: []byte(oneNode), Spec: s, Threads: 1}, p)
	if err != nil {
		return err
	}
	defer e.Close()
	e.Input().F32[0] = 7
	if err := e.Run(context.Background()); err != nil {
		return err
	}
	if e.Output().F32[0] != 7 {
		return inference.Unavailable("look into the kernel's log for NVRM and Xid", "%s computes wrongly: %v instead of 7", p.name, e.Output().F32[0])
	}
	return nil
}

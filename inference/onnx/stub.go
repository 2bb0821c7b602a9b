//go:build !cgo

package onnx

import (
	"context"
	"os"

	"heron/inference"
)

// Open refuses: this build has no C compiler's help, and ONNX Runtime is a C library.
func Open(context.Context, inference.Model) (inference.Engine, error) {
	return nil, inference.Unavailable("build it with a C compiler: make build", "this heron-vision was built without cgo, so it cannot use ONNX Runtime")
}

// Openers are the engines by name; all refuse.
func Openers() map[string]inference.Opener {
	out := map[string]inference.Opener{}
	for _, p := range providers() {
		out[p.engine] = Open
	}
	return out
}

// Version is empty: there is no library.
func Version() (string, error) {
	_, err := Open(context.Background(), inference.Model{})
	return "", err
}

// Report says so of each engine.
func Report(ctx context.Context) []inference.Status {
	var out []inference.Status
	for _, p := range providers() {
		_, err := Open(ctx, inference.Model{})
		out = append(out, inference.Status{Engine: p.engine, Device: p.device, Present: p.gpu() && len(hostOf(os.Getenv).nodes()) > 0}.Because(err))
	}
	return out
}

//go:build !cgo

package onnx

import (
	"context"

	"heron/inference"
)

// Open refuses: this build has no C compiler's help, and ONNX Runtime is a C library.
func Open(context.Context, inference.Model) (inference.Engine, error) {
	return nil, &inference.Refusal{Code: inference.CodeUnavailable, What: "this heron-vision was built without cgo, so it cannot use ONNX Runtime",
		NextStep: "build it with a C compiler: make build", Err: inference.ErrUnavailable}
}

// Version is empty: there is no library.
func Version() (string, error) {
	_, err := Open(context.Background(), inference.Model{})
	return "", err
}

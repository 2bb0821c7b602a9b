//go:build !cgo || !linux

package tflite

import (
	"context"

	"heron/inference"
)

// Open refuses: this build has no C compiler's help, and TensorFlow Lite is a C library.
func Open(context.Context, inference.Model) (inference.Engine, error) {
	return nil, unavailable("build it with a C compiler: make build", "this heron-vision was built without cgo, so it cannot use TensorFlow Lite")
}

// OpenEdgeTPU refuses likewise.
func OpenEdgeTPU(ctx context.Context, m inference.Model) (inference.Engine, error) {
	return Open(ctx, m)
}

// Version is empty: there is no library.
func Version() (string, error) {
	_, err := Open(context.Background(), inference.Model{})
	return "", err
}

func try([]byte, string) Answer {
	_, err := Version()
	return refusal(err)
}

func spawn(context.Context, []byte, string) (Answer, bool) { return try(nil, ""), false }

//go:build !cgo || !linux

package openvino

import "errors"

// openLibrary refuses: OpenVINO is a C library.
func openLibrary(string) (library, error) { return nil, errors.New(builtWithout) }

//go:build cgo && linux

package openvino

/*
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"heron/inference"
)

// native is an opened library with its one core.
type native struct {
	l     *C.hov_lib
	build string
	types map[C.int]string // the words for this version's numbers
}

func openLibrary(path string) (library, error) {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	var why [C.HOV_TEXT]C.char
	l := C.hov_open(p, &why[0])
	if l == nil {
		return nil, errors.New(C.GoString(&why[0]))
	}
	n := &native{l: l, build: C.GoString(C.hov_version(l))}
	return n, n.learnTypes()
}

// learnTypes asks for the numbers of the element types, which move from release to release, by a model that has an input of each.
func (n *native) learnTypes() error {
	m, err := n.read([]byte(typesIR()), nil)
	if err != nil {
		return fmt.Errorf("OpenVINO reads no .xml; is libopenvino_ir_frontend beside it? %w", err)
	}
	defer C.hov_free(m)
	n.types = map[C.int]string{}
	for i := range typeWords() {
		var p C.hov_port
		if C.hov_port_at(m, 0, C.size_t(i), &p) != 0 {
			return errors.New(C.GoString(C.hov_error(m)))
		}
		for _, w := range typeWords() {
			if w.ir == C.GoString(&p.name[0]) {
				n.types[p._type] = w.heron
			}
		}
	}
	if len(n.types) != len(typeWords()) {
		return fmt.Errorf("OpenVINO %s tells %d element types apart instead of %d", n.version(), len(n.types), len(typeWords()))
	}
	return nil
}

// version is "2026.4.1" of "2026.4.1-22982-…".
func (n *native) version() string {
	v, _, _ := strings.Cut(n.build, "-")
	return v
}

func (n *native) devices() ([]string, error) {
	var out, why [C.HOV_TEXT]C.char
	if C.hov_devices(n.l, &out[0], C.HOV_TEXT, &why[0]) != 0 {
		return nil, errors.New(C.GoString(&why[0]))
	}
	return strings.Fields(C.GoString(&out[0])), nil
}

func (n *native) property(device, key string) (string, error) {
	d, k := C.CString(device), C.CString(key)
	defer C.free(unsafe.Pointer(d))
	defer C.free(unsafe.Pointer(k))
	var out [4 * C.HOV_TEXT]C.char
	var why [C.HOV_TEXT]C.char
	if C.hov_property(n.l, d, k, &out[0], C.size_t(len(out)), &why[0]) != 0 {
		return "", errors.New(C.GoString(&why[0]))
	}
	return C.GoString(&out[0]), nil
}

// read gives OpenVINO the very bytes that were checked: it opens them as files, but they are memory that nobody can change any more.
func (n *native) read(model, weights []byte) (*C.hov_model, error) {
	m, err := seal(model)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	p := C.CString(m.Name())
	defer C.free(unsafe.Pointer(p))
	var w *C.char
	if len(weights) > 0 {
		f, err := seal(weights)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		w = C.CString(f.Name())
		defer C.free(unsafe.Pointer(w))
	}
	var why [C.HOV_TEXT]C.char
	h := C.hov_read(n.l, p, w, &why[0])
	if h == nil {
		return nil, errors.New(C.GoString(&why[0]))
	}
	return h, nil
}

func (n *native) load(ctx context.Context, d device, m inference.Model) (inference.Engine, error) {
	e := &engine{device: d, info: inference.Info{Engine: d.engine, Device: d.info, Version: n.version()}}
	var err error
	if e.m, err = n.read(m.Bytes, m.Weights); err != nil {
		return nil, explain(d, n.version(), err.Error())
	}
	for _, step := range []func() error{
		func() error { return e.bind(n, m.Spec) },
		ctx.Err,
		func() error { return e.compile(n, m.ThreadsOr()) },
		e.tensors,
	} {
		if err := step(); err != nil {
			_ = e.Close() // never fails
			return nil, err
		}
	}
	return e, nil
}

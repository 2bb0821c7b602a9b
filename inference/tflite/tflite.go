//go:build cgo && linux

package tflite

/*
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"heron/inference"
)

// room is how many bytes a library's words may take.
const room = 1024

// native holds the libraries that are open: once opened they stay, since unloading them is not safe while their threads live.
var native libraries

type libraries struct {
	mu     sync.Mutex
	lite   *C.heron_lib
	plugin *C.heron_plugin
	taken  map[string]int // Device.Name → how many models of this process run there
}

// open opens TensorFlow Lite if it is not open yet.
func (l *libraries) open() (*C.heron_lib, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tried := candidates(libraryEnv, libraryNames)
	why := ""
	for i := 0; i < len(tried) && l.lite == nil; i++ {
		withPath(tried[i], func(path, err *C.char) { l.lite = C.heron_open(path, err, room) }, &why)
	}
	if l.lite == nil {
		return nil, unavailable(libraryNext, missing("TensorFlow Lite's C library", libraryEnv, tried, why))
	}
	return l.lite, nil
}

// openPlugin opens libedgetpu if it is not open yet.
func (l *libraries) openPlugin() (*C.heron_plugin, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tried := candidates(pluginEnv, pluginNames)
	why := ""
	for i := 0; i < len(tried) && l.plugin == nil; i++ {
		withPath(tried[i], func(path, err *C.char) { l.plugin = C.heron_open_plugin(path, err, room) }, &why)
	}
	if l.plugin == nil {
		return nil, unavailable(pluginNext, missing("libedgetpu", pluginEnv, tried, why))
	}
	return l.plugin, nil
}

// take counts a model on a device; n is −1 when it leaves.
func (l *libraries) take(device string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken == nil {
		l.taken = map[string]int{}
	}
	l.taken[device] += n
}

// freeFirst sorts devices by how many models of this process they have.
func (l *libraries) freeFirst(ds []Device) []Device {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedStableFunc(slices.Values(ds), func(a, b Device) int { return cmp.Compare(l.taken[a.Name], l.taken[b.Name]) })
}

// withPath calls f with a C string and room for words; the first words are kept.
func withPath(path string, f func(path, words *C.char), words *string) {
	c, buf := C.CString(path), (*C.char)(C.calloc(1, room))
	defer C.free(unsafe.Pointer(c))
	defer C.free(unsafe.Pointer(buf))
	f(c, buf)
	if *words == "" {
		*words = C.GoString(buf)
	}
}

// Version opens the library if it is not open yet and tells its version; the error is a *inference.Refusal that wraps ErrUnavailable.
func Version() (string, error) {
	lib, err := native.open()
	if err != nil {
		return "", err
	}
	return C.GoString(C.heron_version(lib)), nil
}

// engine is one interpreter with its two tensors, which lie in the library's memory.
type engine struct {
	session *C.heron_session
	in, out *inference.Tensor
	info    inference.Info
	device  string // an Edge TPU's name; empty on the CPU
}

// Open checks the file without a runtime, then makes an interpreter of a copy of the very bytes it checked, on the CPU.
func Open(ctx context.Context, m inference.Model) (inference.Engine, error) {
	g, err := inference.ReadTFLite(m.Bytes)
	if err == nil && g.Compiled() {
		err = inference.Refuse(inference.CodeFormat, `put the model as it was before edgetpu_compiler (the file without "_edgetpu") into the bundle and name it for "tflite"`,
			"the model is compiled for the Edge TPU and runs on nothing else")
	}
	if err != nil {
		return nil, inference.InFile(m.File, err)
	}
	lib, err := native.open()
	if err != nil {
		return nil, err
	}
	e := &engine{info: inference.Info{Engine: "tflite", Device: "cpu", Version: C.GoString(C.heron_version(lib))}}
	return e.finish(ctx, m, g, func() error { return e.loadCPU(lib, m) })
}

// finish is the common end of opening: contract, load, tensors.
func (e *engine) finish(ctx context.Context, m inference.Model, g *inference.TFLite, load func() error) (inference.Engine, error) {
	output, err := bind(g, m.Spec)
	if err != nil {
		return nil, inference.InFile(m.File, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := load(); err != nil {
		return nil, inference.InFile(m.File, err)
	}
	if err := e.tensors(g, output); err != nil {
		_ = e.Close() // never fails
		return nil, inference.InFile(m.File, err)
	}
	return e, nil
}

func (e *engine) loadCPU(lib *C.heron_lib, m inference.Model) error {
	if _, why := e.load(lib, m, nil, ""); e.session == nil {
		return explain(e.info.Version, why)
	}
	if C.heron_accelerated(e.session) == 0 {
		e.info.Version += " without XNNPACK"
	}
	return nil
}

// load makes the session, or leaves it nil and tells why; none: libedgetpu gave no device.
func (e *engine) load(lib *C.heron_lib, m inference.Model, plugin *C.heron_plugin, device string) (none bool, why string) {
	threads := m.ThreadsOr()
	var busy C.int
	withPath(device, func(device, words *C.char) {
		e.session = C.heron_load(lib, unsafe.Pointer(unsafe.SliceData(m.Bytes)), C.size_t(len(m.Bytes)), C.int(threads), plugin, device, &busy, words, room)
	}, &why)
	return busy != 0, why
}

// tensors compares what the runtime made of the file with what Heron read in it, and makes the views.
func (e *engine) tensors(g *inference.TFLite, output int) error {
	if C.heron_inputs(e.session) != 1 || int(C.heron_outputs(e.session)) != len(g.Outputs) || C.heron_bind(e.session, C.int(output)) == 0 {
		return inference.Refuse(inference.CodeContract, "export the model with fixed shapes", "TensorFlow Lite sees other inputs or outputs than the file names, or gives them no memory")
	}
	var inBytes, outBytes C.size_t
	in, out := C.heron_input_data(e.session, &inBytes), C.heron_output_data(e.session, &outBytes)
	var err error
	if e.in, err = view(&g.Inputs[0], in, int(inBytes)); err != nil {
		return err
	}
	e.out, err = view(&g.Outputs[output], out, int(outBytes))
	return err
}

// view makes a tensor of the library's memory.
func view(t *inference.TFLiteTensor, at unsafe.Pointer, size int) (*inference.Tensor, error) {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	if uint64(size) != uint64(n)*t.ElementSize() {
		return nil, inference.Refuse(inference.CodeContract, "export the model with fixed shapes", "tensor %s has %d bytes; its shape in the file is %v", inference.Quote(t.Name), size, t.Shape)
	}
	out := &inference.Tensor{Name: t.Name, DType: inference.DType(t.Type()), Shape: t.Shape}
	switch out.DType {
	case inference.Uint8:
		out.U8 = unsafe.Slice((*uint8)(at), n)
	case inference.Int8:
		out.I8 = unsafe.Slice((*int8)(at), n)
	default:
		out.F32 = unsafe.Slice((*float32)(at), n)
	}
	if out.Name == "" {
		out.Name = "unnamed"
	}
	return out, nil
}

func (e *engine) Input() *inference.Tensor  { return e.in }
func (e *engine) Output() *inference.Tensor { return e.out }
func (e *engine) Info() inference.Info      { return e.info }

// Run infers. When ctx ends, TensorFlow Lite stops before its next operator; XNNPACK and an Edge TPU are one operator for most of a model.
func (e *engine) Run(ctx context.Context) error { return inference.RunNative(ctx, e) }

// Infer, Stop and Rearm are for inference.RunNative.
func (e *engine) Infer() error {
	switch status := C.heron_invoke(e.session); status {
	case 0:
		return nil
	case C.heron_moved:
		return errors.New("TensorFlow Lite moved the model's tensors; export it with fixed shapes")
	default:
		return fmt.Errorf("%s: status %d: %s", e.info.Engine, int(status), plain(C.GoString(C.heron_words(e.session))))
	}
}

func (e *engine) Stop()  { C.heron_cancel(e.session) }
func (e *engine) Rearm() {} // each call begins anew

// Close frees interpreter and delegate. The tensors must not be used after it.
func (e *engine) Close() error {
	if e.session != nil {
		C.heron_free(e.session)
		e.session = nil
		if e.device != "" {
			native.take(e.device, -1)
		}
	}
	return nil
}

//go:build cgo && linux

package openvino

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"unsafe"

	"heron/inference"
)

// engine is one compiled model with its one request, whose tensors the caller fills and reads in place.
type engine struct {
	m       *C.hov_model
	device  device
	info    inference.Info
	ports   [2]inference.Port // the input, the output
	shapes  [2][]int          // … and their shapes
	index   C.size_t
	in, out *inference.Tensor
}

// bind checks the model against the manifest and fixes an open batch.
func (e *engine) bind(n *native, s *inference.Spec) error {
	ins, outs, err := e.allPorts(n)
	if err != nil {
		return err
	}
	open, err := inference.FitInput(s, ins)
	if err != nil {
		return err
	}
	e.ports[0] = ins[0]
	if open {
		if outs, err = e.reshape(n, s); err != nil {
			return err
		}
	}
	i, err := e.pick(s, outs)
	if err != nil {
		return err
	}
	if err := outs[i].Fixed(); err != nil { // OpenVINO would hand out a tensor without memory
		return err
	}
	if e.shapes[1], err = inference.FitOutput(s, &outs[i]); err != nil {
		return err
	}
	e.shapes[0] = s.Input.Shape()
	e.ports[1], e.index = outs[i], C.size_t(i)
	e.ports[1].Name = cmp.Or(s.Output.Name, e.ports[1].Name)
	return nil
}

// pick is the manifest's output. Its name is looked up by OpenVINO, for a tensor may have several.
func (e *engine) pick(s *inference.Spec, outs []inference.Port) (int, error) {
	if s.Output.Name == "" || len(outs) == 0 {
		return inference.PickOutput(s, outs)
	}
	if i := e.outputNamed(s.Output.Name); i >= 0 && i < len(outs) {
		return i, nil
	}
	return 0, inference.NoOutput(s, outs)
}

// outputNamed is the index of an output, or −1.
func (e *engine) outputNamed(name string) int {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	var i C.size_t
	if C.hov_output_named(e.m, c, &i) != 0 {
		return -1
	}
	return int(i)
}

func (e *engine) allPorts(n *native) (ins, outs []inference.Port, err error) {
	var ni, no C.size_t
	if C.hov_ports(e.m, &ni, &no) != 0 {
		return nil, nil, e.refusal()
	}
	for i := range ni {
		p, err := e.port(n, 0, i)
		if err != nil {
			return nil, nil, err
		}
		ins = append(ins, p)
	}
	for i := range no {
		p, err := e.port(n, 1, i)
		if err != nil {
			return nil, nil, err
		}
		outs = append(outs, p)
	}
	return ins, outs, nil
}

func (e *engine) port(n *native, output C.int, i C.size_t) (inference.Port, error) {
	var c C.hov_port
	if C.hov_port_at(e.m, output, i, &c) != 0 {
		return inference.Port{}, e.refusal()
	}
	p := inference.Port{Name: C.GoString(&c.name[0]), DType: cmp.Or(n.types[c._type], "of another type"), Free: c.rank < 0}
	for _, d := range c.dims[:max(0, c.rank)] {
		p.Dims = append(p.Dims, int64(d))
	}
	return p, nil
}

// reshape fixes the input as the manifest has it, and looks at the outputs again.
func (e *engine) reshape(n *native, s *inference.Spec) ([]inference.Port, error) {
	var dims []C.int64_t
	for _, d := range s.Input.Shape() {
		dims = append(dims, C.int64_t(d))
	}
	if C.hov_reshape(e.m, C.int(len(dims)), &dims[0]) != 0 {
		return nil, e.refusal()
	}
	ins, outs, err := e.allPorts(n)
	if err != nil {
		return nil, err
	}
	e.ports[0] = ins[0]
	return outs, nil
}

// compile builds the model for the device, with those of its properties that this release knows.
func (e *engine) compile(n *native, threads int) error {
	var words []*C.char
	if wanted := e.device.properties(threads); len(wanted) > 0 {
		list, err := n.property(e.device.name, "SUPPORTED_PROPERTIES")
		if err != nil {
			return explain(e.device, n.version(), err.Error())
		}
		known := strings.Fields(list)
		for _, p := range wanted {
			if slices.Contains(known, p[0]) {
				words = append(words, C.CString(p[0]), C.CString(p[1]))
			}
		}
	}
	name := C.CString(e.device.name)
	defer C.free(unsafe.Pointer(name))
	for _, w := range words {
		defer C.free(unsafe.Pointer(w))
	}
	if C.hov_compile(e.m, name, C.size_t(len(words)/2), unsafe.SliceData(words)) != 0 {
		return e.refusal()
	}
	return nil
}

func (e *engine) tensors() (err error) {
	if e.in, err = e.tensor(0, 0, &e.ports[0], e.shapes[0], "input"); err != nil {
		return err
	}
	e.out, err = e.tensor(1, e.index, &e.ports[1], e.shapes[1], "output")
	return err
}

// tensor is a view onto the request's own memory; its size must be what shape and type say.
func (e *engine) tensor(output C.int, index C.size_t, p *inference.Port, shape []int, unnamed string) (*inference.Tensor, error) {
	var data unsafe.Pointer
	var size C.size_t
	if C.hov_tensor(e.m, output, index, &data, &size) != 0 {
		return nil, e.refusal()
	}
	t := &inference.Tensor{Name: cmp.Or(p.Name, unnamed), DType: inference.DType(p.DType), Shape: shape}
	n, width := 1, 1
	for _, d := range t.Shape {
		n *= d
	}
	if t.DType == inference.Float32 {
		width = 4
	}
	if data == nil || int(size) != n*width {
		return nil, inference.Refuse(inference.CodeContract, "report this model", "%s %s has %d bytes for %d values of %s", unnamed, inference.Quote(t.Name), size, n, t.DType)
	}
	switch t.DType {
	case inference.Float32:
		t.F32 = unsafe.Slice((*float32)(data), n)
	case inference.Uint8:
		t.U8 = unsafe.Slice((*uint8)(data), n)
	case inference.Int8:
		t.I8 = unsafe.Slice((*int8)(data), n)
	}
	return t, nil
}

func (e *engine) refusal() *inference.Refusal {
	return explain(e.device, e.info.Version, C.GoString(C.hov_error(e.m)))
}

func (e *engine) Input() *inference.Tensor  { return e.in }
func (e *engine) Output() *inference.Tensor { return e.out }
func (e *engine) Info() inference.Info      { return e.info }

// Run infers. When ctx ends, OpenVINO stops before the next node; one long node, or a loop inside the model, it does not interrupt.
func (e *engine) Run(ctx context.Context) error { return inference.RunNative(ctx, e) }

// Infer, Stop and Rearm are for inference.RunNative.
func (e *engine) Infer() error {
	if e.m == nil {
		return errors.New("the engine is closed")
	}
	if C.hov_infer(e.m) == 0 {
		return nil
	}
	r := e.refusal()
	if e.device.engine != CPU && r.Err == nil { // an accelerator that fails is lost until it has proved itself again
		r.Code, r.Err, r.NextStep = inference.CodeUnavailable, inference.ErrUnavailable, e.device.mend(r.What)
	}
	return r
}

func (e *engine) Stop()  { C.hov_cancel(e.m) }
func (e *engine) Rearm() { C.hov_rearm(e.m) }

// Close frees model and tensors. The tensors must not be used after it.
func (e *engine) Close() error {
	if e.m != nil {
		C.hov_free(e.m)
		e.m, e.in, e.out = nil, nil, nil
	}
	return nil
}

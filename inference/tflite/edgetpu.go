//go:build cgo && linux

package tflite

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"heron/inference"
)

// OpenEdgeTPU opens a compiled model on the Edge TPU that m.Spec.Device names (a Device's Name), or on any that is free.
func OpenEdgeTPU(ctx context.Context, m inference.Model) (inference.Engine, error) {
	g, err := inference.ReadTFLite(m.Bytes)
	if err == nil && !g.Compiled() {
		err = inference.Refuse(inference.CodeFormat, "compile it with edgetpu_compiler and put the file it writes into the bundle",
			"the model is not compiled for the Edge TPU and would run on the CPU")
	}
	if err != nil {
		return nil, inference.InFile(m.File, err)
	}
	e := &engine{}
	return e.finish(ctx, m, g, func() error { return e.loadFree(ctx, m) })
}

// loadFree tries the devices that may be meant, one after the other. Each is asked for by name: libedgetpu, asked for any, would share the one
// that another model of this process has, and leave the others idle.
func (e *engine) loadFree(ctx context.Context, m inference.Model) error {
	all := Devices()
	if err := noDevice(all, m.Spec.Device); err != nil {
		return err
	}
	var whats []string
	var next string
	for _, d := range native.freeFirst(find(all, m.Spec.Device)) {
		err := e.loadTried(ctx, m, d.Name)
		r := (*inference.Refusal)(nil)
		if err == nil || ctx.Err() != nil || len(all) == 1 || m.Spec.Device != "" || !errors.As(err, &r) || r.Code != inference.CodeUnavailable {
			return err
		}
		whats, next = append(whats, d.Name+": "+r.What), r.NextStep
	}
	return unavailable(next, fmt.Sprintf("none of %d Edge TPUs can be had: %s", len(whats), strings.Join(whats, "; ")))
}

// loadTried loads what a child process has tried.
func (e *engine) loadTried(ctx context.Context, m inference.Model, device string) error {
	if err := Probe(ctx, m.Bytes, device).Err(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	if err := e.loadEdge(m, device); err != nil {
		return err
	}
	e.device = device
	native.take(device, 1)
	return nil
}

// loadEdge loads into this process, or the child of a trial.
func (e *engine) loadEdge(m inference.Model, device string) error {
	lib, err := native.open()
	if err != nil {
		return err
	}
	plugin, err := native.openPlugin()
	if err != nil {
		return err
	}
	e.info = inference.Info{Engine: "edgetpu", Device: cmp.Or(device, "any"), Version: pair(lib, plugin).version()}
	seen := pluginDevices(plugin)
	name, ok := option(device, seen)
	if !ok && (seen != "" || len(Devices()) > 1) { // one that cannot list them is asked for any, where there is one
		return unavailable("plug it in again", "libedgetpu does not see "+device+" among: "+strings.Join(strings.Fields(seen), ", "))
	}
	switch none, why := e.load(lib, m, plugin, name); {
	case none:
		return notHad(device, why)
	case e.session == nil:
		return explain(e.info.Version, why)
	}
	return nil
}

// notHad is the refusal where libedgetpu gives no device; it rarely says why.
func notHad(device, words string) error {
	what, next := whyNot("/proc", find(Devices(), device))
	if words != "" {
		what += "; libedgetpu says: " + words
	}
	return unavailable(next, "the Edge TPU cannot be opened: "+what)
}

func pluginDevices(p *C.heron_plugin) string {
	const room = 1 << 14
	buf := (*C.char)(C.calloc(1, room))
	defer C.free(unsafe.Pointer(buf))
	C.heron_devices(p, buf, room)
	return C.GoString(buf)
}

// try is the child's part: load, infer once on zeros.
func try(bytes []byte, device string) Answer {
	e := &engine{}
	if len(bytes) == 0 {
		return tryLibraries()
	}
	g, err := inference.ReadTFLite(bytes)
	if err != nil {
		return refusal(err)
	}
	if err := e.loadEdge(inference.Model{Bytes: bytes}, device); err != nil {
		return refusal(err)
	}
	defer e.Close()
	if err := e.tensors(g, 0); err != nil {
		return refusal(err)
	}
	if err := e.Run(context.Background()); err != nil {
		if strings.Contains(err.Error(), "unresolved custom op") { // libedgetpu took the operator, and TensorFlow Lite does not know that it did
			return refusal(unavailable(pluginNext, "libedgetpu and TensorFlow Lite do not work together here: "+err.Error()))
		}
		return refusal(unavailable("plug the Edge TPU in again", "the Edge TPU failed in a trial: "+err.Error()))
	}
	return tryLibraries()
}

func tryLibraries() Answer {
	lib, err := native.open()
	if err != nil {
		return refusal(err)
	}
	plugin, err := native.openPlugin()
	if err != nil {
		return refusal(err)
	}
	return pair(lib, plugin)
}

func pair(lib *C.heron_lib, plugin *C.heron_plugin) Answer {
	return Answer{OK: true, TFLite: C.GoString(C.heron_version(lib)), EdgeTPU: plain(C.GoString(C.heron_plugin_version(plugin)))}
}

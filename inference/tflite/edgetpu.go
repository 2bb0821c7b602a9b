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
	"strings"
	"unsafe"

	"heron/inference"
)

// OpenEdgeTPU opens a compiled model on any Edge TPU that is free.
func OpenEdgeTPU(ctx context.Context, m inference.Model) (inference.Engine, error) {
	return openEdgeTPU(ctx, m, "")
}

// EdgeTPU opens compiled models on one Edge TPU, by a Device's Name.
func EdgeTPU(device string) inference.Opener {
	return func(ctx context.Context, m inference.Model) (inference.Engine, error) {
		return openEdgeTPU(ctx, m, device)
	}
}

func openEdgeTPU(ctx context.Context, m inference.Model, device string) (inference.Engine, error) {
	g, err := inference.ReadTFLite(m.Bytes)
	if err == nil && !g.Compiled() {
		err = inference.Refuse(inference.CodeFormat, "compile it with edgetpu_compiler and put the file it writes into the bundle",
			"the model is not compiled for the Edge TPU and would run on the CPU")
	}
	if err != nil {
		return nil, inference.InFile(m.File, err)
	}
	e := &engine{}
	return e.finish(ctx, m, g, func() error {
		if err := noDevice(Devices(), device); err != nil {
			return err
		}
		if err := Probe(ctx, m.Bytes, device).Err(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		return e.loadEdge(m, device)
	})
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
	name, ok := option(device, pluginDevices(plugin))
	if !ok {
		return unavailable("plug it in again", "libedgetpu does not see "+device)
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

// Command heron-vision holds the cameras and the native runtimes for heron: one process a connection, which it inherits.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"heron/inference/onnx"
	"heron/inference/tflite"
	_ "heron/internal/malloc" // one arena
	"heron/vision"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "0.0.0-dev"

const usage = `heron-vision holds the cameras and model runtimes for heron, in a process that may crash.

heron starts it (or systemd does, heron-vision.socket) with a connection; there is nothing to run by hand.
  --version   say which version, cameras and engines this is
  --cameras   say in JSON which cameras are attached (heron camera list)
  --help      say this
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 when the connection has ended, 1 failed, 2 usage. It may leave goroutines in native calls: exit at once.
func run(args []string, out, errs io.Writer) int {
	onnx.Mute()
	if len(args) > 0 && args[0] == tflite.ProbeFlag { // our own child: a library pair that does not fit ends the process
		return tflite.ProbeMain(args[1:])
	}
	if len(args) > 0 && args[0] == lookFlag { // the same for any library
		if err := lookMain(args[1:], out); err != nil {
			fmt.Fprintf(errs, "heron-vision: %v\n", err)
			return 1
		}
		return 0
	}
	if len(args) > 0 {
		return say(args, out, errs)
	}
	conn, err := inherited()
	if err != nil {
		fmt.Fprintf(errs, "heron-vision: %v\n", err)
		return 2
	}
	// Hardly anything is allocated per frame, so more frequent collections cost nothing worth measuring and halve the heap's slack.
	debug.SetGCPercent(50)
	if err := vision.Serve(context.Background(), conn, drivers(newLog(errs))); err != nil {
		fmt.Fprintf(errs, "<3>heron-vision: %v\n", err)
		return 1
	}
	return 0
}

func say(args []string, out, errs io.Writer) int {
	switch {
	case len(args) == 1 && (args[0] == "--version" || args[0] == "-version"):
		fmt.Fprintf(out, "heron-vision %s (protocol %d)\n", version, vision.ProtocolVersion)
		d := drivers(newLog(errs))
		fmt.Fprintf(out, "cameras: %s\n", list(d.CameraNames))
		for _, e := range sayReport() {
			fmt.Fprintf(out, "engine %s: %s\n", e.Engine, state(e))
		}
		return 0
	case len(args) == 1 && args[0] == "--cameras":
		if err := printCameras(out); err != nil {
			fmt.Fprintf(errs, "heron-vision: %v\n", err)
			return 1
		}
		return 0
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-help" || args[0] == "-h"):
		fmt.Fprint(out, usage)
		return 0
	}
	fmt.Fprintf(errs, "heron-vision: unknown argument %q; see heron-vision --help\n", args[0])
	return 2
}

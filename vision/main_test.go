package vision_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"heron/camera"
	"heron/camera/replay"
	"heron/inference"
	"heron/inference/scripted"
	"heron/vision"
)

// The test binary is also heron-vision: with HERON_VISION_TEST=serve the real Serve on replay and scripted drivers, with anything else
// the stub of stub_test.go that misbehaves so.
func TestMain(m *testing.M) {
	switch mode := os.Getenv("HERON_VISION_TEST"); mode {
	case "":
		flag.Parse()
		if err := flag.Set("test.parallel", "8"); err != nil { // most of them wait, not work
			panic(err)
		}
		goleak.VerifyTestMain(m)
	case "parent":
		parent()
	case "serve":
		serve(plainDrivers())
	default:
		serveStub(mode)
	}
}

func plainDrivers() vision.Drivers {
	return vision.Drivers{
		Version: "test", CameraNames: []string{"replay"}, Camera: camera.FirstOf(hangOpener, replay.New(nil)),
		Engines: map[string]inference.Opener{"scripted": scripted.Open, "native": openNative, "stick": openStick, "edgetpu": openStick},
		Report: func() []vision.EngineReport {
			return []vision.EngineReport{{Engine: "scripted", Present: true, Usable: true}}
		},
		Picture: replay.Files{}.Read, Encode: camera.EncodeJPEG, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
}

func inheritedConn() net.Conn {
	unix.CloseOnExec(3)
	f := os.NewFile(3, "heron")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "descriptor 3:", err)
		os.Exit(2)
	}
	return c
}

func serve(d vision.Drivers) {
	if err := vision.Serve(context.Background(), inheritedConn(), d); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

//go:build cgo

package onnx

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"heron/inference"
)

// muteEnv says that this process is the child of TestNothingIsReported.
const muteEnv = "HERON_MUTE_TEST"

// A run leaves nothing behind: what ONNX Runtime would send to its maker, it first keeps in the cache and temporary folders.
func TestNothingIsReported(t *testing.T) {
	if os.Getenv(muteEnv) != "" {
		loadOne(t)
		return
	}
	library(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNothingIsReported$")
	cmd.Env = append(os.Environ(), muteEnv+"=1", telemetryEnv+"=", "GITHUB_ACTIONS=", "CI=", "HOME="+dir, "XDG_CACHE_HOME="+dir, "TMPDIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var left []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, path)
		}
		return err
	})
	if len(left) > 0 {
		t.Errorf("ONNX Runtime keeps what it would report: %q", left)
	}
}

func loadOne(t *testing.T) {
	e, err := Open(context.Background(), model("NCHW", inference.Float32, inference.Float32))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

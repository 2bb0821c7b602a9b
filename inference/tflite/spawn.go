//go:build cgo && linux

package tflite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"heron/inference"
)

// probeWithin bounds a trial. A stick's first use loads its firmware and waits for it to come back: some seconds.
const probeWithin = 30 * time.Second

// lookWithin bounds the opening of the libraries alone.
const lookWithin = 5 * time.Second

// spawn runs the trial; final is a death or a hang, which is to be expected again.
func spawn(ctx context.Context, model []byte, device string) (a Answer, final bool) {
	exe, err := os.Executable()
	if err != nil {
		return refusal(fmt.Errorf("find this program to start it again: %w", err)), false
	}
	within := probeWithin
	if len(model) == 0 {
		within = lookWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	out, complaint, err := inference.RunChild(ctx, bytes.NewReader(model), exe, ProbeFlag, "-", device)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if json.Unmarshal([]byte(lines[len(lines)-1]), &a) == nil && (a.OK || a.What != "") && err == nil {
		return a, false
	}
	if ctx.Err() != nil {
		return refusal(unavailable("plug the Edge TPU in again, or use another", fmt.Sprintf("the Edge TPU did not answer within %v in a trial", within))), true
	}
	return refusal(unavailable("plug the Edge TPU in again; if it stays so, "+pluginNext,
		fmt.Sprintf("libedgetpu killed the process in which it was tried (%v: %s)", err, complaint))), true
}

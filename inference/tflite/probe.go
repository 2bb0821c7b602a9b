package tflite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"heron/inference"
)

// ProbeFlag is the argument with which a program calls itself to try the pair of libraries; what follows goes to ProbeMain.
const ProbeFlag = "--probe-edgetpu"

// probeWithin bounds a trial. A stick's first use loads its firmware and waits for it to come back: some seconds.
const probeWithin = 30 * time.Second

// lookWithin bounds the opening of the libraries alone.
const lookWithin = 5 * time.Second

// Answer is what the child says before it ends.
type Answer struct {
	OK       bool   `json:"ok"`
	TFLite   string `json:"tflite,omitempty"`  // version
	EdgeTPU  string `json:"edgetpu,omitempty"` // version
	Code     string `json:"code,omitempty"`    // of the refusal, where OK is false
	What     string `json:"what,omitempty"`
	NextStep string `json:"next_step,omitempty"`
}

// Err is the refusal that the answer stands for, or nil.
func (a Answer) Err() error {
	if a.OK {
		return nil
	}
	r := &inference.Refusal{Code: a.Code, What: a.What, NextStep: a.NextStep}
	if a.Code == inference.CodeUnavailable {
		r.Err = inference.ErrUnavailable
	}
	return r
}

func refusal(err error) Answer {
	if r := (*inference.Refusal)(nil); errors.As(err, &r) {
		return Answer{Code: r.Code, What: r.What, NextStep: r.NextStep}
	}
	return Answer{Code: inference.CodeUnavailable, What: err.Error(), NextStep: pluginNext}
}

// answers keeps what cannot change while the process lives: a pair that works, and what kills or hangs the child until a device is plugged
// in anew or a library is replaced.
var answers keeper

type keeper struct {
	mu    sync.Mutex
	known map[string]Answer
}

// Probe loads the model in a child process, infers once there and tells how it went; without a model the libraries are opened and no more.
// device is a Device's Name, or "" for any. Where the pair worked once, with whatever model, no child is started again.
func Probe(ctx context.Context, model []byte, device string) Answer {
	return answers.probe(ctx, model, device, spawn)
}

func (k *keeper) probe(ctx context.Context, model []byte, device string, child func(ctx context.Context, model []byte, device string) (Answer, bool)) Answer {
	k.mu.Lock()
	defer k.mu.Unlock()
	pair := libraryKey() + fmt.Sprint(len(model) > 0)
	trial := fmt.Sprintf("%s %x %v", pair, sha256.Sum256(model), find(Devices(), device))
	for _, key := range []string{pair, trial} {
		if a, ok := k.known[key]; ok {
			return a
		}
	}
	a, final := child(ctx, model, device)
	if k.known == nil || len(k.known) > 64 {
		k.known = map[string]Answer{}
	}
	switch {
	case a.OK:
		k.known[pair] = a
	case final && ctx.Err() == nil:
		k.known[trial] = a
	}
	return a
}

// libraryKey changes when a library is replaced. Those that only the loader finds are named without a date.
func libraryKey() string {
	var b strings.Builder
	for _, path := range append(candidates(libraryEnv, libraryNames), candidates(pluginEnv, pluginNames)...) {
		b.WriteString(path)
		if st, err := os.Stat(path); err == nil {
			fmt.Fprint(&b, st.ModTime().UnixNano(), st.Size())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

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
	cmd := exec.CommandContext(ctx, exe, ProbeFlag, "-", device)
	var out, complaints head
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(model), &out, &complaints
	cmd.Env = append(os.Environ(), "GOTRACEBACK=none")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig goes by the thread that starts the child
	err = cmd.Run()
	runtime.UnlockOSThread()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if json.Unmarshal([]byte(lines[len(lines)-1]), &a) == nil && (a.OK || a.What != "") && err == nil {
		return a, false
	}
	if ctx.Err() != nil {
		return refusal(unavailable("plug the Edge TPU in again, or use another", fmt.Sprintf("the Edge TPU did not answer within %v in a trial", within))), true
	}
	first, _, _ := strings.Cut(strings.TrimSpace(complaints.String()), "\n")
	return refusal(unavailable(pluginNext, fmt.Sprintf("libedgetpu and TensorFlow Lite do not work together here: a trial with both ended with %v: %s", err, first))), true
}

// head keeps the first bytes written to it, as many as are of use, and lets the rest go.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), max(0, 1<<16-h.Len()))])
	return len(p), nil
}

// ProbeMain is the child: args are a model's file, or "-" for its standard input, where nothing means no model; and a Device's Name, or none.
// It prints an Answer in one line and returns the exit code.
func ProbeMain(args []string) int {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // a trial may abort; its memory is of no interest
	if len(args) == 0 || len(args) > 2 {
		fmt.Fprintf(os.Stderr, "usage: %s MODEL|- [DEVICE]\n", ProbeFlag)
		return 2
	}
	model, err := readAll(args[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "read the model: %v\n", err)
		return 1
	}
	device := ""
	if len(args) == 2 {
		device = args[1]
	}
	if err := json.NewEncoder(os.Stdout).Encode(try(model, device)); err != nil {
		fmt.Fprintf(os.Stderr, "tell the answer: %v\n", err)
		return 1
	}
	return 0
}

func readAll(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

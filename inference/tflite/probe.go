package tflite

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"heron/inference"
)

// ProbeFlag is the argument with which a program calls itself to try the pair of libraries; what follows goes to ProbeMain.
const ProbeFlag = "--probe-edgetpu"

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

// version is what an Info or a Status says of the pair.
func (a Answer) version() string {
	if a.EdgeTPU == "" {
		return a.TFLite
	}
	return a.TFLite + ", libedgetpu " + a.EdgeTPU
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

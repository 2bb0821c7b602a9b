package inference

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// RunChild runs a program that opens a library which may kill or hang whoever opens it, until ctx is over, and never longer than this process
// lives. It gives what the program wrote, 64 kB at most, and the first line of its complaints; err says how it ended, as exec.Cmd does.
func RunChild(ctx context.Context, stdin io.Reader, program string, args ...string) (out []byte, complaint string, err error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var told, complaints head
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &told, &complaints
	cmd.Env = append(os.Environ(), "GOTRACEBACK=none")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig goes by the thread that starts the child
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	complaint, _, _ = strings.Cut(strings.TrimSpace(complaints.String()), "\n")
	return told.Bytes(), complaint, err
}

// head keeps the first bytes written to it, as many as are of use, and lets the rest go.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), max(0, 1<<16-h.Len()))])
	return len(p), nil
}

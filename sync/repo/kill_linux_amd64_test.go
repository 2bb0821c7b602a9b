package repo_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// killAt starts c and kills it, with SIGKILL, just before the n-th system call by which it would change a file below dir or a folder.
// It gives the call, or "" where the program came to its end before.
func killAt(t *testing.T, c *exec.Cmd, dir string, n int) (call string, code int) {
	t.Helper()
	runtime.LockOSThread() // who starts the process is who may trace it
	defer runtime.UnlockOSThread()
	c.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := c.Start(); err != nil {
		t.Skipf("processes cannot be traced here: %v", err)
	}
	defer func() { _ = c.Process.Release() }() // waited for below
	leader := c.Process.Pid
	var ws unix.WaitStatus
	if _, err := unix.Wait4(leader, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		t.Skipf("processes cannot be traced here: %v, %v", ws, err)
	}
	if err := unix.PtraceSetOptions(leader, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
		t.Fatal(err)
	}
	resume := func(tid int, sig syscall.Signal) { _ = unix.PtraceSyscall(tid, int(sig)) } // fails where SIGKILL was faster
	for tid := leader; ; {
		switch stop := ws.StopSignal(); {
		case (ws.Exited() || ws.Signaled()) && tid == leader:
			return call, ws.ExitStatus()
		case ws.Stopped() && stop == unix.SIGTRAP|0x80:
			if what := changes(tid, dir); what != "" && call == "" {
				if n--; n == 0 {
					call = what
					if err := unix.Kill(leader, unix.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
			}
			resume(tid, 0)
		case ws.Stopped() && (stop == unix.SIGTRAP || stop == unix.SIGSTOP): // a new thread
			resume(tid, 0)
		case ws.Stopped():
			resume(tid, stop)
		}
		var err error
		for tid, err = unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil); errors.Is(err, unix.EINTR); {
			tid, err = unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// changes names the system call at whose beginning the thread stands, if it is one that changes files.
func changes(tid int, dir string) string {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(tid, &regs) != nil || int64(regs.Rax) != -int64(unix.ENOSYS) {
		return "" // at its end
	}
	switch regs.Orig_rax {
	case unix.SYS_OPENAT:
		if regs.Rdx&unix.O_CREAT != 0 {
			return "create"
		}
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE:
		file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, regs.Rdi))
		if err == nil && strings.HasPrefix(file, dir) {
			return "write " + strings.TrimPrefix(file, dir)
		}
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_RENAME:
		return "rename"
	case unix.SYS_UNLINKAT, unix.SYS_UNLINK, unix.SYS_RMDIR:
		return "unlink"
	case unix.SYS_MKDIRAT, unix.SYS_MKDIR:
		return "mkdir"
	}
	return ""
}

package vision

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a spawned heron-vision. It dies with heron: by the connection's end, and by the kernel's parent-death signal
// should it hang so badly that it sees no end of file.
type process struct {
	pid    int
	cmd    *exec.Cmd
	done   chan struct{} // closed when reaped and its stderr read to the end
	stderr *stderr
}

// spawn starts argv with one end of a socket pair as descriptor 3 and returns the other.
func spawn(argv, env []string, log *slog.Logger) (net.Conn, *process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	defer theirs.Close()
	r, w, err := os.Pipe()
	if err != nil {
		ours.Close()
		return nil, nil, fmt.Errorf("make a pipe for stderr: %w", err)
	}
	defer w.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(childEnv(os.Environ()), append(env, "LISTEN_FDS=1")...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = w, w // native libraries print to both
	// A process group of its own: Ctrl-C in a terminal is for heron alone, which then ends its child in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p := &process{cmd: cmd, done: make(chan struct{}), stderr: &stderr{log: log, pipe: r}}
	if err := p.start(); err != nil {
		ours.Close()
		r.Close()
		return nil, nil, fmt.Errorf("start %s: %w", filepath.Base(argv[0]), err)
	}
	return ours, p, nil
}

// start starts the command from a thread of its own, which lives until the child is reaped: the kernel sends the
// parent-death signal when the thread that forked ends, not the process.
func (p *process) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = p.cmd.Process.Pid
		var lines sync.WaitGroup
		lines.Go(func() { p.stderr.read(p.pid) })
		started <- nil
		_ = p.cmd.Wait() // the state is in ProcessState
		p.stderr.finish()
		lines.Wait()
		close(p.done)
	}()
	return <-started
}

// kill ends the process; harmless when it is gone.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// wait waits until the process is reaped, at most d.
func (p *process) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}

// end says how the process ended, and whether somebody ended it from outside.
func (p *process) end() (how string, killed bool) {
	select {
	case <-p.done:
	default:
		return "does not end", false
	}
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		killed = ws.Signal() == syscall.SIGKILL || ws.Signal() == syscall.SIGTERM || ws.Signal() == syscall.SIGINT
		how = fmt.Sprintf("was killed by signal %d (%s)", ws.Signal(), ws.Signal())
	} else {
		how = fmt.Sprintf("exited with code %d", p.cmd.ProcessState.ExitCode())
	}
	if line := p.stderr.telling(); line != "" && !killed {
		how += ": " + line
	}
	return how, killed
}

// socketPair returns a connected pair: a net.Conn for us, a file for the child. Neither leaks into other children.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	f, theirs := os.NewFile(uintptr(fds[0]), "heron-vision"), os.NewFile(uintptr(fds[1]), "heron")
	defer f.Close()
	ours, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// childEnv drops what is heron's alone: systemd's descriptors and watchdog, and anything that may hold or name a secret.
func childEnv(env []string) []string {
	var kept []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case strings.HasPrefix(name, "LISTEN_"), strings.HasPrefix(name, "WATCHDOG_"), strings.HasPrefix(name, "HERON_UPLINK"),
			name == "NOTIFY_SOCKET", name == "CREDENTIALS_DIRECTORY":
		default:
			kept = append(kept, e)
		}
	}
	return kept
}

// processState is the letter of /proc/PID/stat: R running, S sleeping, D waiting for a device, T stopped; 0 when unknown.
func processState(pid int) byte {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if i := bytes.LastIndexByte(b, ')'); err == nil && i >= 0 && i+2 < len(b) {
		return b[i+2] // the name before it may hold anything
	}
	return 0
}

// residentBytes is the resident memory of a process, 0 when unknown.
func residentBytes(pid string) int64 {
	b, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

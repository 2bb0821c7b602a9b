//go:build cgo

package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// acceptor starts one heron-vision a connection, as systemd does.
type acceptor struct {
	address  string
	program  string
	listener *net.UnixListener
	dir      string
	owned    sync.WaitGroup

	mu   sync.Mutex
	last int
}

func listen(program string) (*acceptor, error) {
	dir, err := os.MkdirTemp("", "heron-bench-")
	if err != nil {
		return nil, err
	}
	a := &acceptor{address: filepath.Join(dir, "vision.sock"), program: program, dir: dir}
	a.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: a.address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	a.owned.Go(a.accept)
	return a, nil
}

func (a *acceptor) accept() {
	for {
		c, err := a.listener.AcceptUnix()
		if err != nil {
			return
		}
		a.serve(c)
	}
}

// serve hands the connection to a new process as descriptor 3 and keeps no copy.
func (a *acceptor) serve(c *net.UnixConn) {
	defer c.Close()
	f, err := c.File()
	if err != nil {
		return
	}
	defer f.Close()
	cmd := exec.Command(a.program)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if cmd.Start() != nil {
		return
	}
	a.mu.Lock()
	a.last = cmd.Process.Pid
	a.mu.Unlock()
	a.owned.Go(func() { _ = cmd.Wait() })
}

func (a *acceptor) pid() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *acceptor) close() {
	a.listener.Close()
	a.owned.Wait()
	_ = os.RemoveAll(a.dir)
}

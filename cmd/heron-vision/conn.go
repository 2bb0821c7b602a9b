package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

var errByHand = errors.New("no connection to serve: heron starts this program; use heron run, heron classify or heron demo")

// inherited is the connection that this process was started for: descriptor 3 as systemd and heron pass it (heron cannot know
// the process id beforehand and leaves LISTEN_PID out), or standard input as inetd does.
func inherited() (net.Conn, error) {
	fd := 0
	if n := os.Getenv("LISTEN_FDS"); n != "" {
		if pid := os.Getenv("LISTEN_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
			return nil, fmt.Errorf("LISTEN_PID is %s and this is %d: the descriptors are for another process", pid, os.Getpid())
		}
		if n != "1" {
			return nil, fmt.Errorf("LISTEN_FDS is %s: want one connection", n)
		}
		fd = 3
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		return nil, errByHand
	}
	if listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listening != 0 {
		return nil, errors.New("the descriptor is a listening socket: set Accept=yes, one process serves one connection")
	}
	unix.CloseOnExec(fd)
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
		os.Unsetenv(name) // not for what a library may start; the only error is a bad name
	}
	f := os.NewFile(uintptr(fd), "heron")
	defer f.Close() // FileConn has a copy
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if conn.LocalAddr().Network() != "unix" {
		return nil, fmt.Errorf("descriptor %d is a %s socket, want a unix socket", fd, conn.LocalAddr().Network())
	}
	return conn, nil
}

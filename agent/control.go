package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds of the local endpoint. An archive may come slowly from a stick, but never stands still for longer than controlPatience.
const (
	controlConns    = 8
	controlBody     = 64 << 10
	controlPatience = 20 * time.Second
	controlIdle     = 30 * time.Second
	controlRetry    = 15 * time.Second // until a folder that could not be used is tried again
)

// ControlSocket is where the service of a configuration takes orders from this device: HTTP over a unix socket beside the outbox.
func ControlSocket(conf *Config) string {
	return filepath.Join(filepath.Dir(conf.Outbox.Path), "control.sock")
}

// DialControl connects to the socket, however long its path is: an address holds 107 bytes, /proc/self/fd/N/control.sock has fewer.
func DialControl(ctx context.Context, path string) (net.Conn, error) {
	dir, short, err := shortSocket(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short)
}

func shortSocket(path string) (*os.File, string, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, "", err
	}
	return dir, fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), nil
}

// control serves the local endpoint until ctx ends. Whatever hinders it, cameras go on: it says why and tries again.
func (a *Agent) control(ctx context.Context) error {
	said := ""
	for {
		err := a.serveControl(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			a.log.Error("no orders can be taken on this device (heron model)", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(controlRetry):
		}
	}
}

func (a *Agent) serveControl(ctx context.Context) error {
	l, err := listenControl(ctx, a.state("control.sock"), a.log)
	if err != nil {
		return err
	}
	defer os.Remove(l.path)
	srv := &http.Server{
		Handler: a.controlHandler(), ReadHeaderTimeout: controlPatience, ReadTimeout: controlPatience, WriteTimeout: 2 * controlPatience, IdleTimeout: controlIdle,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.(*controlConn).uid)
		},
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-sweep.C:
			a.sweepIncoming(time.Now())
		case <-ctx.Done():
			bounded, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if srv.Shutdown(bounded) != nil {
				_ = srv.Close() // who is cut off is told by the broken connection
			}
			<-done
			return nil
		}
	}
}

// controlListener admits root and this user, a few at a time.
type controlListener struct {
	*net.UnixListener
	path string
	open atomic.Int32
	log  *slog.Logger
}

// listenControl makes the socket. A stale one of this user is replaced; whatever else stands at the path stays (fault L4).
func listenControl(ctx context.Context, path string, log *slog.Logger) (*controlListener, error) {
	if err := claimSocket(ctx, path); err != nil {
		return nil, err
	}
	dir, short, err := shortSocket(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // its name was the folder's descriptor; the caller removes the file
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return &controlListener{UnixListener: l, path: path, log: log}, nil
}

func claimSocket(ctx context.Context, path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	own, ok := st.Sys().(*syscall.Stat_t)
	if st.Mode().Type() != fs.ModeSocket || !ok || int(own.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not this service's socket (%v); move it away", path, st.Mode())
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if c, err := DialControl(ctx, path); err == nil {
		_ = c.Close()
		return fmt.Errorf("another heron listens at %s; stop it, or give this one another outbox.path", path)
	}
	return os.Remove(path)
}

// Accept returns the next connection of somebody who may give orders.
func (l *controlListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerOf(c)
		if err != nil || uid != 0 && int(uid) != os.Geteuid() {
			l.log.Warn("somebody else's connection to control.sock was refused", "uid", uid, "error", err)
			_ = c.Close()
			continue
		}
		if l.open.Add(1) > controlConns {
			l.open.Add(-1)
			_ = c.Close()
			continue
		}
		return &controlConn{UnixConn: c, uid: uid, open: &l.open}, nil
	}
}

// peerOf asks the kernel who is at the other end.
func peerOf(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

type controlConn struct {
	*net.UnixConn
	uid    uint32
	open   *atomic.Int32
	closed atomic.Bool
}

// Close may be called more than once.
func (c *controlConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.open.Add(-1)
	}
	return c.UnixConn.Close()
}

type peerKey struct{}

// technician is who gave an order, for the audit.
func technician(r *http.Request) string {
	uid, _ := r.Context().Value(peerKey{}).(uint32)
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		id = u.Username
	}
	return "technician (" + id + ")"
}

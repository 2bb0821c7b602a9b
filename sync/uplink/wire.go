package uplink

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// meter counts what the link carried since midnight UTC.
type meter struct {
	mu             sync.Mutex
	day            int64
	sent, received int64
}

func (m *meter) add(sent, received int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	m.sent += int64(sent)
	m.received += int64(received)
}

func (m *meter) today() (sent, received int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	return m.sent, m.received
}

func (m *meter) turn() {
	if day := time.Now().Unix() / 86400; day != m.day {
		m.day, m.sent, m.received = day, 0, 0
	}
}

// wire is the network connection under everything (TLS included): it counts bytes, and a write that is slow but moves on
// is given more time, so that a link of 1 kB/s is not taken for a dead one.
type wire struct {
	net.Conn
	meter    *meter
	patience time.Duration // how long a write may stand still
	written  atomic.Int64
}

// delivered is how many bytes the other side's TCP has acknowledged.
func (w *wire) delivered() int64 { return w.written.Load() - int64(unacknowledged(w.Conn)) }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.meter.add(0, n)
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	sent := 0
	for {
		before := unacknowledged(w.Conn)
		n, err := w.Conn.Write(p[sent:])
		sent += n
		w.written.Add(int64(n))
		w.meter.add(n, 0)
		if !errors.Is(err, os.ErrDeadlineExceeded) || (n == 0 && unacknowledged(w.Conn) >= before) {
			return sent, err
		}
		if err := w.Conn.SetWriteDeadline(time.Now().Add(w.patience)); err != nil {
			return sent, err
		}
	}
}

// unacknowledged is how many bytes written to c the other side's TCP has not acknowledged; 0 where that cannot be known.
func unacknowledged(c net.Conn) int {
	n := 0
	if raw := socket(c); raw != nil {
		_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	}
	return n
}

// socket finds the TCP socket under a websocket, with or without TLS; nil if there is none.
func socket(c net.Conn) syscall.RawConn {
	for {
		switch v := c.(type) {
		case syscall.Conn:
			raw, err := v.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		default:
			return nil
		}
	}
}

func tuneUnder(c net.Conn, timeout time.Duration) error {
	if raw := socket(c); raw != nil {
		return tuneSocket(raw, timeout)
	}
	return nil
}

// tuneSocket gives up on a peer that acknowledges nothing for so long, where the kernel would try for a quarter of an hour.
func tuneSocket(c syscall.RawConn, timeout time.Duration) error {
	var inner error
	err := c.Control(func(fd uintptr) {
		inner = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
	})
	return errors.Join(err, inner)
}

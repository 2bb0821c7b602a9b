package status

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// limitListener closes connections beyond a bound at once, so that whoever holds many open cannot exhaust
// the device's descriptors, and, by the bound for one address, cannot shut out others either.
type limitListener struct {
	net.Listener
	max, perAddr int
	refused      atomic.Uint64

	mu   sync.Mutex
	open int
	from map[netip.Addr]int // connections of addresses other than this device's own
}

func newLimitListener(ln net.Listener, limit, perAddr int) *limitListener {
	return &limitListener{Listener: ln, max: limit, perAddr: perAddr, from: map[netip.Addr]int{}}
}

// Accept returns the next connection within the bounds.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := remote(c)
		if l.admit(addr) {
			return &limitedConn{Conn: c, release: sync.OnceFunc(func() { l.release(addr) })}, nil
		}
		l.refused.Add(1)
		_ = c.Close() // a connection nobody used
	}
}

func (l *limitListener) admit(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.max || !a.IsLoopback() && l.from[a] >= l.perAddr {
		return false
	}
	l.open++
	l.from[a]++
	return true
}

func (l *limitListener) release(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.from[a]--; l.from[a] == 0 {
		delete(l.from, a)
	}
}

func remote(c net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // all that cannot be told apart share one bound
	}
	return ap.Addr().Unmap().WithZone("")
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

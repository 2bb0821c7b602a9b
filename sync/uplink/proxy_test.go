package uplink

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"heron/internal/freeport"
)

// proxy is the network between the uplink and a broker: it can be cut, refuse, stall, slow down, and break at a given byte.
type proxy struct {
	t       testing.TB
	target  string
	address string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	wg       sync.WaitGroup

	accepted  atomic.Int64
	stalled   atomic.Bool  // nothing is read any more, in either direction
	swallow   atomic.Bool  // what the uplink sends is read, and lost; the broker hears nothing
	rate      atomic.Int64 // bytes a second from the uplink; 0: as fast as can be
	delay     atomic.Int64 // ns, each piece, each way
	limit     atomic.Int64 // reset after so many bytes from the uplink; 0: never
	limitBack atomic.Int64 // the same from the broker
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	p := &proxy{t: t, target: target, conns: map[net.Conn]bool{}}
	p.address = freeport.Address(t)
	p.open()
	t.Cleanup(func() {
		p.close()
		p.wg.Wait()
	})
	return p
}

// open accepts connections.
func (p *proxy) open() {
	p.t.Helper()
	var l net.Listener
	eventually(p.t, "the proxy's address free", func() (ok bool) {
		var err error
		// segments as on a real link: with the 64 kB of loopback, a small buffer makes the sender wait for its persist timer
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1400) })
		}}
		l, err = lc.Listen(context.Background(), "tcp", p.address)
		return err == nil
	})
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.accepted.Add(1)
			p.wg.Go(func() { p.serve(c) })
		}
	})
}

// close refuses new connections and resets those there are.
func (p *proxy) close() {
	p.mu.Lock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.cut()
}

// cut resets all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
	clear(p.conns)
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func (p *proxy) serve(c net.Conn) {
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(c)
		return
	}
	if p.rate.Load() > 0 || p.stalled.Load() { // small buffers, or the sender would not feel it
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	p.mu.Lock()
	p.conns[c], p.conns[up] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(up, c, &p.rate, &p.limit, &p.swallow) })
	both.Go(func() { p.pump(c, up, nil, &p.limitBack, nil) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	delete(p.conns, up)
}

func (p *proxy) pump(to, from net.Conn, rate, limit *atomic.Int64, swallow *atomic.Bool) {
	defer to.Close()
	defer from.Close()
	buf, total := make([]byte, 16<<10), int64(0)
	due := time.Now() // when the link has carried what came so far
	for {
		piece := buf
		if rate != nil && rate.Load() > 0 {
			piece = buf[:max(1, rate.Load()/20)]
		}
		for p.stalled.Load() && p.alive(from) {
			time.Sleep(10 * time.Millisecond)
		}
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		total += int64(n)
		if most := limit.Load(); most > 0 && total >= most {
			_, _ = to.Write(piece[:max(0, int64(n)-(total-most))])
			reset(from)
			return
		}
		if late := time.Now().Add(-300 * time.Millisecond); due.Before(late) { // it idled; what the machine is late, up to this, is made up for
			due = late
		}
		if rate != nil && rate.Load() > 0 {
			due = due.Add(time.Duration(float64(n) / float64(rate.Load()) * float64(time.Second)))
		}
		due = due.Add(time.Duration(p.delay.Load()))
		time.Sleep(time.Until(due))
		if swallow != nil && swallow.Load() {
			continue
		}
		if _, err := to.Write(piece[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) alive(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[c]
}

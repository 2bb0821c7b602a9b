package measure

import (
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// Carried is what crossed a link: TCP payload each way, segments both ways.
type Carried struct{ Up, Down, Segments int64 }

// WithHeaders adds IPv4 and TCP headers with the timestamp option: 52 bytes a segment.
func (c Carried) WithHeaders() int64 { return c.Up + c.Down + 52*c.Segments }

// Link is a TCP relay on loopback: the line between device and broker, which can be cut, and says what it carried.
type Link struct {
	Port   int
	target string

	mu       sync.Mutex
	listener net.Listener
	open     map[*net.TCPConn]net.Conn // towards the broker → from the device
	past     Carried                   // of closed connections
	owned    sync.WaitGroup
}

// NewLink makes a cut link to a loopback port.
func NewLink(target int) *Link {
	return &Link{Port: FreePort(), target: fmt.Sprintf("127.0.0.1:%d", target), open: map[*net.TCPConn]net.Conn{}}
}

// Join lets connections through.
func (l *Link) Join() error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", l.Port))
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	l.owned.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.owned.Go(func() { l.relay(c) })
		}
	})
	return nil
}

// Cut refuses new connections, ends the open ones, and waits until they are counted.
func (l *Link) Cut() {
	l.mu.Lock()
	if l.listener != nil {
		l.listener.Close()
		l.listener = nil
	}
	for up, down := range l.open {
		down.Close()
		_ = up.CloseRead()
	}
	l.mu.Unlock()
	l.owned.Wait()
}

func (l *Link) relay(device net.Conn) {
	defer device.Close()
	c, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	broker := c.(*net.TCPConn)
	l.mu.Lock()
	l.open[broker] = device
	l.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(device, broker)
		device.Close()
	})
	_, _ = io.Copy(broker, device)
	l.mu.Lock()
	l.past = sum(l.past, carried(broker))
	delete(l.open, broker)
	l.mu.Unlock()
	broker.Close()
	back.Wait()
}

// Carried says what crossed so far, as the kernel counted on the broker's side of the relay.
func (l *Link) Carried() Carried {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.past
	for c := range l.open {
		all = sum(all, carried(c))
	}
	return all
}

func sum(a, b Carried) Carried {
	return Carried{a.Up + b.Up, a.Down + b.Down, a.Segments + b.Segments}
}

func carried(c *net.TCPConn) (w Carried) {
	raw, err := c.SyscallConn()
	if err != nil {
		return w
	}
	_ = raw.Control(func(fd uintptr) {
		if i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			w = Carried{int64(i.Bytes_acked), int64(i.Bytes_received), int64(i.Segs_out) + int64(i.Segs_in)}
		}
	})
	return w
}

// FreePort is a loopback port that was free a moment ago.
func FreePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	Must(err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

package uplink

import (
	"bufio"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// fake is a broker that does as its script says, on each connection anew.
type fake struct {
	t       testing.TB
	address string
	wg      sync.WaitGroup
	mu      sync.Mutex
	conns   []net.Conn
	began   []time.Time // of connections
	packets map[byte]int
	stop    net.Listener
}

// packet is one MQTT control packet.
type packet struct {
	first byte
	body  []byte
}

func (p packet) kind() byte { return p.first >> 4 }

// id is the packet identifier of a PUBLISH with QoS 1, a SUBSCRIBE or a PUBACK.
func (p packet) id() [2]byte {
	at := 0
	if p.kind() == packetPublish {
		at = 2 + int(p.body[0])<<8 + int(p.body[1])
	}
	return [2]byte{p.body[at], p.body[at+1]}
}

func (p packet) topic() string {
	return string(p.body[2 : 2+int(p.body[0])<<8+int(p.body[1])])
}

func (p packet) payload() []byte { return p.body[len(p.topic())+4:] }

// peer is the fake's side of one connection.
type peer struct {
	net.Conn
	*fake
	n int // of the connection, from 0
	r *bufio.Reader
}

// next reads one packet.
func (p *peer) next() (packet, error) {
	first, err := p.r.ReadByte()
	if err != nil {
		return packet{}, err
	}
	length, shift := 0, 0
	for {
		b, err := p.r.ReadByte()
		if err != nil {
			return packet{}, err
		}
		length |= int(b&0x7f) << shift
		shift += 7
		if b&0x80 == 0 {
			break
		}
	}
	body := make([]byte, length)
	_, err = io.ReadFull(p.r, body)
	p.mu.Lock()
	p.packets[first>>4]++
	p.mu.Unlock()
	return packet{first, body}, err
}

func (p *peer) send(b ...byte) { _, _ = p.Write(b) }

// greet answers the CONNECT.
func (p *peer) greet() bool {
	c, err := p.next()
	if err != nil || c.kind() != 1 {
		return false
	}
	p.send(0x20, 2, 0, 0)
	return true
}

// serve acknowledges everything, as a good broker does, except what special takes upon itself by returning true.
func (p *peer) serve(special func(packet) bool) {
	for {
		c, err := p.next()
		if err != nil {
			return
		}
		if special != nil && special(c) {
			continue
		}
		switch c.kind() {
		case packetPublish:
			id := c.id()
			p.send(0x40, 2, id[0], id[1])
		case packetSubscribe:
			id := c.id()
			p.send(0x90, 3, id[0], id[1], 1)
		case 12:
			p.send(0xd0, 0)
		case 14:
			return
		}
	}
}

// telemetry says whether a packet is a group.
func telemetry(c packet) bool {
	if c.kind() != packetPublish {
		return false
	}
	switch c.topic() {
	case "heron/v1/acme/dev-1/state", "heron/v1/acme/dev-1/info":
		return false
	}
	return true
}

// newFake starts a broker that runs script on each connection and closes it when script returns.
func newFake(t testing.TB, script func(p *peer)) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, address: l.Addr().String(), packets: map[byte]int{}, stop: l}
	f.wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, c)
			f.began = append(f.began, time.Now())
			f.mu.Unlock()
			f.wg.Go(func() {
				defer c.Close()
				script(&peer{Conn: c, fake: f, n: n, r: bufio.NewReader(c)})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

func (f *fake) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.began)
}

func (f *fake) seen(kind byte) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.packets[kind]
}

package uplink

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"heron/internal/freeport"
	"heron/sync/message"
)

// Q8: malformed packets end the connection, cost no memory, and never the process.
func TestFault_Q8_Malformed(t *testing.T) {
	long := append([]byte{0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a'}, bytes.Repeat([]byte{'x'}, 1000)...)
	for name, bytes := range map[string][]byte{
		"256 MiB announced":   long,
		"length of 5 bytes":   {0x30, 0xff, 0xff, 0xff, 0xff, 0x01},
		"QoS 3":               {0x36, 7, 0, 1, 'a', 0, 1, 'x', 'y'},
		"QoS 2":               {0x34, 7, 0, 1, 'a', 0, 1, 'x', 'y'},
		"topic past the end":  {0x30, 4, 0xff, 0xff, 'a', 'b'},
		"empty publish":       {0x30, 0},
		"not UTF-8":           {0x30, 6, 0, 3, 0xff, 0xfe, 0xfd, 'x'},
		"type 0":              {0x00, 0},
		"type 15":             {0xf0, 0},
		"CONNECT from broker": {0x10, 0},
		"second CONNACK":      {0x20, 2, 0, 0},
		"PUBREC":              {0x50, 2, 0, 1},
		"PUBREL":              {0x62, 2, 0, 1},
		"UNSUBACK":            {0xb0, 2, 0, 1},
		"short PUBACK":        {0x40, 1, 0},
		"long PUBACK":         {0x40, 3, 0, 1, 2},
		"PINGRESP with body":  {0xd0, 1, 0},
		"DISCONNECT":          {0xe0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			f := newFake(t, func(p *peer) {
				if !p.greet() {
					return
				}
				p.serve(func(c packet) bool {
					if p.n == 0 && c.kind() == packetPublish {
						id := c.id()
						p.send(append([]byte{0x40, 2, id[0], id[1]}, bytes...)...)
						return true
					}
					return false
				})
			})
			before := heap()
			u := run(t, config("tcp://"+f.address), b)
			eventually(t, "second connection", func() bool { return f.connections() > 1 })
			u.state(StateOnline)
			if grown := heap() - before; grown > 4<<20 {
				t.Errorf("%d bytes of memory for a bad packet", grown)
			}
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapSys)
}

// Q8: bad packets before and instead of the CONNACK.
func TestFault_Q8_MalformedConnack(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"nothing": {}, "PUBLISH first": {0x30, 3, 0, 1, 'a'}, "long": {0x20, 0xff, 0xff, 0xff, 0x7f}, "short": {0x20, 1, 0}, "HTTP": []byte("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			f := newFake(t, func(p *peer) {
				_, _ = p.next()
				if p.n == 0 {
					p.send(bytes...)
					return
				}
				p.send(0x20, 2, 0, 0)
				p.serve(nil)
			})
			u := run(t, config("tcp://"+f.address), b)
			u.state(StateOnline)
			if s := u.Stats(); s.Failed != 1 || s.Session != 2 {
				t.Errorf("failed %d, session %d: the broker may have kept the first will", s.Failed, s.Session)
			}
		})
	}
}

// Q9: the broker stops reading. With full buffers a write stands still, and that is noticed.
func TestFault_Q9_BrokerStopsReading(t *testing.T) {
	t.Parallel()
	b, l := newBox(t), newLedger(t)
	over := make(chan struct{})
	f := newFake(t, func(p *peer) {
		if !p.greet() {
			return
		}
		p.serve(func(c packet) bool {
			l.file(c)
			if p.n == 0 && telemetry(c) {
				<-over
				return true
			}
			return false
		})
	})
	t.Cleanup(func() { close(over) })
	for range 80 {
		b.add(message.Result, 400, false) // 80 kB each: 256 KiB do not fill loopback's buffers, the PUBACK timer must do it too
	}
	conf := config("tcp://" + f.address)
	conf.MaxBytes = 4 << 20
	start := time.Now()
	u := run(t, conf, b, func(t *timing) { t.write, t.puback = time.Second, 2*time.Second })
	eventually(t, "noticed", func() bool { return u.Stats().Lost > 0 })
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("noticed after %v", d)
	}
	eventually(t, "all delivered", func() bool { return b.left() == 0 })
	l.complete(b)
}

// Q10: retained garbage on a topic we read is handed to its handler, or dropped and counted; nothing loops.
func TestFault_Q10_RetainedGarbage(t *testing.T) {
	b := newBox(t)
	junk := bytes.Repeat([]byte{0xff}, 100<<10)
	f := newFake(t, func(p *peer) {
		if !p.greet() {
			return
		}
		p.serve(func(c packet) bool {
			if c.kind() != packetSubscribe {
				return false
			}
			id := c.id()
			p.send(0x90, 3, id[0], id[1], 1)
			for i := range 200 {
				topic := "heron/v1/acme/dev-1/desired"
				body := append([]byte{0, byte(len(topic))}, topic...)
				body = append(append(body, 0, byte(i+1)), junk...)
				n := len(body)
				p.send(append([]byte{0x33, byte(n&0x7f | 0x80), byte(n>>7&0x7f | 0x80), byte(n >> 14)}, body...)...)
			}
			return true
		})
	})
	var got atomic.Int64
	conf := config("tcp://" + f.address)
	conf.Subscribe = []string{"desired"}
	conf.Handle = func(m Message) {
		if m.Topic != "desired" || !bytes.Equal(m.Payload, junk) || !m.Retained {
			t.Errorf("%d bytes on %s, retained %v", len(m.Payload), m.Topic, m.Retained)
		}
		got.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
	before := heap()
	u := run(t, conf, b, func(t *timing) { t.puback = 20 * time.Second }) // the PUBACK comes after 20 MB of garbage
	b.add(message.Result, 5, false)
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	eventually(t, "all counted", func() bool { s := u.Stats(); return s.Received == 200 && uint64(got.Load())+s.ReceivedDropped == 200 })
	if grown := heap() - before; grown > 40<<20 {
		t.Errorf("%d bytes of memory", grown)
	}
	if s := u.Stats(); s.Lost != 0 {
		t.Errorf("lost %d: %s", s.Lost, s.Reason)
	}
}

// Q12: a group that the broker will not have makes it close the connection (what MQTT 3.1.1 leaves a broker to do). It is found
// out, sent alone, and refused, so that the rest goes through.
func TestFault_Q12_PoisonGroup(t *testing.T) {
	b, l := newBox(t), newLedger(t)
	poison := uint64(0)
	f := newFake(t, func(p *peer) {
		if !p.greet() {
			return
		}
		p.serve(func(c packet) bool {
			if telemetry(c) && bytes.Contains(c.payload(), fmt.Appendf(nil, `{"seq":%d,`, poison)) {
				p.Close()
				return true
			}
			l.file(c)
			return false
		})
	})
	for i := range 40 {
		id := b.add(message.Result, 5, false)
		if i == 20 {
			poison = id
		}
	}
	u := run(t, config("tcp://"+f.address), b, func(t *timing) { t.quiet, t.suspect = 100*time.Millisecond, 500*time.Millisecond })
	eventually(t, "the rest delivered", func() bool { return b.left() == 0 || u.Stats().State == StateRefused })
	if s := u.Stats(); s.State == StateRefused {
		t.Errorf("taken for something else: %s", s.Reason)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.refused) != 1 || b.refused[poison] == "" {
		t.Errorf("refused %v, the poison is %d", b.refused, poison)
	}
	if len(b.acked) != 39 {
		t.Errorf("%d acknowledged", len(b.acked))
	}
}

// Q13: however much waits and however fast the broker takes it, the window holds far below the 65,535 identifiers there are.
func TestFault_Q13_WindowHolds(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	var mu sync.Mutex
	var open, most, bytes, mostBytes int
	f := newFake(t, func(p *peer) {
		if !p.greet() {
			return
		}
		acks := make(chan packet, 1000)
		defer close(acks)
		p.wg.Go(func() {
			for c := range acks {
				time.Sleep(time.Millisecond)
				mu.Lock()
				open--
				bytes -= len(c.payload())
				mu.Unlock()
				id := c.id()
				p.send(0x40, 2, id[0], id[1])
			}
		})
		p.serve(func(c packet) bool {
			if !telemetry(c) {
				return false
			}
			mu.Lock()
			open++
			bytes += len(c.payload())
			most, mostBytes = max(most, open), max(mostBytes, bytes)
			mu.Unlock()
			acks <- c
			return true
		})
	})
	for range 600 {
		b.add(message.Result, 1, false)
	}
	run(t, config("tcp://"+f.address), b)
	eventually(t, "all delivered", func() bool { return b.left() == 0 })
	if most > 64 || most < 20 || mostBytes > 256<<10+1000 {
		t.Errorf("%d groups, %d bytes under way; the window is 64 groups, 256 KiB, and should open", most, mostBytes)
	}
}

// Q14: a handler that does not return stops neither pings nor acknowledgements nor the drain, and what comes in stays bounded.
func TestFault_Q14_HandlerBlocked(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	b, l := newBox(t), subscribe(t, address)
	l.ignore = "/cmd/"
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	conf := config("tcp://" + address)
	conf.Subscribe = []string{"cmd/#"}
	conf.Handle = func(Message) {
		select {
		case entered <- struct{}{}:
		default:
		}
		<-release
	}
	u := run(t, conf, b)
	u.state(StateOnline)
	send := publisher(t, address)
	for i := range 100 {
		send(fmt.Sprint("heron/v1/acme/dev-1/cmd/ping/", i), "x")
	}
	<-entered
	eventually(t, "all received", func() bool { return u.Stats().Received == 100 })
	time.Sleep(4500 * time.Millisecond) // two keepalives
	b.add(message.Result, 5, true)
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	if s := u.Stats(); s.Lost != 0 || s.ReceivedDropped != 100-1-maxInbox {
		t.Errorf("lost %d, dropped %d of 100 with one in work and 64 queued", s.Lost, s.ReceivedDropped)
	}
	close(release)
	u.end()
	l.complete(b)
}

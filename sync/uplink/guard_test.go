package uplink

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// pipe is a connection that delivers given bytes, in pieces, then ends.
type pipe struct {
	net.Conn
	in *bytes.Reader
	by int
}

func (p *pipe) Read(b []byte) (int, error)       { return p.in.Read(b[:min(len(b), p.by)]) }
func (p *pipe) Write(b []byte) (int, error)      { return len(b), nil }
func (p *pipe) Close() error                     { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// Whatever a broker sends: what the guard lets through, the MQTT client can take without harm; and the guard invents nothing.
func FuzzGuard(f *testing.F) {
	ok := []byte{0x20, 2, 0, 0}
	for _, b := range [][]byte{
		{0x40, 2, 0, 1}, {0x90, 3, 0, 7, 1}, {0x90, 4, 0, 7, 1, 1}, {0xd0, 0}, {0x30, 0xff, 0xff, 0xff, 0x7f}, {0x30, 5, 0, 1, 'a', 'x', 'y'},
		{0x32, 7, 0, 1, 'a', 0, 9, 'x', 'y'}, {0x36, 0}, {0xe0, 0}, {0x62, 2, 0, 1}, {0x30, 0x80, 0x80, 0x80, 0x80, 1},
	} {
		f.Add(append(bytes.Clone(ok), b...), 3)
	}
	f.Add([]byte{0x20, 2, 0, 9}, 1)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"), 100)
	f.Fuzz(func(t *testing.T, in []byte, by int) {
		g := newGuard(&pipe{in: bytes.NewReader(in), by: max(1, by%64)}, time.Second)
		sub := &packets.SubscribePacket{FixedHeader: packets.FixedHeader{MessageType: packets.Subscribe, Qos: 1}, MessageID: 7, Topics: []string{"a"}, Qoss: []byte{1}}
		if err := sub.Write(g); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		subacks := 0
		for {
			p, err := packets.ReadPacket(io.TeeReader(g, &got))
			if err != nil {
				break
			}
			switch p := p.(type) {
			case *packets.SubackPacket:
				if subacks++; subacks > 1 || len(p.ReturnCodes) != 1 || p.MessageID != 7 {
					t.Fatalf("SUBACK %+v", p)
				}
			case *packets.PublishPacket:
				if p.Qos > 1 || p.RemainingLength > maxInbound {
					t.Fatalf("PUBLISH %+v", p.FixedHeader)
				}
			case *packets.ConnackPacket:
				if p.ReturnCode > 5 {
					t.Fatalf("CONNACK %d", p.ReturnCode)
				}
			case *packets.PubackPacket, *packets.PingrespPacket:
			default:
				t.Fatalf("%T was let through", p)
			}
		}
		if len(in) <= maxInbound && !bytes.HasPrefix(in, got.Bytes()) { // longer ones: TestGuardReadsPastWhatIsTooLong
			t.Fatalf("guard made %x of %x", got.Bytes(), in)
		}
	})
}

func TestGuardKeepsTheFirstCause(t *testing.T) {
	g := newGuard(&pipe{in: bytes.NewReader(nil), by: 1}, time.Second)
	if g.err() != nil {
		t.Fatal("an end before the end")
	}
	g.abort(errNoPuback)
	g.abort(io.EOF)
	if _, err := g.Read(make([]byte, 1)); g.err() != errNoPuback || err == nil || err.Error() != "connection ended" {
		t.Errorf("cause %v, read %v", g.err(), err)
	}
	<-g.dead
}

// A retained document that is too long comes with every connection. It must not end each of them: it is read past, acknowledged and
// told; what follows is read as ever. Beyond a bound it does end the connection: nobody pays for 256 MiB.
func TestGuardReadsPastWhatIsTooLong(t *testing.T) {
	long := func(n int) []byte {
		p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		p.Qos, p.MessageID, p.Retain, p.TopicName, p.Payload = 1, 9, true, "a/desired", bytes.Repeat([]byte("x"), n)
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	connack, pong := []byte{0x20, 2, 0, 0}, []byte{0xd0, 0}
	g := newGuard(&pipe{in: bytes.NewReader(bytes.Join([][]byte{connack, long(200_000), long(3), pong}, nil)), by: 1000}, time.Second)
	for i, want := range []string{"", "too long: 200000 bytes, at most 131059 are taken", "xxx"} {
		got, err := packets.ReadPacket(g)
		if err != nil {
			t.Fatalf("packet %d: %v, %v", i, err, g.err())
		}
		if p, ok := got.(*packets.PublishPacket); ok && (string(p.Payload) != want || p.MessageID != 9 || !p.Retain || p.TopicName != "a/desired") {
			t.Errorf("packet %d: %v %q", i, p, p.Payload)
		}
	}
	if p, err := packets.ReadPacket(g); err != nil || p.(*packets.PingrespPacket) == nil {
		t.Errorf("what follows: %v %v", p, err)
	}
	for _, in := range [][]byte{long(maxSkipped), append([]byte{0x32, 0x80, 0x80, 0x10, 0xff, 0xff}, make([]byte, 100)...)} {
		g := newGuard(&pipe{in: bytes.NewReader(append(bytes.Clone(connack), in...)), by: 1000}, time.Second)
		_, _ = packets.ReadPacket(g)
		if p, err := packets.ReadPacket(g); err == nil {
			t.Errorf("let through: %v", p)
		}
	}
}

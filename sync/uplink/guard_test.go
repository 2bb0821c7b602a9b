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
		if !bytes.HasPrefix(in, got.Bytes()) {
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

package uplink

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"heron/sync/message"
)

// maxInbound is the longest packet that the MQTT client is given; it would allocate whatever length five bytes claim. A longer message,
// up to maxSkipped, is read past: a retained one comes again with every connection, so to end the connection for it would be the end of the link.
const (
	maxInbound = 128 << 10
	maxSkipped = 1 << 20
	maxTopic   = 1 << 10
)

// MQTT control packet types, the high four bits of the first byte.
const (
	packetConnack   = 2
	packetPublish   = 3
	packetPuback    = 4
	packetSubscribe = 8
	packetSuback    = 9
	packetPingresp  = 13
	packetGoodbye   = 14 // DISCONNECT
)

// errGoodbye: MQTT 3.1.1 has no DISCONNECT from a broker, but some send one when they end a connection, for a take-over say.
var errGoodbye = errors.New("the broker ended the connection")

// protocolError is what a broker did against MQTT 3.1.1 or against what we asked of it.
type protocolError struct{ what string }

func (e protocolError) Error() string { return "the broker broke the protocol: " + e.what }

// guard stands between the MQTT client and the network. The client trusts its broker (one code too many in a SUBACK panics,
// five bytes allocate 256 MiB, a SUBACK can complete a publish); guard lets through only what this client can have asked for.
// It also keeps the first cause of an end, and ends a connection so that the client notices: closing the socket under it would not do.
type guard struct {
	net.Conn
	r            *bufio.Reader
	writeTimeout time.Duration // without progress

	head    []byte // of the packet being handed over: fixed header, then its body
	body    int    // bytes of it still to come
	connack bool   // seen

	writing   sync.Mutex    // a ping must not fall between two pieces of a publish
	published atomic.Uint64 // PUBLISH packets written
	wrote     chan struct{} // holds a token when one was written since it was last read

	mu     sync.Mutex
	subs   map[uint16]bool // SUBSCRIBE packets without an answer
	closed bool            // by the client
	cause  error
	dead   chan struct{} // closed once cause is set
}

func newGuard(c net.Conn, writeTimeout time.Duration) *guard {
	return &guard{Conn: c, r: bufio.NewReaderSize(c, 2048), writeTimeout: writeTimeout, subs: map[uint16]bool{}, dead: make(chan struct{}), wrote: make(chan struct{}, 1)}
}

// abort ends the connection: reads and writes under way fail with cause, unless an earlier one is known.
func (g *guard) abort(cause error) {
	g.mu.Lock()
	g.end(cause)
	g.mu.Unlock()
	_ = g.Conn.Close()
}

// end sets the cause, once. Call with mu held.
func (g *guard) end(cause error) {
	if g.cause == nil {
		g.cause = cause
		close(g.dead)
	}
}

// err is why the connection ended; nil while it lives.
func (g *guard) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause
}

// fail remembers the first cause and returns what the client is to be told. To an end that the client itself made it must be
// the plain "use of closed network connection", to every other one anything but that.
func (g *guard) fail(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed && g.cause == nil {
		return err
	}
	g.end(err)
	return endError{g.cause}
}

// endError carries a cause; its text cannot be mistaken for the one the client takes for its own closing.
type endError struct{ cause error }

func (e endError) Error() string { return "connection ended" }
func (e endError) Unwrap() error { return e.cause }

// Close is the client's.
func (g *guard) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	return g.Conn.Close()
}

// SetWriteDeadline does nothing: Write sets its own.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline bounds reading, as the client asks during the handshake; Write sets its own.
func (g *guard) SetDeadline(t time.Time) error { return g.Conn.SetReadDeadline(t) }

// Write sends one whole packet.
func (g *guard) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	g.noteSubscribe(p)
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.Conn.SetWriteDeadline(time.Now().Add(g.writeTimeout)); err != nil {
		return 0, g.fail(err)
	}
	n, err := g.Conn.Write(p)
	if err != nil {
		return n, g.fail(fmt.Errorf("send: %w", err))
	}
	if p[0]>>4 == packetPublish {
		g.published.Add(1)
		select {
		case g.wrote <- struct{}{}:
		default:
		}
	}
	return n, nil
}

// noteSubscribe remembers the identifier of a SUBSCRIBE, so that only its answer is let in.
func (g *guard) noteSubscribe(p []byte) {
	if p[0]>>4 != packetSubscribe {
		return
	}
	i := 1
	for i < len(p) && p[i]&0x80 != 0 {
		i++
	}
	if i+2 < len(p) {
		g.mu.Lock()
		g.subs[uint16(p[i+1])<<8|uint16(p[i+2])] = true
		g.mu.Unlock()
	}
}

// Read hands over what arrived, packet by packet, each checked before its first byte.
func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(g.head) == 0 && g.body == 0 {
		if err := g.next(); err != nil {
			return 0, g.fail(err)
		}
	}
	if len(g.head) > 0 {
		n := copy(p, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	n, err := g.r.Read(p[:min(len(p), g.body)])
	g.body -= n
	if err != nil {
		return n, g.fail(err)
	}
	return n, nil
}

// next reads and checks the fixed header of the next packet.
func (g *guard) next() error {
	first, err := g.r.ReadByte()
	if err != nil {
		return err
	}
	head, length := append(make([]byte, 0, 5), first), 0
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return protocolError{"a packet length of more than four bytes"}
		}
		b, err := g.r.ReadByte()
		if err != nil {
			return noEOF(err)
		}
		head = append(head, b)
		length |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			break
		}
	}
	if err := g.check(first>>4, first&0x0f, length); err != nil {
		return err
	}
	if length > maxInbound {
		return g.shorten(first, length)
	}
	g.head, g.body = head, length
	return nil
}

// shorten hands over a PUBLISH with the same topic and identifier, whose payload says that the real one was too long. So it is
// acknowledged, and whoever it was for refuses it in words.
func (g *guard) shorten(first byte, length int) error {
	b, err := g.r.Peek(2)
	if err != nil {
		return noEOF(err)
	}
	keep := 2 + (int(b[0])<<8 | int(b[1]))
	if first>>1&3 > 0 {
		keep += 2
	}
	if keep > maxTopic {
		return protocolError{fmt.Sprintf("a message of %d bytes with a topic of %d", length, keep)}
	}
	start := make([]byte, keep)
	if _, err := io.ReadFull(g.r, start); err != nil {
		return noEOF(err)
	}
	if _, err := g.r.Discard(length - keep); err != nil {
		return noEOF(err)
	}
	body := fmt.Appendf(start, message.TooLong+"%d bytes, at most %d are taken", length-keep, maxInbound-keep)
	g.head = append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
	return nil
}

func (g *guard) check(kind, flags byte, length int) error {
	if g.connack == (kind == packetConnack) {
		return protocolError{fmt.Sprintf("a packet of type %d out of turn", kind)}
	}
	switch kind {
	case packetConnack:
		return g.checkConnack(flags, length)
	case packetPublish:
		if qos := flags >> 1 & 3; qos > 1 {
			return protocolError{fmt.Sprintf("a message with QoS %d, which nobody asked for", qos)}
		}
		if length > maxSkipped {
			return protocolError{fmt.Sprintf("a message of %d bytes; the most taken is %d", length, maxInbound)}
		}
	case packetPuback:
		if flags != 0 || length != 2 {
			return protocolError{"a malformed PUBACK"}
		}
	case packetSuback:
		return g.checkSuback(flags, length)
	case packetPingresp:
		if flags != 0 || length != 0 {
			return protocolError{"a malformed PINGRESP"}
		}
	case packetGoodbye:
		return errGoodbye
	default:
		return protocolError{fmt.Sprintf("a packet of type %d", kind)}
	}
	return nil
}

func (g *guard) checkConnack(flags byte, length int) error {
	if flags != 0 || length != 2 {
		return protocolError{"a malformed CONNACK"}
	}
	b, err := g.r.Peek(2)
	if err != nil {
		return noEOF(err)
	}
	if b[1] > 5 { // the client knows no error for it and would go on with a closed socket
		return protocolError{fmt.Sprintf("CONNACK code %d", b[1])}
	}
	g.connack = true
	return nil
}

func (g *guard) checkSuback(flags byte, length int) error {
	if flags != 0 || length != 3 { // one topic a SUBSCRIBE
		return protocolError{"a malformed SUBACK"}
	}
	b, err := g.r.Peek(2)
	if err != nil {
		return noEOF(err)
	}
	id := uint16(b[0])<<8 | uint16(b[1])
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.subs[id] {
		return protocolError{fmt.Sprintf("a SUBACK for packet %d, which asked for nothing", id)}
	}
	delete(g.subs, id)
	return nil
}

// noEOF: an end within a packet is not a clean end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

package vision

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"heron/internal/jsonshape"
)

// headerSize is length and kind.
const headerSize = 5

// writer sends messages, one write each, from any goroutine. Its buffer is reused, so an observation costs one encoding and one system call.
type writer struct {
	mu      sync.Mutex
	conn    net.Conn
	timeout time.Duration // bound of one write; 0 is none
	buf     bytes.Buffer
	enc     *json.Encoder
}

func newWriter(c net.Conn, timeout time.Duration) *writer {
	w := &writer{conn: c, timeout: timeout}
	w.enc = json.NewEncoder(&w.buf)
	w.enc.SetEscapeHTML(false)
	return w
}

// encodeError is a message that cannot be sent as it is; the connection is still good.
type encodeError struct {
	kind kind
	err  error
}

func (e *encodeError) Error() string { return fmt.Sprintf("encode message %d: %v", e.kind, e.err) }

// send writes v as the payload of k. After an error that is no *encodeError the connection is of no further use.
func (w *writer) send(k kind, v any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(k)
	if err := w.enc.Encode(v); err != nil {
		return &encodeError{k, err}
	}
	return w.flush(k)
}

// sendPicture writes h and the JPEG.
func (w *writer) sendPicture(h pictureHeader, jpeg []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(kindPicture)
	w.buf.Write([]byte{0, 0, 0, 0})
	if err := w.enc.Encode(h); err != nil {
		return &encodeError{kindPicture, err}
	}
	b := w.buf.Bytes()
	binary.BigEndian.PutUint32(b[headerSize:], uint32(len(b)-headerSize-4))
	w.buf.Write(jpeg)
	return w.flush(kindPicture)
}

func (w *writer) begin(k kind) {
	if w.buf.Cap() > maxJSON {
		w.buf = bytes.Buffer{} // a picture's size is not kept for ever
	}
	w.buf.Reset()
	w.buf.Write([]byte{0, 0, 0, 0, byte(k)})
}

func (w *writer) flush(k kind) error {
	b := w.buf.Bytes()
	if n := len(b) - headerSize; n > k.limit() {
		return &encodeError{k, fmt.Errorf("%d bytes are more than %d", n, k.limit())}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	if w.timeout > 0 {
		if err := w.conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
			return err
		}
	}
	_, err := w.conn.Write(b)
	return err
}

// protocolError is a peer that does not keep to the protocol.
type protocolError struct{ what string }

func (e *protocolError) Error() string { return e.what }

func badf(format string, a ...any) error { return &protocolError{fmt.Sprintf(format, a...)} }

// reader takes messages from a peer that may be hostile: lengths are bounded before anything is allocated,
// and memory grows with the bytes that have come, not with those that were announced.
type reader struct {
	r   *bufio.Reader
	buf []byte
}

func newReader(r io.Reader) *reader { return &reader{r: bufio.NewReaderSize(r, 32<<10)} }

// next returns the next message; the payload is valid until the next call. io.EOF is an end between two messages.
func (r *reader) next() (kind, []byte, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return 0, nil, err
	}
	k := kind(h[4])
	limit, n := k.limit(), int64(binary.BigEndian.Uint32(h[:]))-1
	switch {
	case limit < 0:
		return 0, nil, badf("message of unknown kind %d", h[4])
	case n < 0 || n > int64(limit):
		return 0, nil, badf("message of kind %d announces %d bytes; the limit is %d", k, n, limit)
	}
	if err := r.fill(int(n)); err != nil {
		return 0, nil, err
	}
	return k, r.buf, nil
}

// fill reads n bytes into r.buf.
func (r *reader) fill(n int) error {
	const step = 64 << 10
	if cap(r.buf) > maxJSON && n <= step {
		r.buf = nil
	}
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		old, want := len(r.buf), min(n-len(r.buf), max(step, len(r.buf)))
		if cap(r.buf) < old+want {
			r.buf = append(make([]byte, 0, old+want), r.buf...)
		}
		r.buf = r.buf[:old+want]
		if _, err := io.ReadFull(r.r, r.buf[old:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// unmarshal decodes one JSON payload: nesting is bounded first, and nothing may follow it.
func unmarshal(b []byte, v any) error {
	if depth, _ := jsonshape.Of(b); depth > maxDepth {
		return badf("message is nested deeper than %d", maxDepth)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return badf("message is not what it should be: %v", err)
	}
	return nil
}

// splitPicture separates header and JPEG; the JPEG is a copy.
func splitPicture(b []byte) (picture, error) {
	if len(b) < 4 {
		return picture{}, badf("picture without a header")
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n > maxJSON || n > int64(len(b)-4) {
		return picture{}, badf("picture's header announces %d bytes of %d", n, len(b)-4)
	}
	var p picture
	if err := unmarshal(b[4:4+n], &p.pictureHeader); err != nil {
		return picture{}, err
	}
	p.JPEG = bytes.Clone(b[4+n:])
	return p, nil
}

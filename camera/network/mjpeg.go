package network

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"heron/camera"
)

// otherTypeError is an answer that is no JPEG stream.
type otherTypeError struct{ what, contentType string }

func (e *otherTypeError) Error() string {
	return fmt.Sprintf("%s: what comes (%s) is no video stream", e.what, e.contentType)
}

// mjpeg is a multipart stream of JPEGs: a camera.Grabber, so that pictures nobody wants are read and thrown away.
type mjpeg struct {
	what     string
	resp     *http.Response
	fetch    *fetcher
	in       *bufio.Reader
	boundary []byte // as the header names it, without dashes; from the first part on, as it stands before each part
	begun    bool   // the first part was found
	skipped  int    // bytes before the next part, white space aside
	ended    context.CancelCauseFunc
	watch    *time.Timer // ends the connection when a picture takes longer than timeout
	timeout  time.Duration
	decode   Decoder
	jpeg     []byte
	end      ending
	grabbed  bool
}

func openMJPEG(ctx context.Context, o camera.Options, f *fetcher, decode Decoder) (*mjpeg, error) {
	ctx, end := context.WithCancelCause(ctx)
	m := &mjpeg{what: f.what, fetch: f, ended: end, timeout: o.ReadTimeout, decode: decode}
	m.watch = time.AfterFunc(o.OpenTimeout, func() { end(errSilent) })
	resp, err := f.get(ctx, nil)
	switch m.resp = resp; {
	case err != nil:
	case resp.StatusCode == http.StatusNotModified:
		err = &statusError{m.what, resp.StatusCode}
	default:
		err = m.begin()
	}
	m.watch.Stop()
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *mjpeg) begin() error {
	ct := m.resp.Header.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(ct)
	if err != nil && strings.HasPrefix(strings.ToLower(ct), "multipart/") { // cameras write strange parameters
		kind, _, _ = strings.Cut(strings.ToLower(ct), ";")
		_, b, _ := strings.Cut(ct, "boundary=")
		b, _, _ = strings.Cut(b, ";")
		params = map[string]string{"boundary": strings.Trim(b, `" `)}
	}
	m.in = bufio.NewReaderSize(m.resp.Body, 64<<10)
	if !strings.HasPrefix(kind, "multipart/") && !m.untold(kind) {
		return &otherTypeError{m.what, kind}
	}
	m.boundary = []byte(strings.TrimLeft(params["boundary"], "-"))
	return nil
}

// untold says whether a server that does not know the type of what it sends sends parts: FFmpeg's does so, and to one client only.
func (m *mjpeg) untold(kind string) bool {
	if kind != "" && kind != "application/octet-stream" {
		return false
	}
	begin, _ := m.in.Peek(2) // what fails here fails for who reads on
	return string(begin) == "--"
}

// Grab reads the next part. A part that is no picture is passed over.
func (m *mjpeg) Grab() error {
	m.watch.Reset(m.timeout)
	defer m.watch.Stop()
	for {
		length, image, err := m.header()
		if err == nil {
			err = m.body(length)
		}
		if err != nil {
			return m.broken(err)
		}
		if image && len(m.jpeg) > 0 {
			m.grabbed = true
			return nil
		}
	}
}

// broken names what ended the stream.
func (m *mjpeg) broken(err error) error {
	if m.skipped > 0 && context.Cause(m.resp.Request.Context()) == errSilent {
		return fmt.Errorf("%s: %d bytes came and no picture began in time: what is between the pictures is not what the header says (%s)",
			m.what, m.skipped, clean(m.resp.Header.Get("Content-Type")))
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%s: the camera ended the stream, it gives no more frames", m.what)
	}
	return fmt.Errorf("%s: the stream broke, it gives no more frames: %w", m.what, because(m.resp.Request.Context(), err))
}

// maxHeader bounds what stands between two pictures.
const maxHeader = 16 << 10

// header skips to the next boundary and reads the part's header: its length, −1 if it has none.
func (m *mjpeg) header() (length int, image bool, err error) {
	length, image = -1, true
	began := false
	m.skipped = 0
	for n := 0; n < maxHeader+maxJPEG; {
		line, err := m.in.ReadSlice('\n')
		n += len(line)
		if !began {
			m.skipped += len(bytes.TrimSpace(line)) // the line end after a picture is nothing that came
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case !began:
			if began = m.parts(line); began {
				m.skipped = 0
			}
		case len(line) == 0:
			return length, image, nil
		case n > maxHeader:
			return 0, false, fmt.Errorf("a header of over %d bytes", maxHeader)
		}
		if !began {
			continue
		}
		if v, ok := field(line, "content-length:"); ok {
			if length, err = strconv.Atoi(string(v)); err != nil || length < 0 || length > maxJPEG {
				return 0, false, fmt.Errorf("a picture of %q bytes", v)
			}
		} else if v, ok := field(line, "content-type:"); ok {
			image = bytes.HasPrefix(bytes.ToLower(v), []byte("image/"))
		}
	}
	return 0, false, fmt.Errorf("no picture begins within %d bytes", maxHeader+maxJPEG)
}

// longBoundary is more than any boundary has: 70 bytes and dashes.
const longBoundary = 100

// parts says whether line stands between two parts. By the book that is two dashes and the boundary of the header, but cameras write the dashes
// into the header as well, or into neither, or another word altogether: what stands before the first part is what stands before each.
func (m *mjpeg) parts(line []byte) bool {
	if m.begun {
		return bytes.HasPrefix(line, m.boundary)
	}
	word := bytes.TrimLeft(line, "-")
	dashes := len(line) - len(word)
	switch {
	case len(line) > longBoundary:
		return false
	case len(m.boundary) > 0 && bytes.HasPrefix(word, m.boundary):
		m.boundary = bytes.Clone(line[:dashes+len(m.boundary)])
	case dashes >= 2 && len(word) > 0:
		m.boundary = bytes.Clone(bytes.TrimRight(line, " \t"))
	default:
		return false
	}
	m.begun = true
	return true
}

func field(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name):]), true
}

// body reads a part; one without a length ends at the next boundary, which is left in place.
func (m *mjpeg) body(length int) error {
	m.jpeg = m.jpeg[:0]
	if length > 0 { // some write 0 and send a picture
		if cap(m.jpeg) < length {
			m.jpeg = make([]byte, length, length+length/4)
		}
		m.jpeg = m.jpeg[:length]
		_, err := io.ReadFull(m.in, m.jpeg)
		return err
	}
	whole := true // the last line read was whole: a boundary may follow
	for len(m.jpeg) <= maxJPEG {
		if whole {
			next, err := m.in.Peek(len(m.boundary))
			if m.parts(next) {
				m.jpeg = bytes.TrimRight(m.jpeg, "\r\n")
				return nil
			}
			if err != nil {
				return err
			}
		}
		line, err := m.in.ReadSlice('\n')
		m.jpeg = append(m.jpeg, line...)
		if whole = err == nil; err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
	return fmt.Errorf("a picture of over %d bytes", maxJPEG)
}

// Read decodes the picture that was grabbed; without one it grabs first. A damaged one costs itself only.
func (m *mjpeg) Read(f *camera.Frame) error {
	if !m.grabbed {
		if err := m.Grab(); err != nil {
			return err
		}
	}
	m.grabbed = false
	return m.end.decoded(m.what, m.jpeg, f, m.decode)
}

func (e *ending) decoded(what string, data []byte, f *camera.Frame, decode Decoder) error {
	if kind := otherKind(data); kind != "" {
		return passing{fmt.Errorf("%s: what comes (%s, %d bytes) is no JPEG", what, kind, len(data))}
	}
	if e.brokeOff(data) {
		return fmt.Errorf("%s: damaged JPEG of %d bytes (it broke off): %w", what, len(data), camera.ErrDamaged)
	}
	var err error
	if f.Width, f.Height, err = jpegSize(data); err == nil {
		err = decode(data, f)
	}
	if err != nil {
		return fmt.Errorf("%s: damaged JPEG of %d bytes (%v): %w", what, len(data), err, camera.ErrDamaged)
	}
	return nil
}

// passing is an answer without a picture from a server that answers: the next one may have it, and nothing is opened anew.
type passing struct{ error }

func (passing) Is(target error) bool { return target == camera.ErrTemporary }

// otherKind is what data that does not even begin like a JPEG looks like; empty: it does.
func otherKind(data []byte) string {
	if len(data) == 0 {
		return "nothing"
	}
	if len(data) >= 2 && data[0] == 0xff && data[1] == 0xd8 {
		return ""
	}
	kind, _, _ := strings.Cut(http.DetectContentType(data), ";")
	return kind
}

// Close ends the connection.
func (m *mjpeg) Close() error {
	m.watch.Stop()
	m.ended(context.Canceled)
	if m.resp != nil {
		m.resp.Body.Close()
	}
	m.fetch.close()
	return nil
}

// Package network reads cameras over HTTP itself, JPEG streams and single pictures, and logs in to RTSP cameras for the driver that
// reads them. Passwords come from files and stay here: no message holds a part of one.
package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"heron/camera"
)

// Decoder makes a frame of a JPEG, reusing f.Pix where it is large enough. The JPEG's size was checked before and stands in f.
type Decoder func(data []byte, f *camera.Frame) error

const (
	maxJPEG     = 16 << 20 // bytes of one picture
	maxPixels   = 50 << 20 // of one picture; 8K is 33 million
	readTimeout = 5 * time.Second
	openTimeout = 10 * time.Second
)

// New serves rtsp:, rtsps:, http:, https: and snapshot+http(s): sources. RTSP, and what comes over HTTP and is no JPEG stream, is left
// to next, with user and password in the URL as that wants it.
//
// OpenCV opens one FFmpeg stream at a time in a process: a camera that takes connections and says nothing would keep the others out for as long as its
// opening may take, and their waiting would look like a driver that hangs. So an RTSP server has to answer before its stream is opened, and the
// streams wait for their turn here, in order.
func New(decode Decoder, next camera.Opener) camera.Opener {
	next = inTurn(next)
	streams, web := rtspOpener{next: next}, httpOpener{decode: decode, next: next}
	return func(ctx context.Context, o camera.Options) (camera.Device, error) {
		scheme := camera.Scheme(o.Source)
		rest, snapshot := strings.CutPrefix(o.Source, "snapshot+")
		switch scheme {
		case "rtsp", "rtsps", "http", "https", "snapshot+http", "snapshot+https":
		default:
			return nil, camera.ErrNotMine
		}
		o.Source = rest
		if o.OpenTimeout <= 0 {
			o.OpenTimeout = openTimeout
		}
		if o.ReadTimeout <= 0 {
			o.ReadTimeout = readTimeout
		}
		if o.Step == nil {
			o.Step = func() {}
		}
		l, u, err := credentials(o)
		if err != nil {
			return nil, err
		}
		switch {
		case snapshot:
			return openSnapshot(ctx, o, newFetcher(l, u), decode), nil
		case scheme == "http" || scheme == "https":
			return web.open(ctx, o, l, u)
		}
		return streams.open(ctx, o, l, u)
	}
}

// inTurn opens one stream at a time.
func inTurn(open camera.Opener) camera.Opener {
	turn := make(chan struct{}, 1)
	return func(ctx context.Context, o camera.Options) (camera.Device, error) {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for waits := true; waits; {
			select {
			case turn <- struct{}{}:
				waits = false
			case <-tick.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			o.Step()
		}
		defer func() { <-turn }()
		return open(ctx, o)
	}
}

// withLogin puts the login into the source, for drivers that take it from there.
func withLogin(o camera.Options, l login, u *url.URL) camera.Options {
	full := *u
	if l.user != "" || l.password != "" {
		full.User = url.UserPassword(l.user, l.password)
	}
	o.Source = full.String()
	return o
}

// httpOpener opens what comes over HTTP.
type httpOpener struct {
	decode Decoder
	next   camera.Opener
	direct sync.Map // source: the driver failed after a look at what comes; some servers take one connection, and the look was that
}

// open looks at what comes: a JPEG stream is read here.
func (h *httpOpener) open(ctx context.Context, o camera.Options, l login, u *url.URL) (camera.Device, error) {
	if _, direct := h.direct.LoadAndDelete(o.Source); direct {
		return h.next(ctx, withLogin(o, l, u))
	}
	f := newFetcher(l, u)
	s, err := openMJPEG(ctx, o, f, h.decode)
	var other *otherTypeError
	switch {
	case errors.As(err, &other) && strings.HasPrefix(other.contentType, "image/"):
		return nil, fmt.Errorf("%s: what comes is one picture, not a stream: write snapshot+%s:// to have it fetched again and again", f.what, u.Scheme)
	case errors.As(err, &other) && !strings.HasPrefix(other.contentType, "text/"):
		d, err := h.next(ctx, withLogin(o, l, u))
		if err != nil {
			h.direct.Store(o.Source, true)
		}
		return d, err
	case err != nil:
		return nil, err
	}
	return s, nil
}

// jpegSize reads the size out of a JPEG's header; pictures that would ask for too much memory are refused.
func jpegSize(data []byte) (width, height int, err error) {
	if len(data) < 4 || data[0] != 0xff || data[1] != 0xd8 {
		return 0, 0, errors.New("no JPEG")
	}
	for i := 2; i+9 < len(data); {
		if data[i] != 0xff {
			return 0, 0, errors.New("no marker where one is due")
		}
		marker := data[i+1]
		if marker == 0xff { // fill
			i++
			continue
		}
		if marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc {
			height, width = int(data[i+5])<<8|int(data[i+6]), int(data[i+7])<<8|int(data[i+8])
			if width == 0 || height == 0 || width*height > maxPixels {
				return 0, 0, fmt.Errorf("a size of %d×%d", width, height)
			}
			return width, height, nil
		}
		i += 2 + int(data[i+2])<<8 + int(data[i+3])
	}
	return 0, 0, errors.New("its header is cut off")
}

// ending tells pictures that broke off on their way: a decoder makes grey of what is missing. Some cameras never write the marker at the end, so it is
// missed only from one that has written it.
type ending struct{ seen bool }

func (e *ending) brokeOff(data []byte) bool {
	scan, end := bytes.LastIndex(data, []byte{0xff, 0xda}), bytes.LastIndex(data, []byte{0xff, 0xd9}) // a thumbnail in the header has its own, before the last scan
	whole := end > scan
	e.seen = e.seen || whole
	return e.seen && !whole
}

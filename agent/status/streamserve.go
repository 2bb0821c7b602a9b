package status

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	defaultFPS, maxFPS = 5, 10
	defaultStreamWidth = 640
	boundary           = "heron-frame"
	sendBuffer         = 64 << 10 // bytes in the kernel: what waits there is a queue of old pictures
)

// streamWidths are the widths there are: a wanted one is rounded to the next that is not smaller.
var streamWidths = [...]int{160, 320, 480, 640, 960, 1280}

// connKey finds a request's connection in its context.
type connKey struct{}

// stream serves live pictures of one camera until the viewer leaves or its time is over.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	camera, ok := s.camera(w, r, "/stream/NAME.mjpg")
	if !ok {
		return
	}
	k, fps, err := readForm(camera, r.URL.Query())
	if err != nil {
		text(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "multipart/x-mixed-replace; boundary="+boundary)
		return
	}
	v := s.streams.join(k, fps)
	if v == nil {
		w.Header().Set("Retry-After", "10")
		text(w, http.StatusServiceUnavailable, fmt.Sprintf("%d live views are open, and more this device does not give; close one, or use /snapshot/%s.jpg\n", s.streams.limits.viewers, camera))
		return
	}
	defer s.streams.leave(v)
	ctx, cancel := context.WithTimeout(r.Context(), s.streams.limits.life)
	defer cancel()
	if c, ok := r.Context().Value(connKey{}).(*limitedConn); ok {
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(sendBuffer) // where it cannot be set, a slow viewer lags more
		}
	}
	w.Header().Set("Content-Type", "multipart/x-mixed-replace; boundary="+boundary)
	_ = s.streams.send(ctx, w, v) // a viewer who left needs nothing more
}

// send writes pictures until one cannot be written, or ctx ends. The server's own deadlines are for short answers: here each picture has its own.
func (s *streams) send(ctx context.Context, w http.ResponseWriter, v *viewer) error {
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Time{}); err != nil { // or the context would end with it
		return err
	}
	defer func() { _ = rc.SetWriteDeadline(time.Now().Add(s.limits.write)) }() // of the answer's last bytes
	part := "--" + boundary + "\r\n"
	for {
		p, err := v.take(ctx)
		if err != nil {
			return err
		}
		if err := rc.SetWriteDeadline(time.Now().Add(s.limits.write)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%sContent-Type: image/jpeg\r\nContent-Length: %d\r\nHeron-Frame: %d\r\nHeron-Caption: %s\r\n\r\n",
			part, len(p.jpeg), p.frame, url.PathEscape(p.caption)); err != nil {
			return err
		}
		if _, err := w.Write(p.jpeg); err != nil {
			return err
		}
		// The next part's boundary goes with this picture: a browser shows one when it has seen its end.
		if _, err := fmt.Fprintf(w, "\r\n--%s\r\n", boundary); err != nil {
			return err
		}
		if err := rc.Flush(); err != nil {
			return err
		}
		part = ""
		s.frames.Add(1)
		s.sent.Add(uint64(len(p.jpeg)))
	}
}

// readForm reads what is asked for.
func readForm(camera string, q url.Values) (k form, fps float64, err error) {
	k, fps = form{camera: camera, width: defaultStreamWidth}, defaultFPS
	if k.draw, err = drawn(q.Get("draw")); err != nil {
		return k, 0, err
	}
	width, err := pictureWidth(q.Get("width"))
	if err != nil {
		return k, 0, err
	}
	if width > 0 {
		k.width = roundWidth(width)
	}
	if t := q.Get("fps"); t != "" {
		if fps, err = strconv.ParseFloat(t, 64); err != nil || !(fps >= 0.1 && fps <= maxFPS) {
			return k, 0, fmt.Errorf("fps is a number from 0.1 to %d", maxFPS)
		}
	}
	return k, fps, nil
}

func roundWidth(w int) int {
	for _, step := range streamWidths {
		if w <= step {
			return step
		}
	}
	return streamWidths[len(streamWidths)-1]
}

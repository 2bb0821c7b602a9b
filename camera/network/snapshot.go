package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"heron/camera"
)

// pollDefault is how often a picture is fetched where no rate is configured.
const pollDefault = 5 // a second

// snapshot fetches one picture after the other. ctx is the source's: its waiting ends with it.
type snapshot struct {
	ctx      context.Context
	fetch    *fetcher
	decode   Decoder
	timeout  time.Duration
	period   time.Duration
	next     time.Time
	modified http.Header // If-None-Match, If-Modified-Since
	given    bool        // a picture has come since it was opened
	jpeg     []byte
	end      ending
}

func openSnapshot(ctx context.Context, o camera.Options, f *fetcher, decode Decoder) *snapshot {
	fps := o.FPS
	if fps <= 0 {
		fps = pollDefault
	}
	return &snapshot{ctx: ctx, fetch: f, decode: decode, timeout: o.ReadTimeout, period: time.Duration(float64(time.Second) / fps), modified: http.Header{}}
}

// Read waits until a picture is due and fetches it. One that has not changed since the last counts as new: the camera lives.
func (s *snapshot) Read(f *camera.Frame) error {
	if err := s.wait(); err != nil {
		return err
	}
	if err := s.get(); err != nil {
		return err
	}
	err := s.end.decoded(s.fetch.what, s.jpeg, f, s.decode)
	s.given = s.given || err == nil
	return err
}

// passes marks what a server that has given pictures answers when it is busy.
func (s *snapshot) passes(err error) error {
	var status *statusError
	if s.given && (!errors.As(err, &status) || status.code >= 500 || status.code == http.StatusTooManyRequests) {
		return passing{err}
	}
	return err
}

func (s *snapshot) wait() error {
	d := time.Until(s.next)
	s.next = s.next.Add(s.period)
	if now := time.Now(); s.next.Before(now) {
		s.next = now.Add(s.period)
	}
	if d <= 0 {
		return s.ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *snapshot) get() error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.timeout, errSilent)
	defer cancel()
	resp, err := s.fetch.get(ctx, s.modified)
	var status *statusError
	switch {
	case errors.As(err, &status):
		return s.passes(err)
	case err != nil:
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		if _, _, bad := jpegSize(s.jpeg); bad != nil { // not changed since what?
			return &statusError{s.fetch.what, resp.StatusCode}
		}
		return nil
	}
	if ct := resp.Header.Get("Content-Type"); strings.HasPrefix(ct, "multipart/") {
		return fmt.Errorf("%s: what comes is a stream, not one picture: leave snapshot+ away", s.fetch.what)
	} else if strings.HasPrefix(ct, "text/html") {
		return s.passes(fmt.Errorf("%s: what comes (%s) is no picture", s.fetch.what, clean(ct)))
	}
	s.modified = http.Header{}
	s.jpeg, err = readAll(s.jpeg[:0], io.LimitReader(resp.Body, maxJPEG+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: the picture broke off: %w", s.fetch.what, because(ctx, err))
	case len(s.jpeg) > maxJPEG:
		s.jpeg = nil
		return fmt.Errorf("%s: a picture of over %d MiB", s.fetch.what, maxJPEG>>20)
	}
	_, _, bad := jpegSize(s.jpeg)
	for from, to := range map[string]string{"Etag": "If-None-Match", "Last-Modified": "If-Modified-Since"} {
		if v := resp.Header.Get(from); v != "" && bad == nil {
			s.modified.Set(to, v)
		}
	}
	return nil
}

// readAll is io.ReadAll into a buffer that is used again.
func readAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// Close frees the connection.
func (s *snapshot) Close() error {
	s.fetch.close()
	return nil
}

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// guard puts timers around every exchange: net/http has none for a body.
type guard struct {
	base http.RoundTripper
	lim  Limits
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watched{ctx: ctx, cancel: cancel, lim: g.lim}
	w.head = time.AfterFunc(g.lim.HeaderTimeout, func() {
		if !w.answered.Load() {
			cancel(fmt.Errorf("%w: no answer within %v", ErrStalled, g.lim.HeaderTimeout))
		}
	})
	out := req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody && req.GetBody != nil { // all of ours have it
		out.Body = &watchedUpload{ReadCloser: req.Body, w: w}
		out.GetBody = func() (io.ReadCloser, error) { // for a connection that turns out to be dead
			b, err := req.GetBody()
			return &watchedUpload{ReadCloser: b, w: w}, err
		}
	}
	resp, err := g.base.RoundTrip(out)
	w.answered.Store(true)
	w.head.Stop()
	if err != nil {
		err = w.cause(err)
		cancel(nil)
		return nil, err
	}
	w.ReadCloser = resp.Body
	w.timer = time.AfterFunc(g.lim.IdleTimeout, func() {
		cancel(fmt.Errorf("%w: no byte for %v", ErrStalled, g.lim.IdleTimeout))
	})
	w.timer.Stop()
	resp.Body = w
	return resp, nil
}

// watched is a body whose server must keep sending.
type watched struct {
	io.ReadCloser
	ctx      context.Context // of this exchange; its cause says which timer ended it
	cancel   context.CancelCauseFunc
	head     *time.Timer // until the answer's header is there; an upload sets it anew from another goroutine
	timer    *time.Timer // while a Read is under way
	lim      Limits
	answered atomic.Bool
	spent    time.Duration // reading, in this window
	got      int64
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.lim.IdleTimeout)
	start := time.Now()
	n, err := w.ReadCloser.Read(p)
	w.timer.Stop()
	w.spent += time.Since(start)
	w.got += int64(n)
	if err != nil {
		return n, w.cause(err)
	}
	if w.spent < w.lim.RateWindow {
		return n, nil
	}
	rate := float64(w.got) / w.spent.Seconds()
	if rate < float64(w.lim.MinRate) {
		return n, fmt.Errorf("%w: %.1f bytes/s over %v, less than %d", ErrStalled, rate, w.spent.Round(time.Second/10), w.lim.MinRate)
	}
	w.spent, w.got = 0, 0
	return n, nil
}

func (w *watched) Close() error {
	w.timer.Stop()
	err := w.ReadCloser.Close()
	w.cancel(nil)
	return err
}

// cause names the timer that ended the exchange, if one did.
func (w *watched) cause(err error) error {
	if c := context.Cause(w.ctx); c != nil && err != io.EOF && errors.Is(c, ErrStalled) {
		return c
	}
	return err
}

// watchedUpload is a body that we send: each piece that the connection takes gives the server its time anew.
type watchedUpload struct {
	io.ReadCloser
	w *watched
}

func (u *watchedUpload) Read(p []byte) (int, error) {
	if !u.w.answered.Load() {
		u.w.head.Reset(max(u.w.lim.HeaderTimeout, u.w.lim.IdleTimeout))
	}
	return u.ReadCloser.Read(p)
}

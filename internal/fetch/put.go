package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// Put sends size bytes, from the beginning of r, to a URL and returns their SHA-256 in hex, which is computed first: r is read twice, and
// once more for each further try. The budget counts the whole, once, and never holds it up: somebody asked for it. Redirects are not followed. After Put returns r is not touched.
func (c *Client) Put(ctx context.Context, rawURL string, r io.ReadSeeker, size int64, contentType string) (string, error) {
	u, err := c.parse(rawURL)
	if err != nil {
		return "", fmt.Errorf("send: %w", err)
	}
	digest, err := digestOfUpload(ctx, r, size)
	if err != nil {
		return "", fmt.Errorf("send: %w", err)
	}
	c.count(ctx, size)
	l := lender{r: r, size: size, c: c}
	defer l.end()
	j := job{c: c, method: http.MethodPut, mirrors: []*url.URL{u}, body: l.lend, gained: func() int64 { return 0 }}
	j.header = func(h http.Header) { h.Set("Content-Type", contentType) }
	j.handle = func(resp *http.Response) error {
		if err := j.refused(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent); err != nil {
			return err
		}
		if resp.StatusCode == http.StatusNoContent {
			return nil
		}
		first, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		if err != nil {
			return err
		}
		if page(first) { // a login page takes anything
			return struck(fmt.Errorf("%w: it answers with a web page", ErrPortal))
		}
		return nil
	}
	if err := j.run(ctx); err != nil {
		return "", fmt.Errorf("send: %w", err)
	}
	return digest, nil
}

func digestOfUpload(ctx context.Context, r io.ReadSeeker, size int64) (string, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	n := &countingReader{r: io.LimitReader(r, size+1)}
	digest, err := digestOf(ctx, n)
	if err == nil && n.n != size {
		err = fmt.Errorf("there are not %d bytes to send, as was said", size)
	}
	return digest, err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// lender gives the reader to one try at a time: net/http may still be reading for a try that is over.
type lender struct {
	r    io.ReadSeeker
	size int64
	c    *Client
	last *lent
}

func (l *lender) lend() (io.Reader, error) {
	l.end()
	if _, err := l.r.Seek(0, io.SeekStart); err != nil {
		return nil, ended(err)
	}
	l.last = &lent{r: io.LimitReader(l.r, l.size), size: l.size, c: l.c}
	return l.last, nil
}

func (l *lender) end() {
	if l.last != nil {
		l.last.Close()
	}
}

type lent struct {
	mu    sync.Mutex
	r     io.Reader
	size  int64
	c     *Client
	ended bool
}

// Len tells the length to retryablehttp.
func (l *lent) Len() int { return int(l.size) }

func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return 0, errors.New("this try is over")
	}
	n, err := l.r.Read(p)
	l.c.n.sent.Add(int64(n))
	if err != nil && err != io.EOF { // our file, not the link
		err = ended(err)
	}
	return n, err
}

func (l *lent) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	return nil
}

package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// getTries is few: what keeps a device from the metadata is to be told soon, and who asks for it asks again.
const getTries = 3

// Get gets a small file, of at most max bytes, into memory. Its content is not verified: it is for metadata that carries signatures.
// The budget counts it and never holds it up.
// More than max bytes is ErrSize; an answer that is not the file is a StatusError, which is fs.ErrNotExist too where there is none.
func (c *Client) Get(ctx context.Context, rawURL string, max int64) ([]byte, error) {
	u, err := c.parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	var got []byte
	m := &meter{c: c, block: 16 << 10, anyway: true}
	j := job{c: c, method: http.MethodGet, mirrors: []*url.URL{u}, meter: m, gained: func() int64 { return 0 }, most: min(getTries, c.cfg.Limits.Attempts)}
	j.header = func(http.Header) { m.left = max + 1 }
	j.handle = func(resp *http.Response) (err error) {
		if err := j.refused(resp, http.StatusOK); err != nil {
			return err
		}
		if err := readable(resp); err != nil {
			return err
		}
		if resp.ContentLength > max {
			return struck(fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrSize, resp.ContentLength, max))
		}
		got, err = readSmall(ctx, m, resp.Body, max)
		return err
	}
	m.left = max + 1
	if err := j.run(ctx); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return got, nil
}

func readSmall(ctx context.Context, m *meter, body io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(readerFunc(func(p []byte) (int, error) { return m.read(ctx, body, p) }), most+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(b)) > most:
		return nil, struck(fmt.Errorf("%w: more than the %d bytes allowed", ErrSize, most))
	case page(b):
		return nil, struck(fmt.Errorf("%w: it sends a web page", ErrPortal))
	}
	return b, nil
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

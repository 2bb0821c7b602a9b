package fetch

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// Request is a file to fetch. Size and SHA256 come from signed metadata.
type Request struct {
	URLs     []string                // the same file at one or more mirrors, asked in turns
	Path     string                  // where it is to be; Path.part and Path.part.journal are beside it while it is under way
	Size     int64                   // bytes
	SHA256   string                  // 64 hex digits
	Progress func(done, total int64) // nil, or called at the start and after each block, from the goroutine of File; it must not block
	Waits    func(why error)         // nil, or called likewise after each try that another one follows: together they can take an hour
}

// maxRestarts bounds how often one call begins anew: an object that changes, a server that cannot resume.
const maxRestarts = 5

// File fetches r.URLs to r.Path, from where an earlier call, in this process or one that was killed, left off. After nil the file is whole,
// verified and safe on the disk. If it is there already, nothing is asked of anybody. After an error, what was there under that name is
// untouched, and the part stays for the next call if anything in it is of use; Discard removes it. The folder must exist. Of two calls for one
// Path at a time the second gets ErrBusy.
func (c *Client) File(ctx context.Context, r Request) error {
	mirrors, err := c.checkRequest(&r)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if there(ctx, r) {
		return nil
	}
	p, err := openPart(r.Path, r.Size, r.SHA256, c.cfg.KeepFree)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	d := download{c: c, ctx: ctx, r: r, p: p}
	d.meter = meter{c: c, block: blockSize, left: p.size - p.state.Done}
	d.job = job{c: c, method: http.MethodGet, mirrors: mirrors, header: d.ask, handle: d.answer, meter: &d.meter, gained: func() int64 { return d.got }, waits: r.Waits}
	if err := d.run(); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	c.n.files.Add(1)
	return nil
}

func (c *Client) checkRequest(r *Request) ([]*url.URL, error) {
	r.SHA256 = strings.ToLower(r.SHA256)
	if b, err := hex.DecodeString(r.SHA256); err != nil || len(b) != sha256.Size {
		return nil, fmt.Errorf("%q is not a SHA-256 digest of 64 hex digits", r.SHA256)
	}
	if r.Size < 0 || r.Path == "" || len(r.URLs) == 0 {
		return nil, errors.New("a file needs a size, a path and at least one URL")
	}
	var mirrors []*url.URL
	for _, raw := range r.URLs {
		u, err := c.parse(raw)
		if err != nil {
			return nil, err
		}
		mirrors = append(mirrors, u)
	}
	return mirrors, nil
}

// there is true if the file is in place, to the last bit.
func there(ctx context.Context, r Request) bool {
	f, err := os.Open(r.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() != r.Size {
		return false
	}
	got, err := digestOf(ctx, f)
	return err == nil && got == r.SHA256
}

// download is one call of File.
type download struct {
	job
	c        *Client
	ctx      context.Context
	r        Request
	p        *part
	meter    meter
	got      int64 // bytes of all tries
	restarts int
}

func (d *download) run() error {
	d.tell()
	var err error
	if d.p.state.Done == d.p.size { // all there: a kill came between the last byte and the rename
		if err = d.finish(); err == nil {
			return nil
		}
		if !errors.Is(err, ErrDigest) {
			return errors.Join(err, d.p.close())
		}
		d.c.n.restarted.Add(1) // it cannot be told who was wrong, then; ask anew
		if err = d.forget(); err != nil {
			return errors.Join(err, d.p.close())
		}
	}
	if err = d.job.run(d.ctx); err == nil {
		return nil
	}
	var space *SpaceError
	if errors.As(err, &space) || d.p.state.Done == 0 { // nothing worth keeping the space for
		d.p.remove()
		return err
	}
	return errors.Join(err, d.p.close())
}

func (d *download) tell() {
	if d.r.Progress != nil {
		d.r.Progress(d.p.state.Done, d.p.size)
	}
}

// answer takes one response: as the rest of the file, as all of it, or not at all.
func (d *download) answer(resp *http.Response) error {
	done := d.p.state.Done
	if code := resp.StatusCode; done > 0 && (code == http.StatusRequestedRangeNotSatisfiable || code == http.StatusPreconditionFailed) {
		return d.restart(&StatusError{code})
	}
	wanted := []int{http.StatusOK}
	if done > 0 {
		wanted = append(wanted, http.StatusPartialContent)
	}
	if err := d.refused(resp, wanted...); err != nil {
		return err
	}
	if err := readable(resp); err != nil {
		return err
	}
	in := bufio.NewReaderSize(resp.Body, blockSize)
	if resp.StatusCode == http.StatusPartialContent {
		if err := d.rest(resp); err != nil {
			return err
		}
		d.c.n.resumed.Add(1)
	} else if err := d.whole(resp, in); err != nil {
		return err
	}
	if err := d.copy(in, resp.ContentLength < 0); err != nil {
		return err
	}
	return d.finished()
}

// restart forgets what is there and asks again.
func (d *download) restart(why error) error {
	if err := d.restarted(why); err != nil {
		return err
	}
	return &fault{kind: again, err: why}
}

func (d *download) restarted(why error) error {
	d.c.n.restarted.Add(1)
	d.c.log.Info("fetch: begin anew", "file", d.p.path, "had", d.p.state.Done, "reason", why)
	if d.restarts++; d.restarts > maxRestarts {
		return ended(fmt.Errorf("%w: %w", ErrChanging, why))
	}
	return d.forget()
}

// forget throws away what is there.
func (d *download) forget() error {
	if err := d.p.anewFrom(0); err != nil {
		return ended(err)
	}
	d.meter.left = d.p.size
	d.tell()
	return nil
}

// copy appends the body. No byte over the size is written, and one over it, possible where no length was given, is an error.
func (d *download) copy(in *bufio.Reader, unbounded bool) error {
	block := make([]byte, blockSize)
	for left := d.p.size - d.p.state.Done; left > 0; left = d.p.size - d.p.state.Done {
		n, err := d.meter.read(d.ctx, in, block[:min(left, blockSize)])
		d.got += int64(n)
		if werr := d.p.write(block[:n]); werr != nil {
			return ended(werr)
		}
		d.tell()
		switch {
		case err == nil || d.p.state.Done == d.p.size:
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			return fmt.Errorf("the connection ended after %d of %d bytes: %w", d.p.state.Done, d.p.size, io.ErrUnexpectedEOF)
		default:
			return err
		}
	}
	if unbounded {
		if _, err := in.ReadByte(); err == nil {
			if err := d.forget(); err != nil {
				return err
			}
			return struck(fmt.Errorf("%w: more than the %d bytes that are signed", ErrSize, d.p.size))
		}
	}
	return nil
}

// finished verifies and places; a wrong digest costs the mirror its place, unless the bytes came from several.
func (d *download) finished() error {
	mixed := d.p.state.Mixed
	err := d.finish()
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, ErrDigest):
		return ended(err)
	case mixed:
		return d.restart(err)
	}
	if ferr := d.forget(); ferr != nil {
		return ferr
	}
	return struck(err)
}

func (d *download) finish() error {
	if err := d.p.verify(d.ctx); err != nil {
		if errors.Is(err, ErrDigest) {
			d.c.n.digests.Add(1)
		}
		return err
	}
	if err := d.p.place(); err != nil {
		return err
	}
	_ = d.p.release() // all is synced
	return nil
}

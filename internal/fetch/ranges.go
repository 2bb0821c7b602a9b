package fetch

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// source is a name of the mirror that is asked now, for the journal.
func (d *download) source() string {
	sum := sha256.Sum256([]byte(d.mirrors[d.at].String()))
	return hex.EncodeToString(sum[:8])
}

// ask adds the range that is missing.
func (d *download) ask(h http.Header) {
	s := &d.p.state
	if s.Done == 0 {
		return
	}
	h.Set("Range", fmt.Sprintf("bytes=%d-", s.Done))
	if s.Validator != "" && s.From == d.source() {
		h.Set("If-Range", s.Validator)
	}
}

// rest checks that a 206 is the rest of the object that we have the beginning of.
func (d *download) rest(resp *http.Response) error {
	from, to, total, ok := contentRange(resp.Header.Get("Content-Range"))
	s := &d.p.state
	if !ok || total != d.p.size || from != s.Done || to != total-1 || resp.ContentLength >= 0 && resp.ContentLength != to-from+1 {
		return d.restart(fmt.Errorf("the server sends another range (%.60q) than asked for", resp.Header.Get("Content-Range")))
	}
	v, src := validator(resp.Header), d.source()
	if s.From == src && v != s.Validator {
		return d.restart(errors.New("the object changed on the server"))
	}
	if s.From != src {
		s.Mixed = true
	}
	s.Validator, s.From = v, src
	return nil
}

// whole begins the file with this response, which may be the answer to a range.
func (d *download) whole(resp *http.Response, in *bufio.Reader) error {
	if first, _ := in.Peek(int(min(32, d.p.size))); page(first) {
		return struck(fmt.Errorf("%w: it sends a web page", ErrPortal))
	}
	if n := resp.ContentLength; n >= 0 && n != d.p.size {
		return struck(fmt.Errorf("%w: %d bytes, %d are signed", ErrSize, n, d.p.size))
	}
	if d.p.state.Done > 0 {
		if err := d.restarted(errors.New("the server sends the whole instead of the rest")); err != nil {
			return err
		}
	}
	d.p.state.Validator, d.p.state.From = validator(resp.Header), d.source()
	return nil
}

// validator is what If-Range may carry: a strong ETag, else the date of the last change.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); len(tag) <= 256 && len(tag) > 1 && tag[0] == '"' {
		return tag
	}
	if t, err := http.ParseTime(h.Get("Last-Modified")); err == nil {
		return t.UTC().Format(http.TimeFormat)
	}
	return ""
}

// contentRange parses "bytes 100-199/200".
func contentRange(v string) (from, to, total int64, ok bool) {
	unit, rest, _ := strings.Cut(v, " ")
	span, all, ok1 := strings.Cut(rest, "/")
	a, b, ok2 := strings.Cut(span, "-")
	var errs [3]error
	from, errs[0] = strconv.ParseInt(a, 10, 64)
	to, errs[1] = strconv.ParseInt(b, 10, 64)
	total, errs[2] = strconv.ParseInt(all, 10, 64)
	return from, to, total, strings.EqualFold(unit, "bytes") && ok1 && ok2 && errors.Join(errs[:]...) == nil && from >= 0 && to >= from && total > to
}

package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"heron/internal/backoff"
)

// progressStep is how many bytes a try must bring to count as progress; less, and a dripping server could keep us for ever.
const progressStep = 64 << 10

// job is one transfer: tries against one mirror after the other until it is done, hopeless or out of patience.
type job struct {
	c       *Client
	method  string
	mirrors []*url.URL
	at      int                        // the mirror that is asked
	header  func(http.Header)          // what this try asks for
	body    retryablehttp.ReaderFunc   // nil: none
	handle  func(*http.Response) error // consumes the answer
	gained  func() int64               // bytes so far, in all tries; never falls
	meter   *meter                     // nil: nothing is received that counts
	waits   func(why error)            // nil, or told why another try follows
	most    int                        // tries in a row without progress; 0: what the limits say
	tries   int                        // … so far
	marked  int64                      // gained when there was progress last
	pause   backoff.Backoff            // between tries
	next    retry                      // the try that follows
	struck  []error                    // why mirrors were given up
}

// retry is a try that follows another.
type retry struct {
	wait time.Duration
	why  error // what the last one ended with; nil: none ended yet
}

// run does the tries. Its errors name the mirrors without their queries.
func (j *job) run(ctx context.Context) error {
	j.pause = backoff.Backoff{Min: j.c.cfg.Limits.RetryMin, Max: j.c.cfg.Limits.RetryMax}
	var body any
	if j.body != nil {
		body = j.body
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, j.method, j.mirrors[0].String(), body)
	if err != nil {
		return errors.New("fetch: the request cannot be made")
	}
	if err := j.prepare(req.Request); err != nil {
		return err
	}
	req.SetResponseHandler(func(resp *http.Response) error {
		defer resp.Body.Close()
		return j.handle(resp)
	})
	rc := retryablehttp.Client{HTTPClient: j.c.http, RetryMax: math.MaxInt32, CheckRetry: j.check, PrepareRetry: j.prepare,
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return j.next.wait },
		ErrorHandler: func(resp *http.Response, err error, _ int) (*http.Response, error) { return resp, err },
	}
	resp, err := rc.Do(req)
	if resp != nil {
		resp.Body.Close()
	}
	if err != nil && ctx.Err() != nil {
		if cause := context.Cause(ctx); j.next.why == nil || !errors.Is(cause, context.DeadlineExceeded) {
			return cause
		}
		return fmt.Errorf("%w; the last try: %v", context.DeadlineExceeded, j.next.why) // no %w: how it ended is what callers go by
	}
	return err
}

// prepare makes the request one to the mirror whose turn it is.
func (j *job) prepare(req *http.Request) error {
	u := *j.mirrors[j.at]
	req.URL, req.Host = &u, u.Host
	if j.meter != nil {
		if err := j.meter.grant(req.Context()); err != nil {
			return err
		}
	}
	req.Header = http.Header{"User-Agent": {j.c.cfg.UserAgent}, "Accept-Encoding": {"identity"}}
	if j.header != nil {
		j.header(req.Header)
	}
	return nil
}

// check decides after each try whether another follows, when and where.
func (j *job) check(ctx context.Context, _ *http.Response, err error) (bool, error) {
	if err == nil { // first the header: the handler looks at it; then the handler: done
		return false, nil
	}
	f := judge(ctx, err)
	u := j.mirrors[j.at]
	if errors.Is(f, ErrPortal) {
		j.c.n.portals.Add(1)
	}
	if f.kind == end {
		return false, f.err
	}
	moved := j.gained()-j.marked >= progressStep
	if moved {
		j.marked, j.tries = j.gained(), 0
		j.pause.Reset()
	}
	j.tries++
	told := fmt.Errorf("%s: %w", shown(u), f.err)
	j.next = retry{why: told}
	switch {
	case f.kind == mirror:
		j.struck = append(j.struck, told)
		j.mirrors = slices.Delete(slices.Clone(j.mirrors), j.at, j.at+1)
		if len(j.mirrors) == 0 {
			return false, errors.Join(j.struck...)
		}
		j.at %= len(j.mirrors)
	case j.tries >= cmp.Or(j.most, j.c.cfg.Limits.Attempts):
		return false, errors.Join(append(j.struck, fmt.Errorf("%w; %d tries in a row without progress", told, j.tries))...)
	default:
		j.next.wait = j.wait(f.after)
		if f.after == 0 && !moved { // who asks for patience, or delivers, is asked again; else the next one has its turn
			j.at = (j.at + 1) % len(j.mirrors)
		}
	}
	if j.waits != nil {
		j.waits(told)
	}
	j.c.n.retries.Add(1)
	j.c.log.Debug("fetch: another try", "url", shown(u), "error", f.err, "wait", j.next.wait, "next", j.mirrors[j.at].Host)
	return true, nil
}

// wait is the full-jitter back-off, or what the server asks for within the cap, spread so that a fleet does not come back at once.
func (j *job) wait(after time.Duration) time.Duration {
	w := j.pause.Next()
	if after <= 0 {
		return w
	}
	most := j.c.cfg.Limits.RetryAfterMax
	if after >= most {
		return most - rand.N(most/10+1)
	}
	return min(after+w, most)
}

// refused turns an answer's header into a fault if it is not one of the statuses wanted.
func (j *job) refused(resp *http.Response, wanted ...int) error {
	code := resp.StatusCode
	switch {
	case code == http.StatusNetworkAuthenticationRequired:
		return struck(fmt.Errorf("%w: %w", ErrPortal, &StatusError{code}))
	case slices.Contains(wanted, code):
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests,
		code >= 500 && code != http.StatusNotImplemented && code != http.StatusHTTPVersionNotSupported:
		return &fault{kind: again, err: &StatusError{code}, after: j.retryAfter(resp.Header)}
	}
	return struck(&StatusError{code})
}

// retryAfter reads seconds or a date. The date is held against the server's own, so a wrong clock here does not matter.
func (j *job) retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseUint(v, 10, 64); err == nil {
		return time.Duration(min(s, 1<<20)) * time.Second
	}
	until, err := http.ParseTime(v)
	if err != nil {
		if v != "" && strings.Trim(v, "0123456789") == "" { // more seconds than fit
			return 1 << 20 * time.Second
		}
		return 0
	}
	now := j.c.cfg.Now()
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(0, min(until.Sub(now), 1<<20*time.Second))
}

// readable refuses bodies that are not the plain bytes of a file.
func readable(resp *http.Response) error {
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return struck(fmt.Errorf("the server sends the content encoded as %.20q, which nobody asked for", e))
	}
	kind, _, _ := strings.Cut(strings.ToLower(resp.Header.Get("Content-Type")), ";")
	if kind = strings.TrimSpace(kind); kind == "text/html" || kind == "application/xhtml+xml" {
		return struck(fmt.Errorf("%w: it sends a web page (%s)", ErrPortal, kind))
	}
	return nil
}

// page is true for the first bytes of a web page. No model, metadata or archive begins like one.
func page(first []byte) bool {
	s := strings.ToLower(strings.TrimLeft(strings.TrimPrefix(string(first), "\ufeff"), " \t\r\n"))
	for _, p := range []string{"<!doctype html", "<!--", "<?xml", "<html", "<head", "<body", "<script", "<meta", "<title"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

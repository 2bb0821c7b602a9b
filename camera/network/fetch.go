package network

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"heron/camera"
)

// fetcher makes the requests to one camera: directly, without a proxy, and with a login only to that very server.
type fetcher struct {
	client *http.Client
	login  login
	url    *url.URL
	what   string // for messages: the URL without what is secret in it
	asked  *challenge
	count  int
}

func newFetcher(l login, u *url.URL) *fetcher {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute, MaxConnsPerHost: 2, DisableCompression: true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return &fetcher{login: l, url: u, what: camera.Redact(u.String()),
		client: &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 || r.URL.Host != u.Host || r.URL.Scheme != u.Scheme {
				return http.ErrUseLastResponse // the login is for this server alone
			}
			return nil
		}}}
}

// get asks for the URL and logs in where that is asked for. The answer's status is 200 or 304. ctx bounds the body too.
func (f *fetcher) get(ctx context.Context, header http.Header) (*http.Response, error) {
	for try := 0; ; try++ {
		resp, err := f.once(ctx, header)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.what, because(ctx, err))
		}
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotModified {
			return resp, nil
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection serves the next request
		resp.Body.Close()
		if to, err := resp.Location(); err == nil {
			return nil, fmt.Errorf("%s: the server answers %d and sends on to %s, which is not followed: if that is the camera, write it as source", f.what, resp.StatusCode, camera.Redact(to.String()))
		}
		if resp.StatusCode != http.StatusUnauthorized {
			return nil, &statusError{f.what, resp.StatusCode}
		}
		if f.login == (login{}) {
			return nil, fmt.Errorf("%s: 401: the camera wants a user and a password: set credentials.username and credentials.password_file", f.what)
		}
		c, err := choose(resp.Header.Values("WWW-Authenticate"))
		if err != nil {
			return nil, fmt.Errorf("%s: 401: %w", f.what, err)
		}
		if try > 0 && (f.asked == nil || c.params["stale"] != "true" || try > 1) {
			f.asked = nil
			return nil, fmt.Errorf("%s: 401: the camera refuses the user or the password", f.what)
		}
		f.asked, f.count = &c, 0
	}
}

// statusError is an answer other than a picture.
type statusError struct {
	what string
	code int
}

func (e *statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s: the server answers %d %s", e.what, e.code, http.StatusText(e.code)))
}

func (f *fetcher) once(ctx context.Context, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url.String(), nil)
	if err != nil {
		return nil, errors.New("the URL is not valid")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Accept-Encoding", "identity") // without a word a server may compress what it likes
	if f.asked != nil {
		f.count++
		req.Header.Set("Authorization", f.asked.answer(f.login, http.MethodGet, f.url.RequestURI(), f.count))
	}
	return f.client.Do(req)
}

func (f *fetcher) close() { f.client.CloseIdleConnections() }

// errSilent is a camera that takes longer than it may.
var errSilent = errors.New("no picture in time: the camera is silent")

// because says why there is no answer, without the URL that net/http would quote.
func because(ctx context.Context, err error) error {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var where *url.Error
	switch {
	case ctx.Err() != nil:
		return cmpErr(context.Cause(ctx), ctx.Err())
	case errors.As(err, &dns):
		return errors.New("the host name cannot be resolved")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.As(err, &cert):
		return untrusted(cert.Err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return errors.New("the camera answers without encryption: write http:// instead of https://")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the host does not answer")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return errors.New("the camera closed the connection")
	case errors.As(err, &where):
		return where.Err
	}
	return err
}

// untrusted says why a certificate does not do. The authority is looked at last by the verifier: what is wrong with name or dates is said first.
func untrusted(err error) error {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return errors.New("the camera's certificate is for another name than this address: write a name that stands in it (as DNS name or IP address), or give the camera a certificate for this address")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return errors.New("the camera's certificate has expired, or is not valid yet: look at its dates, and at the clocks of camera and device")
	}
	return errors.New("the camera's certificate is not trusted: add its authority to this device's certificates (update-ca-certificates)")
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Package fetch brings files over a bad link from servers that are not trusted, and sends a few there.
//
// What a file has to be (size, SHA-256) is known before, from signed metadata; where it comes from is not trusted at all: a mirror can be
// slow, lie, change its mind, or be the login page of a hotel. File resumes after a cut, a kill or a power cut and fetches at most the last
// megabyte again; nothing has its final name before it is whole, verified as it lies on disk and synced. HTTPS only, to hosts of an
// allow-list only, over HTTP/1.1 without transparent decompression. Nothing here runs in the background and every wait ends: by the
// context, the limits, or both. The query of a URL (a signature, often) never gets into an error or a log.
package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Config of a Client. Hosts is required, all else has a default.
type Config struct {
	Hosts             []string         // "https://models.example.com" or "https://10.0.0.5:8443": who may be asked, and redirected to
	AllowLoopbackHTTP bool             // http:// to 127.0.0.0/8, ::1 and localhost, if in Hosts too; for tests and demonstrations
	TLS               TLSFiles         // whom to trust, and who we are
	UserAgent         string           // default "heron"
	Limits            Limits           // zero fields get their default
	KeepFree          int64            // bytes of the file system that must stay free beside a download
	Budget            Budget           // nil: no budget
	Log               *slog.Logger     // nil: silent
	Now               func() time.Time // the clock that certificates are checked against (a floor, where there is no RTC); nil: time.Now
}

// TLSFiles are paths of PEM files. The certificate and its key are read for each connection, so they may be renewed under way.
type TLSFiles struct {
	CA        string // instead of the system's authorities
	Cert, Key string // our own; both or neither
}

// Limits say when a server is given up. A zero field has the default named beside it.
type Limits struct {
	HeaderTimeout time.Duration // 30 s: name, connection, TLS and the whole of the answer's header, for each redirect
	IdleTimeout   time.Duration // 30 s: without a byte of the body
	MinRate       int64         // 64 bytes/s of the body over RateWindow of reading; -1: none. Waiting for the budget or the disk does not count
	RateWindow    time.Duration // 60 s
	RetryMin      time.Duration // 1 s: the first ceiling of the waits between tries, which doubles
	RetryMax      time.Duration // 60 s: the last
	RetryAfterMax time.Duration // 5 min: a server cannot ask for more patience
	Attempts      int           // 8: tries in a row without 64 KiB of progress; of Get at most 3
}

// Stats count since New. Bytes are those of bodies.
type Stats struct {
	Received, Sent   int64
	Files            int64 // verified and in place
	Resumed          int64 // transfers taken up in the middle, by a range that the server honoured
	Restarted        int64 // begun anew because the object changed or the server could not resume
	Retries          int64
	RedirectsRefused int64
	Portals          int64
	Digests          int64 // whole files with a wrong digest
}

type counters struct {
	received, sent, files, resumed, restarted, retries, redirects, portals, digests atomic.Int64
}

// Client does transfers, any number at a time. Close it when none is under way.
type Client struct {
	cfg   Config
	allow allowList
	http  *http.Client
	idle  func()
	n     counters
	log   *slog.Logger
}

// New checks the configuration and reads the authorities; it does not touch the network.
func New(cfg Config) (*Client, error) {
	allow, err := newAllowList(cfg.Hosts, cfg.AllowLoopbackHTTP)
	if err != nil {
		return nil, err
	}
	tc, err := tlsConfig(cfg.TLS)
	if err != nil {
		return nil, err
	}
	tc.Time = cfg.Now
	if cfg.UserAgent == "" {
		cfg.UserAgent = "heron"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits = cfg.Limits.withDefaults()
	t := &http.Transport{ // no HTTP/2: one connection a transfer, and the timers below see the bytes of that transfer only
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: cfg.Limits.HeaderTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        tc,
		TLSHandshakeTimeout:    cfg.Limits.HeaderTimeout,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost:        8,
		IdleConnTimeout:        30 * time.Second,
	}
	c := &Client{cfg: cfg, allow: allow, idle: t.CloseIdleConnections, log: cfg.Log}
	c.http = &http.Client{Transport: &guard{base: t, lim: cfg.Limits}, CheckRedirect: c.redirect}
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.idle() }

// Stats since New.
func (c *Client) Stats() Stats {
	n := &c.n
	return Stats{Received: n.received.Load(), Sent: n.sent.Load(), Files: n.files.Load(), Resumed: n.resumed.Load(), Restarted: n.restarted.Load(),
		Retries: n.retries.Load(), RedirectsRefused: n.redirects.Load(), Portals: n.portals.Load(), Digests: n.digests.Load()}
}

func (l Limits) withDefaults() Limits {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	or(&l.HeaderTimeout, 30*time.Second)
	or(&l.IdleTimeout, 30*time.Second)
	or(&l.RateWindow, time.Minute)
	or(&l.RetryMin, time.Second)
	or(&l.RetryMax, time.Minute)
	or(&l.RetryAfterMax, 5*time.Minute)
	l.RetryMax = max(l.RetryMax, l.RetryMin)
	if l.MinRate == 0 {
		l.MinRate = 64
	}
	if l.Attempts <= 0 {
		l.Attempts = 8
	}
	return l
}

func tlsConfig(f TLSFiles) (*tls.Config, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("fetch: read the authorities: %w", err)
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("fetch: %s holds no certificate in PEM form", f.CA)
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("fetch: a client certificate needs its key and the key its certificate; name both files or neither")
	}
	if f.Cert == "" {
		return tc, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("fetch: client certificate %s: %w", f.Cert, err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	tc.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return tc, nil
}

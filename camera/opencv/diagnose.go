//go:build opencv

package opencv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"heron/camera"
)

// diagnose finds out, after FFmpeg failed to open a stream, what it does not tell. The answer holds no part of the URL.
func diagnose(ctx context.Context, o camera.Options, took time.Duration) string {
	if patience := min(silence(o), o.OpenTimeout); took >= patience {
		return fmt.Sprintf("no picture came within %v", patience)
	}
	u, err := url.Parse(o.Source)
	if err != nil || u.Hostname() == "" {
		return "the URL has no host, or a character in it needs %-encoding"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = map[string]string{"rtsp": "554", "rtsps": "322", "http": "80", "https": "443"}[u.Scheme]
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return because(err)
	}
	conn.Close()
	if u.Scheme == "http" || u.Scheme == "https" {
		return status(ctx, o.Source)
	}
	return "the server answers, but gives no stream that can be read"
}

func because(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "the host name cannot be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "the host does not answer"
	default:
		return "the host cannot be reached"
	}
}

func status(ctx context.Context, source string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return "the URL is not valid"
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "the server does not speak HTTP, or not in time"
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "the server answers " + resp.Status
	}
	return fmt.Sprintf("what comes (%s) is not a video stream", resp.Header.Get("Content-Type"))
}

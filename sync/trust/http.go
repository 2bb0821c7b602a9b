package trust

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// requestWithin bounds one metadata file, from the first byte asked to the last received.
const requestWithin = 60 * time.Second

// HTTP fetches over net/http. It follows no redirect to another host and no step from https down to http.
type HTTP struct{ client *http.Client }

// NewHTTP wraps a client; nil means one with bounds of its own.
func NewHTTP(client *http.Client) *HTTP {
	if client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = 30 * time.Second
		t.DisableCompression = true // what is signed is what lies on the server
		client = &http.Client{Transport: t, CheckRedirect: sameHost}
	}
	return &HTTP{client}
}

func sameHost(next *http.Request, via []*http.Request) error {
	if len(via) > 3 || next.URL.Host != via[0].URL.Host || next.URL.Scheme != via[0].URL.Scheme {
		return errors.New("redirected too often, or to another host")
	}
	return nil
}

// Get implements Fetcher. 404 and 403 (an object store that hides what it does not have) are fs.ErrNotExist.
func (h *HTTP) Get(ctx context.Context, url string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	body, err := h.open(ctx, url)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return readUpTo(body, limit)
}

func readUpTo(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrMismatch, limit)
	}
	return data, nil
}

func (h *HTTP) open(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	switch res.StatusCode {
	case http.StatusOK:
		return res.Body, nil
	case http.StatusNotFound, http.StatusForbidden:
		err = fs.ErrNotExist
	default:
		err = fmt.Errorf("the server answered %s", res.Status)
	}
	return nil, errors.Join(err, res.Body.Close())
}

// Download streams a target into a file: written beside it, length and digest checked while it passes, then renamed. A file that is
// already right is left as it is. It neither resumes nor retries; internal/fetch does.
func (h *HTTP) Download(ctx context.Context, t TargetInfo, file string) error {
	if Matches(t, file) == nil {
		return nil
	}
	body, err := h.open(ctx, t.URLs[0])
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: target %s", ErrNotFound, t.Path)
	}
	if err != nil {
		return fmt.Errorf("%w: target %s: %w", ErrNetwork, t.Path, err)
	}
	defer body.Close()
	tmp, err := os.CreateTemp(filepath.Dir(file), ".unverified-*")
	if err != nil {
		return err
	}
	defer func() { _ = tmp.Close(); _ = os.Remove(tmp.Name()) }() // both fail after the rename, as they should
	if err := check(t, io.TeeReader(body, tmp)); err != nil {
		return err
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

// Matches says whether a file is, byte for byte, what was signed.
func Matches(t TargetInfo, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return check(t, f)
}

// check reads at most one byte more than was signed.
func check(t TargetInfo, r io.Reader) error {
	short, long := sha256.New(), sha512.New()
	n, err := io.Copy(io.MultiWriter(short, long), io.LimitReader(r, t.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: target %s: %w", ErrNetwork, t.Path, err)
	case n != t.Size:
		return fmt.Errorf("%w: target %s: %d bytes or more where %d were signed", ErrMismatch, t.Path, n, t.Size)
	case t.SHA256 == "" && t.SHA512 == "":
		return fmt.Errorf("%w: target %s: no digest to hold it against", ErrMismatch, t.Path)
	case t.SHA256 != "" && hex.EncodeToString(short.Sum(nil)) != t.SHA256, t.SHA512 != "" && hex.EncodeToString(long.Sum(nil)) != t.SHA512:
		return fmt.Errorf("%w: target %s: another digest than was signed", ErrMismatch, t.Path)
	}
	return nil
}

// Files fetches from a folder on this machine, by file:// URLs: for a publisher who checks what has not been uploaded yet.
type Files struct{}

// Get implements Fetcher.
func (Files) Get(_ context.Context, address string, limit int64) ([]byte, error) {
	name, err := FilePath(address)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readUpTo(f, limit)
}

// FilePath is the file that a file:// URL of this package names. On disk a name is what a web server makes of its URL: unquoted once.
func FilePath(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "file" {
		return "", fmt.Errorf("%.200q is no file:// address", address)
	}
	return filepath.FromSlash(u.Path), nil
}

// Check reads a target through and keeps nothing.
func (h *HTTP) Check(ctx context.Context, t TargetInfo) error {
	body, err := h.open(ctx, t.URLs[0])
	if err != nil {
		return fmt.Errorf("%w: target %s: %w", ErrNetwork, t.Path, err)
	}
	defer body.Close()
	return check(t, body)
}

package fetch

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const maxRedirects = 5

// allowList holds scheme://host:port of whom we may talk to.
type allowList struct {
	origins  []string
	loopback bool
}

func newAllowList(hosts []string, loopback bool) (allowList, error) {
	l := allowList{loopback: loopback}
	for _, h := range hosts {
		u, err := url.Parse(h)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
			return l, errors.New("fetch: a host that may be asked is written https://NAME or https://NAME:PORT, without a path; one of those given is not")
		}
		if err := l.scheme(u); err != nil {
			return l, fmt.Errorf("fetch: host %s: %w", u.Host, err)
		}
		l.origins = append(l.origins, origin(u))
	}
	if len(l.origins) == 0 {
		return l, errors.New("fetch: no host may be asked; name at least one as https://NAME")
	}
	return l, nil
}

// origin is scheme://host:port, the port always there.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port)
}

func (l allowList) scheme(u *url.URL) error {
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("scheme %q is not allowed, only https", u.Scheme)
	case !l.loopback:
		return errors.New("http is not allowed, only https")
	case u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback():
		return errors.New("http is allowed to this machine only, elsewhere https")
	}
	return nil
}

// check says why u may not be asked, or nil.
func (l allowList) check(u *url.URL) error {
	if err := l.scheme(u); err != nil {
		return err
	}
	if u.User != nil {
		return errors.New("a name or password in a URL is not allowed")
	}
	if !slices.Contains(l.origins, origin(u)) {
		return fmt.Errorf("the host %s is not in the list of those that may be asked", u.Host)
	}
	return nil
}

// parse checks a URL that we were given.
func (c *Client) parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil { // its text holds the URL
		return nil, errors.New("the URL cannot be parsed")
	}
	if err := c.allow.check(u); err != nil {
		return nil, fmt.Errorf("%s: %w", shown(u), err)
	}
	return u, nil
}

// shown is a URL without what may be secret in it.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

var loginWord = regexp.MustCompile(`(?i)(captive|portal|hotspot|log-?in|sign-?in|splash|wlan|wifi|welcome|generate_204)`)

// redirect is asked by net/http before it follows one.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	err := c.allow.check(req.URL)
	switch {
	case via[0].Method != http.MethodGet:
		err = errors.New("an upload is not redirected; ask for the URL it really goes to")
	case len(via) > maxRedirects:
		err = fmt.Errorf("more than %d in a row", maxRedirects)
	case err == nil && via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https":
		err = errors.New("from https to http")
	}
	if err == nil {
		return nil
	}
	c.n.redirects.Add(1)
	if c.allow.check(req.URL) != nil && loginWord.MatchString(req.URL.Host+req.URL.Path) {
		return struck(fmt.Errorf("%w: redirected to %s", ErrPortal, shown(req.URL)))
	}
	return struck(fmt.Errorf("%w: %s: %w", ErrRedirect, shown(req.URL), err))
}

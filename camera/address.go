package camera

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Address is a source taken apart: "pictures:/folder?loop=true" is scheme "pictures", path "/folder", query loop=true.
type Address struct {
	Scheme string
	Path   string // all between the scheme's colon and the last question mark, taken literally
	Query  url.Values
}

// ParseAddress takes a source apart for drivers whose path is a file name. Only the named query keys are allowed.
func ParseAddress(source string, keys ...string) (Address, error) {
	scheme, rest, ok := strings.Cut(source, ":")
	if !ok || scheme == "" {
		return Address{}, fmt.Errorf("source %q has no scheme: write for example v4l2:/dev/video0 or pictures:/folder", Redact(source))
	}
	a := Address{Scheme: scheme, Path: rest}
	if i := strings.LastIndexByte(rest, '?'); i >= 0 {
		q, err := url.ParseQuery(rest[i+1:])
		if err != nil {
			return Address{}, fmt.Errorf("source %q: options after the question mark: %w", Redact(source), err)
		}
		a.Path, a.Query = rest[:i], q
	}
	return a, a.check(source, keys)
}

func (a Address) check(source string, keys []string) error {
next:
	for k := range a.Query {
		for _, known := range keys {
			if k == known {
				continue next
			}
		}
		if len(keys) == 0 {
			return fmt.Errorf("source %q takes no options, got %q", Redact(source), k)
		}
		return fmt.Errorf("source %q: unknown option %q (known: %s)", Redact(source), k, strings.Join(keys, ", "))
	}
	return nil
}

// Flag reads an option that is true or false; absent is false.
func (a Address) Flag(key string) (bool, error) {
	switch v := a.Query.Get(key); v {
	case "", "false", "0", "no":
		return false, nil
	case "true", "1", "yes":
		return true, nil
	default:
		return false, fmt.Errorf("option %s of a %s: source is %q: write true or false", key, a.Scheme, v)
	}
}

// Scheme is what stands before a source's first colon.
func Scheme(source string) string {
	s, _, _ := strings.Cut(source, ":")
	return s
}

// Redact makes a source fit for messages: no user information, no values of options, nothing of a pipeline.
func Redact(source string) string {
	scheme, rest, ok := strings.Cut(source, ":")
	if scheme == "gstreamer" {
		return "gstreamer:…"
	}
	if !ok || !strings.HasPrefix(rest, "//") {
		return source
	}
	rest = rest[2:]
	// A password may hold a slash that was not escaped: whatever stands before the last @ goes.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = rest[at+1:]
	}
	if q := strings.IndexAny(rest, "?#"); q >= 0 {
		rest = rest[:q] + "?…"
	}
	return scheme + "://" + rest
}

// FirstOf tries each opener until one does not answer ErrNotMine. The main program composes its drivers with it.
func FirstOf(openers ...Opener) Opener {
	return func(ctx context.Context, o Options) (Device, error) {
		for _, open := range openers {
			d, err := open(ctx, o)
			if !errors.Is(err, ErrNotMine) {
				return d, err
			}
		}
		return nil, fmt.Errorf("source %q: no driver for this scheme (known: v4l2, usb, csi, rtsp, http, snapshot+http, gstreamer, file, pictures, testcard)", Redact(o.Source))
	}
}

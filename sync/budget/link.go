package budget

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"sync"
	"time"
)

const (
	routeFor    = 10 * time.Second // a route is asked for anew after so long: a modem may have taken over
	routeWithin = 5 * time.Second
)

// link is what bytes come over.
type link struct {
	name    string // empty: not known
	metered bool
}

// links finds out which link leads to the host, at most every ten seconds.
type links struct {
	route    func(ctx context.Context, host string) (string, error)
	host     string
	patterns []string

	mu    sync.Mutex
	known link
	at    time.Time
}

// now is the link that leads to the host. Where no link is named as metered, nobody asks.
func (l *links) now(ctx context.Context) link {
	if len(l.patterns) == 0 {
		return link{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.at.IsZero() && time.Since(l.at) < routeFor {
		return l.known
	}
	ctx, cancel := context.WithTimeout(ctx, routeWithin)
	defer cancel()
	name, err := l.route(ctx, l.host)
	l.at = time.Now()
	if err == nil { // else it is as it was: whoever asks cannot connect either, and says why
		l.known = link{name: name, metered: Match(l.patterns, name)}
	}
	return l.known
}

// Match says whether a link has one of these names; * and ? stand for any.
func Match(patterns []string, name string) bool {
	return name != "" && slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// RouteTo names the network interface that leads to host:port: the kernel is asked by a UDP socket, which sends nothing. A tunnel hides what
// is below it.
func RouteTo(ctx context.Context, host string) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", host)
	if err != nil {
		return "", err
	}
	defer c.Close()
	local, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return "", errors.New("the socket has no address")
	}
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range all {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(local.IP) {
				return i.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no interface has the address %s", local.IP)
}

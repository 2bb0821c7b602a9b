package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// session is one connection: never used again once lost, so that a token without error is a PUBACK.
type session struct {
	client paho.Client
	lost   chan struct{}

	mu     sync.Mutex
	conn   net.Conn
	closed bool
}

// opened keeps the connection under the client, so that it can be cut.
func (s *session) opened(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = c
	if s.closed {
		_ = c.Close()
	}
}

// cut ends the connection under the client, which then notices.
func (s *session) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// connect makes one connection with all its subscriptions.
func (l *Link) connect(ctx context.Context) error {
	dialling, cancel := context.WithTimeout(ctx, l.timing.connect)
	defer cancel()
	s := &session{lost: make(chan struct{})}
	o, err := l.options(dialling, s)
	if err != nil {
		return err
	}
	s.client = paho.NewClient(o)
	token := s.client.Connect()
	if err := l.await(dialling, s, token, l.timing.connect); err != nil {
		s.drop()
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, l.conf.Broker, connectReason(err, token.(*paho.ConnectToken).ReturnCode(), l.conf))
	}
	if err := l.subscribe(ctx, s); err != nil {
		s.drop()
		return err
	}
	l.set(s)
	return nil
}

// connectReason adds the next step to what is known to be a matter of settings.
func connectReason(err error, code byte, c Config) error {
	if code == 4 || code == 5 {
		return fmt.Errorf("it rejects user name or password (CONNACK %d)", code)
	}
	u, _ := c.broker() // it was dialled
	secure := u != nil && slices.Contains([]string{"mqtts", "ssl", "tls", "wss"}, u.Scheme)
	text, next := err.Error(), ""
	cut := strings.HasSuffix(text, "reset by peer") || strings.HasSuffix(text, "EOF") || strings.HasSuffix(text, "does not look like a TLS handshake")
	switch {
	case strings.Contains(text, "signed by unknown authority"):
		next = "name the broker's authority with --ca, or ca: in fleet.yaml"
	case strings.Contains(text, "tls: certificate required"):
		next = "give --cert and --key, or cert: and key: in fleet.yaml"
	case strings.Contains(text, "remote error: tls: unknown certificate authority"), cut && secure && c.Cert != "":
		next = "the broker perhaps does not know the authority of your --cert"
	case cut && secure:
		next = "does this port speak TLS? if not, write mqtt://"
	case cut:
		next = "does this port expect TLS? then write mqtts://"
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, next)
}

func (l *Link) options(ctx context.Context, s *session) (*paho.ClientOptions, error) {
	password, err := l.conf.password()
	if err != nil {
		return nil, err
	}
	u, err := l.conf.broker()
	if err != nil {
		return nil, err
	}
	secure, err := l.conf.tls(u.Hostname())
	if err != nil {
		return nil, err
	}
	o := paho.NewClientOptions().AddBroker("tcp://" + u.Host).SetClientID(l.id).SetUsername(l.conf.Username).SetPassword(password).
		SetAutoReconnect(false).SetConnectRetry(false).SetCleanSession(true).SetOrderMatters(true).SetProtocolVersion(4).
		SetKeepAlive(30 * time.Second).SetPingTimeout(10 * time.Second).SetWriteTimeout(10 * time.Second).SetConnectTimeout(l.timing.connect).
		SetStore(paho.NewMemoryStore()).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { l.received(m) }).
		SetConnectionLostHandler(func(paho.Client, error) { close(s.lost) })
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		c, err := dial(ctx, u, secure)
		if err == nil {
			c = &capped{Conn: c}
			s.opened(c)
		}
		return c, err
	})
	return o, nil
}

func dial(ctx context.Context, u *url.URL, secure *tls.Config) (net.Conn, error) {
	switch u.Scheme {
	case "ws", "wss":
		left := 10 * time.Second
		if end, ok := ctx.Deadline(); ok {
			left = time.Until(end)
		}
		return paho.NewWebsocket(u.String(), secure, left, nil, nil)
	case "mqtts", "ssl", "tls":
		return (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", u.Host)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", u.Host)
}

// drop ends a connection without ceremony.
func (s *session) drop() {
	s.client.Disconnect(0)
	s.cut()
}

func (l *Link) hangUp() {
	l.mu.Lock()
	s := l.now
	l.mu.Unlock()
	if s != nil {
		s.client.Disconnect(250)
	}
}

// subscribe asks for each filter, and takes a refusal, which the client reports as success, for what it is.
func (l *Link) subscribe(ctx context.Context, s *session) error {
	for _, sub := range l.subs {
		token := s.client.Subscribe(sub.Filter, sub.QoS, nil)
		if err := l.answered(ctx, s, token); err != nil {
			return fmt.Errorf("%w: subscribe %s: %w", ErrUnreachable, sub.Filter, err)
		}
		for _, code := range token.(*paho.SubscribeToken).Result() {
			if code > 2 {
				return fmt.Errorf("subscribe %s: the broker refuses it (SUBACK 0x%x); check its access list", sub.Filter, code)
			}
		}
	}
	return nil
}

// answered waits for the answer to a SUBSCRIBE. It stands behind the retained documents of the filters before it, for which a large fleet on a thin link
// needs its time: as long as they come, the broker is there.
func (l *Link) answered(ctx context.Context, s *session, token paho.Token) error {
	for {
		asked := time.Now()
		err := l.await(ctx, s, token, l.timing.ack)
		l.mu.Lock()
		moves := l.last.After(asked)
		l.mu.Unlock()
		if !errors.Is(err, errNoAnswer) || !moves {
			return err
		}
	}
}

// capped keeps a broken broker from making the MQTT client allocate 256 MiB: it follows the packets' lengths.
type capped struct {
	net.Conn
	body  int // bytes of the packet still to come
	head  int // bytes of its fixed header read so far
	size  int
	shift int
}

const maxPacket = 1 << 20 // what a batch of a foreign device may have; ours stay below 128 KiB

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for i := 0; i < n; {
		if c.body > 0 {
			skip := min(c.body, n-i)
			c.body -= skip
			i += skip
			continue
		}
		if c.head++; c.head > 1 {
			c.size |= int(p[i]&0x7f) << c.shift
			c.shift += 7
			if c.size > maxPacket || c.shift > 28 {
				return 0, fmt.Errorf("the broker sends a packet of more than %d bytes", maxPacket)
			}
			if p[i]&0x80 == 0 {
				c.body, c.head, c.size, c.shift = c.size, 0, 0, 0
			}
		}
		i++
	}
	return n, err
}

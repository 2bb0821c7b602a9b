package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/internal/atomicfile"
	"heron/internal/clock"
	"heron/sync/message"
)

// configError is something in our own files that keeps us from connecting.
type configError struct{ err error }

func (e configError) Error() string { return e.err.Error() }
func (e configError) Unwrap() error { return e.err }

// handshakeError is what kept TLS from coming to be.
type handshakeError struct{ err error }

func (e handshakeError) Error() string { return "TLS: " + e.err.Error() }
func (e handshakeError) Unwrap() error { return e.err }

// connackError is the broker's refusal to a CONNECT, by its code.
type connackError byte

func (e connackError) Error() string {
	switch e {
	case 1:
		return "the broker does not speak MQTT 3.1.1 (CONNACK 1)"
	case 2:
		return "the broker rejects the client identifier (CONNACK 2); check device.id"
	case 3:
		return "the broker is there but its service is not (CONNACK 3)"
	case 4:
		return "the broker rejects user name or password (CONNACK 4); check uplink.credentials"
	default:
		return "the broker says that this device is not authorised (CONNACK 5); check uplink.credentials and the broker's access list"
	}
}

// next is what a person can do; empty where time heals it.
func (e connackError) next() string {
	switch e {
	case 1:
		return "name another broker with uplink.broker, or let this one speak MQTT 3.1.1"
	case 2:
		return "choose another device.id, or see which identifiers the broker takes"
	case 3:
		return ""
	}
	return "check uplink.credentials and the broker's access list"
}

// connect makes one connection up to the CONNACK. The will it leaves with the broker carries the number of the next session.
func (u *Uplink) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, u.timing.connect)
	defer cancel()
	password, err := u.conf.password()
	if err != nil {
		return nil, configError{err}
	}
	number, err := u.nextSession(ctx)
	if err != nil {
		return nil, err
	}
	conn, under, err := u.dial(ctx)
	if err != nil {
		return nil, err
	}
	s := u.newSession(newGuard(conn, u.timing.write), under, number)
	s.client = paho.NewClient(u.options(s, password))
	if err := s.greet(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// errNotOpen: the outbox did not give a session number in time.
var errNotOpen = errors.New("the outbox is not open yet")

// nextSession is the number for the next connection. One that no broker has seen is used again: a device without a network
// would otherwise count, and write to its disk, at every try. Where the outbox has none to give (its disk fails), the wall clock
// stands in: delivering matters more, and it is greater than any count.
func (u *Uplink) nextSession(ctx context.Context) (uint64, error) {
	if u.session != 0 {
		return u.session, nil
	}
	n, err := u.outbox.Session(ctx)
	if ctx.Err() != nil {
		return 0, errNotOpen
	}
	if err != nil {
		n = uint64(time.Now().Unix())
	}
	u.session = n
	return n, nil
}

func (u *Uplink) options(s *session, password string) *paho.ClientOptions {
	will := u.state("offline", "lost", s.number)
	o := paho.NewClientOptions().AddBroker("tcp://"+u.broker.host).SetClientID(u.conf.Device).
		SetUsername(u.conf.Username).SetPassword(password).
		SetAutoReconnect(false).SetConnectRetry(false).SetCleanSession(true).SetOrderMatters(false).SetProtocolVersion(4).
		SetKeepAlive(u.conf.KeepAlive).SetPingTimeout(u.timing.ping).SetWriteTimeout(u.timing.write).SetConnectTimeout(u.timing.connect).
		SetStore(paho.NewMemoryStore()).
		SetBinaryWill(u.topic("state"), will, 1, true).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { s.received(m) }).
		SetConnectionLostHandler(func(_ paho.Client, err error) {
			s.conn.abort(err) // what the client found by itself: no answer to a ping, a packet it cannot read
			close(s.gone)
		})
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return s.conn, nil })
	return o
}

// greet sends CONNECT and waits for its answer.
func (s *session) greet(ctx context.Context) error {
	token := s.client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
		s.conn.abort(fmt.Errorf("wait for CONNACK: %w", context.Cause(ctx)))
		<-token.Done() // at once: reading and writing fail now
	}
	err := token.Error()
	if code := token.(*paho.ConnectToken).ReturnCode(); err != nil && code >= 1 && code <= 5 {
		return connackError(code) // no session came to be: its number is still good
	}
	s.u.session = 0
	if cause := s.conn.err(); cause != nil {
		err = fmt.Errorf("greet the broker: %w", cause)
	}
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		s.conn.abort(err)
	}
	return err
}

// state is the document on the topic state.
func (u *Uplink) state(status, reason string, session uint64) []byte {
	return mustJSON(message.State{
		V: 1, Status: status, Session: session, Boot: clock.BootID(), Since: time.Now().UTC().Truncate(time.Millisecond), Reason: reason, Agent: u.conf.Agent,
	})
}

// topic is below this device's own.
func (u *Uplink) topic(below string) string {
	return strings.Join([]string{u.conf.Root, u.conf.Group, u.conf.Device, below}, "/")
}

// dial opens the connection, TLS or websocket included, and returns with it the wire under it.
func (u *Uplink) dial(ctx context.Context) (net.Conn, *wire, error) {
	var conf *tls.Config
	if u.broker.tls {
		var err error
		if conf, err = u.tlsConfig(); err != nil {
			return nil, nil, configError{err}
		}
	}
	if u.broker.socket {
		w, err := u.dialWebsocket(ctx, conf)
		return w, w, err
	}
	d := net.Dialer{Timeout: u.timing.dial, KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error { return tuneSocket(c, u.timing.dead) }}
	raw, err := d.DialContext(ctx, "tcp", u.broker.host)
	if err != nil {
		return nil, nil, err
	}
	w := &wire{Conn: raw, meter: &u.meter, patience: u.timing.write}
	if conf == nil {
		return w, w, nil
	}
	c := tls.Client(w, conf)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, handshakeError{err}
	}
	return c, w, nil
}

// dialWebsocket leaves the dialling to the client's own websocket, which knows no context: a connection that comes late is closed.
func (u *Uplink) dialWebsocket(ctx context.Context, conf *tls.Config) (*wire, error) {
	type opened struct {
		conn net.Conn
		err  error
	}
	done := make(chan opened)
	u.strays.Go(func() {
		c, err := paho.NewWebsocket(u.broker.url.String(), conf, u.timing.dial, nil, nil)
		select {
		case done <- opened{c, err}:
		case <-ctx.Done():
			if err == nil {
				_ = c.Close()
			}
		}
	})
	select {
	case o := <-done:
		if o.err != nil {
			return nil, fmt.Errorf("websocket: %w", o.err)
		}
		if err := tuneUnder(o.conn, u.timing.dead); err != nil {
			_ = o.conn.Close()
			return nil, fmt.Errorf("websocket: set TCP_USER_TIMEOUT: %w", err)
		}
		return &wire{Conn: o.conn, meter: &u.meter, patience: u.timing.write}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tlsConfig reads the files anew, so that a renewed certificate is used at the next connect.
func (u *Uplink) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.broker.url.Hostname(), Time: u.conf.Now}
	if u.conf.CA != "" {
		pem, err := atomicfile.Read(u.conf.CA)
		if err != nil {
			return nil, fmt.Errorf("uplink.credentials.ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("uplink.credentials.ca: %s holds no PEM certificate", u.conf.CA)
		}
	}
	if u.conf.Cert == "" {
		return conf, nil
	}
	cert, err := atomicfile.Read(u.conf.Cert)
	if err != nil {
		return nil, fmt.Errorf("uplink.credentials.cert: %w", err)
	}
	key, err := atomicfile.Read(u.conf.Key)
	if err != nil {
		return nil, fmt.Errorf("uplink.credentials.key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("uplink.credentials: %s and %s: %w", u.conf.Cert, u.conf.Key, err)
	}
	conf.Certificates = []tls.Certificate{pair}
	return conf, nil
}

// cause is why there is no link, and what a person can do about it: empty where time heals it.
type cause struct{ reason, next string }

// classify says whether an error is a refusal, which time alone does not heal, and puts it into words.
func classify(err error) (refused bool, why cause) {
	var (
		config  configError
		connack connackError
		cert    *tls.CertificateVerificationError
		header  tls.RecordHeaderError
		op      *net.OpError
		hand    handshakeError
	)
	switch {
	case err == nil:
		return false, cause{reason: "the connection ended"}
	case errors.As(err, &config):
		return true, cause{config.Error(), "correct the setting or the file that it names; files are read again at each try"}
	case errors.As(err, &connack):
		return connack != 3, cause{connack.Error(), connack.next()}
	case errors.As(err, &cert):
		return true, cause{"the broker's certificate is not accepted: " + certificateReason(cert), certificateNext(cert)}
	case errors.As(err, &header):
		return true, cause{"the broker does not speak TLS on this port; check uplink.broker", "check uplink.broker: its port and its scheme belong together"}
	case errors.As(err, &op) && op.Op == "remote error": // an alert, in TLS 1.3 after the handshake
		return true, cause{"the broker ended TLS: " + op.Err.Error() + "; check uplink.credentials.cert and key", "check uplink.credentials.cert and key: the broker wants a certificate of an authority that it trusts"}
	case errors.Is(err, io.EOF):
		return false, cause{reason: "the broker closed the connection"}
	case errors.Is(err, context.DeadlineExceeded):
		return false, cause{reason: "no answer in time"}
	}
	var network net.Error // the handshake was cut short; what else stops one, time does not heal
	if errors.As(err, &hand) && !errors.As(err, &network) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return true, cause{err.Error(), "see that the broker speaks TLS 1.2 or newer on this port"}
	}
	return false, cause{reason: err.Error()}
}

// certificateNext is what mends a certificate that is not accepted.
func certificateNext(err *tls.CertificateVerificationError) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &authority):
		return "name the authority that signed the broker's certificate with uplink.credentials.ca, a PEM file; without it the system's authorities count"
	case errors.As(err, &host):
		return "write a name into uplink.broker that the broker's certificate has, or give the broker a certificate for that one"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "set this device's clock, or renew the broker's certificate"
	}
	return "give the broker another certificate; uplink.credentials.ca names its authority"
}

func certificateReason(err *tls.CertificateVerificationError) string {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Sprintf("%v; this device's clock says %s", err.Err, time.Now().UTC().Format(time.RFC3339))
	}
	return err.Err.Error()
}

package uplink

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"heron/internal/freeport"
	"heron/sync/message"
)

// authority signs the certificates of a test.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	path string // of its certificate
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.path = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue makes a certificate for 127.0.0.1 and returns the paths of it and its key.
func (a *authority) issue(name string, change ...func(*x509.Certificate)) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, c := range change {
		c(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	kd, _ := x509.MarshalECPrivateKey(k)
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "EC PRIVATE KEY", kd)
}

// secure is an embedded broker with TLS that asks for client certificates of the authority.
func (a *authority) secure(certFile, keyFile string) (address string) {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	address = freeport.Address(a.t)
	embedded(a.t, address, listeners.Config{TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}})
	return address
}

func TestTLSWithClientCertificate(t *testing.T) {
	a := newAuthority(t)
	address := a.secure(a.issue("broker"))
	b := newBox(t)
	conf := config("mqtts://" + address)
	conf.CA = a.path
	conf.Cert, conf.Key = filepath.Join(a.dir, "dev-1.pem"), filepath.Join(a.dir, "dev-1.key") // come later
	u := run(t, conf, b)
	u.state(StateRefused)
	if r := u.Stats().Reason; !strings.Contains(r, "uplink.credentials.cert") || !strings.Contains(r, "dev-1.pem") {
		t.Errorf("reason %q", r)
	}
	a.issue("dev-1")
	u.state(StateOnline)
	for range 100 {
		b.add(message.Result, 100, false)
	}
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	if s := u.Stats(); s.Lost != 0 || s.SentToday < 100*100*50 {
		t.Errorf("%+v", s)
	}
}

// N9: each way in which TLS can be wrong: never connected, its own words, asked again slowly.
func TestFault_N9_TLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	good := a.secure(a.issue("broker"))
	hour := func(t *timing) { t.retry.refusedMin, t.retry.refusedMax = time.Hour, time.Hour }
	clear := freeport.Address(t)
	embedded(t, clear)
	strange, strangeKey := other.issue("dev-1")
	cert, key := a.issue("dev-1")
	for name, c := range map[string]struct {
		address, ca, cert, key, words, next string
	}{
		"expired": {a.secure(a.issue("old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), a.path, cert, key, "this device's clock says", "clock"},
		"wrong host": {a.secure(a.issue("elsewhere", func(c *x509.Certificate) {
			c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)}
		})), a.path, cert, key, "192.0.2.1", "uplink.broker"},
		"unknown authority":        {good, other.path, cert, key, "unknown authority", "name the authority that signed the broker's certificate with uplink.credentials.ca"},
		"the system's authorities": {good, "", cert, key, "unknown authority", "name the authority that signed the broker's certificate with uplink.credentials.ca"},
		"no client certificate":    {good, a.path, "", "", "uplink.credentials.cert", "uplink.credentials.cert"},
		"strange client":           {good, a.path, strange, strangeKey, "uplink.credentials.cert", "uplink.credentials.cert"},
		"no TLS there":             {clear, a.path, cert, key, "", ""},
		"not a certificate":        {good, key, cert, key, "holds no PEM certificate", "correct the setting or the file that it names"},
		"key of another":           {good, a.path, cert, strangeKey, "does not match", "correct the setting or the file that it names"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := config("mqtts://" + c.address)
			conf.CA, conf.Cert, conf.Key = c.ca, c.cert, c.key
			u := run(t, conf, newBox(t), hour)
			if c.words == "" { // the broker just closes
				eventually(t, "a failed try", func() bool { return u.Stats().Failed > 0 && u.Stats().State != StateOnline })
				return
			}
			u.state(StateRefused)
			if s := u.Stats(); !strings.Contains(s.NextStep, c.next) || s.NextStep == "" {
				t.Errorf("next step %q", s.NextStep)
			}
			if s := u.Stats(); !strings.Contains(s.Reason, c.words) || s.Connects != 0 || time.Until(s.NextRetry) < time.Minute {
				t.Errorf("reason %q, %d connections, next try %v", s.Reason, s.Connects, s.NextRetry)
			}
		})
	}
}

// C1, C3: a board without a clock starts in 1970, before any certificate is valid; what it knows to be the earliest time counts.
func TestFault_C1_C3_CertificatesGoByTheFloor(t *testing.T) {
	a := newAuthority(t)
	address := a.secure(a.issue("broker", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(10*time.Minute), time.Now().Add(40*time.Minute)
	}))
	cert, key := a.issue("dev-1")
	for name, c := range map[string]struct {
		now   func() time.Time
		state string
	}{
		"the clock":              {nil, StateRefused},
		"the floor":              {func() time.Time { return time.Now().Add(20 * time.Minute) }, StateOnline},
		"a floor after its time": {func() time.Time { return time.Now().Add(50 * time.Minute) }, StateRefused},
	} {
		t.Run(name, func(t *testing.T) {
			conf := config("mqtts://" + address)
			conf.CA, conf.Cert, conf.Key, conf.Now = a.path, cert, key, c.now
			u := run(t, conf, newBox(t))
			u.state(c.state)
			if s := u.Stats(); c.state == StateRefused && !strings.Contains(s.Reason, "expired or is not yet valid") {
				t.Errorf("reason %q", s.Reason)
			}
		})
	}
}

// N9: TLS 1.1 and older is not spoken.
func TestFault_N9_OldTLS(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("broker")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	address := freeport.Address(t)
	embedded(t, address, listeners.Config{TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}})
	conf := config("mqtts://" + address)
	conf.CA = a.path
	u := run(t, conf, newBox(t))
	u.state(StateRefused)
	if r := u.Stats().Reason; !strings.Contains(r, "protocol version") {
		t.Errorf("reason %q", r)
	}
}

// N10: something that answers in HTTP, as captive portals do.
func TestFault_N10_CaptivePortal(t *testing.T) {
	s := httptest.NewServer(http.RedirectHandler("http://portal.example/", http.StatusFound))
	defer s.Close()
	for _, scheme := range []string{"mqtt", "mqtts", "ws"} {
		t.Run(scheme, func(t *testing.T) {
			u := run(t, config(scheme+"://"+strings.TrimPrefix(s.URL, "http://")), newBox(t), func(t *timing) { t.connect = 500 * time.Millisecond })
			eventually(t, "failed tries", func() bool { return u.Stats().Failed >= 2 })
			if s := u.Stats(); s.Connects != 0 || s.Reason == "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestWebsocket(t *testing.T) {
	a := newAuthority(t)
	pair, err := tls.LoadX509KeyPair(a.issue("broker"))
	if err != nil {
		t.Fatal(err)
	}
	for scheme, conf := range map[string]*tls.Config{"ws": nil, "wss": {Certificates: []tls.Certificate{pair}}} {
		t.Run(scheme, func(t *testing.T) {
			address := freeport.Address(t)
			s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
			_ = s.AddHook(new(auth.AllowHook), nil)
			if err := s.AddListener(listeners.NewWebsocket(listeners.Config{ID: "w", Address: address, TLSConfig: conf})); err != nil {
				t.Fatal(err)
			}
			if err := s.Serve(); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			b := newBox(t)
			c := config(scheme + "://" + address + "/mqtt")
			c.CA = a.path
			u := run(t, c, b)
			for range 20 {
				b.add(message.Result, 200, false)
			}
			eventually(t, "delivered", func() bool { return b.left() == 0 })
			if s := u.Stats(); s.Lost != 0 || s.Acked != 20 {
				t.Errorf("%+v", s)
			}
			u.end()
		})
	}
}

// The password is read again at each connect, and is never seen in a log, a reason or the statistics.
func TestPasswordIsReadAgainAndNeverShown(t *testing.T) {
	var mu strings.Builder
	passwords := make(chan string, 10)
	f := newFake(t, func(p *peer) {
		c, err := p.next()
		if err != nil {
			return
		}
		body := string(c.body)
		for _, w := range []string{"secret-one", "secret-two"} {
			if strings.Contains(body, w) {
				passwords <- w
			}
		}
		if p.n == 0 {
			p.send(0x20, 2, 0, 4)
			return
		}
		p.send(0x20, 2, 0, 0)
		p.serve(nil)
	})
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("secret-one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := config("mqtt://" + f.address)
	conf.Username, conf.PasswordFile = "dev-1", path
	conf.Log = slog.New(slog.NewTextHandler(&mu, nil))
	u := run(t, conf, newBox(t), func(t *timing) { t.retry.refusedMin, t.retry.refusedMax = 300*time.Millisecond, 300*time.Millisecond })
	if got := <-passwords; got != "secret-one" {
		t.Errorf("first %s", got)
	}
	if err := os.WriteFile(path, []byte("secret-two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := fmt.Sprintf("%+v", u.Stats())
	u.state(StateOnline)
	for got := ""; got != "secret-two"; {
		got = <-passwords
	}
	u.end()
	if all := mu.String() + seen + fmt.Sprintf("%+v", u.Stats()); strings.Contains(all, "secret") || !strings.Contains(all, "refused") {
		t.Errorf("log and statistics: %s", all)
	}
}

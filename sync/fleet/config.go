package fleet

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"heron/internal/atomicfile"
	"heron/internal/strictyaml"
	"heron/sync/message"
)

// Config says which broker the fleet is on and as whom to talk to it. It is the file ~/.config/heron/fleet.yaml, too.
type Config struct {
	Broker       string `yaml:"broker"` // mqtt:// tcp:// (port 1883), mqtts:// ssl:// (8883), ws:// (80), wss:// (443)
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
	CA           string `yaml:"ca"`   // PEM; empty: the system's roots
	Cert         string `yaml:"cert"` // client certificate and its key, PEM; both or none
	Key          string `yaml:"key"`
	Root         string `yaml:"root"`  // default heron/v1
	Group        string `yaml:"group"` // where a command names none
}

// LoadConfig reads the file strictly. A file that is not there is an empty one, unless must. Paths in it start at its folder.
func LoadConfig(path string, must bool) (Config, error) {
	var c Config
	b, err := atomicfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := strictyaml.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("%s: %s", path, strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	for _, p := range []*string{&c.PasswordFile, &c.CA, &c.Cert, &c.Key} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return c, nil
}

// Overlay puts what o gives over c.
func (c Config) Overlay(o Config) Config {
	return Config{
		Broker: cmp.Or(o.Broker, c.Broker), Username: cmp.Or(o.Username, c.Username), PasswordFile: cmp.Or(o.PasswordFile, c.PasswordFile), CA: cmp.Or(o.CA, c.CA),
		Cert: cmp.Or(o.Cert, c.Cert), Key: cmp.Or(o.Key, c.Key), Root: cmp.Or(o.Root, c.Root), Group: cmp.Or(o.Group, c.Group),
	}
}

// Validate names the first setting that cannot work, and the first file that cannot be read.
func (c Config) Validate() error {
	if _, err := c.broker(); err != nil {
		return err
	}
	levels := strings.Split(c.root(), "/")
	if len(levels) > 2 || slices.ContainsFunc(levels, func(l string) bool { return !message.IsSlot(l) }) {
		return fmt.Errorf("root: %q is not one or two levels of a-z, 0-9, _ and -", c.Root)
	}
	if c.Group != "" && !message.IsSlot(c.Group) {
		return fmt.Errorf("group: %q cannot be a level of a topic: use a-z, 0-9, _ and -", c.Group)
	}
	if (c.Cert == "") != (c.Key == "") {
		return fmt.Errorf("cert %q and key %q belong together: give both or none", c.Cert, c.Key)
	}
	if c.PasswordFile != "" && c.Username == "" {
		return errors.New("username: missing; MQTT allows no password without it")
	}
	if _, err := c.password(); err != nil {
		return err
	}
	_, err := c.tls("")
	return err
}

func (c Config) root() string { return cmp.Or(strings.Trim(c.Root, "/"), "heron/v1") }

// Topic is {root}/{group}/{device}/{below}.
func (c Config) Topic(group, device, below string) string {
	return strings.Join([]string{c.root(), group, device, below}, "/")
}

// split takes a topic apart; ok is false where it is none of this root.
func (c Config) split(topic string) (group, device, below string, ok bool) {
	rest, ours := strings.CutPrefix(topic, c.root()+"/")
	level := strings.SplitN(rest, "/", 3)
	if !ours || len(level) != 3 || level[2] == "" || len(level[0]) > 64 || len(level[1]) > 64 {
		return "", "", "", false
	}
	return level[0], level[1], level[2], true
}

// broker is the URL in the words of the MQTT client, port included.
func (c Config) broker() (*url.URL, error) {
	const next = "write for example mqtts://broker.example.org:8883"
	if c.Broker == "" {
		return nil, fmt.Errorf("broker: missing; give --broker, HERON_FLEET_BROKER or broker: in ~/.config/heron/fleet.yaml; %s", next)
	}
	u, err := url.Parse(c.Broker)
	if err != nil {
		return nil, fmt.Errorf("broker: not a URL; %s", next) // the parser's own words would repeat it, password and all
	}
	if u.User != nil {
		return nil, errors.New("broker: user and password do not belong into the URL: use username and password_file")
	}
	port := map[string]string{"mqtt": "1883", "tcp": "1883", "mqtts": "8883", "ssl": "8883", "tls": "8883", "ws": "80", "wss": "443"}[u.Scheme]
	if port == "" || u.Hostname() == "" {
		return nil, fmt.Errorf("broker: %q names no host, or a scheme other than mqtt, mqtts, ws, wss; %s", c.Broker, next)
	}
	if u.Port() == "" {
		u.Host += ":" + port
	}
	return u, nil
}

func (c Config) password() (string, error) {
	if c.PasswordFile == "" {
		return "", nil
	}
	line, err := atomicfile.Secret(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	return line, nil
}

func (c Config) tls(host string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if c.CA != "" {
		pem, err := atomicfile.Read(c.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no PEM certificate", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// filter of what a fleet says: group and device may be empty, for all.
func (c Config) filter(group, device, below string) string {
	if group == "" {
		group = "+"
	}
	if device == "" {
		device = "+"
	}
	return strings.Join([]string{c.root(), group, device, below}, "/")
}

package uplink

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"heron/internal/atomicfile"
	"heron/sync/message"
)

// Ways a group's body can travel.
const (
	CompressNone = "none" // the envelope as plain JSON
	CompressZstd = "zstd" // as the outbox keeps it: one zstd frame
)

// Config of an Uplink. The zero value of a field means the default given here; Broker, Group and Device have none.
type Config struct {
	Broker string // mqtt:// tcp:// (port 1883), mqtts:// ssl:// tls:// (8883), ws:// (80), wss:// (443)
	Group  string // levels of the topic: [a-z0-9_-]+
	Device string // also the client identifier
	Root   string // default heron/v1; at most two levels

	Username     string
	PasswordFile string // this file, and the three below, are read again at each connect
	Cert         string // client certificate and its key, PEM; both or none
	Key          string
	CA           string // PEM; default: the system's roots

	Compress        string                    // none (default) or zstd, for all streams but those in CompressStreams
	CompressStreams map[message.Stream]string // per stream

	MaxPublishes int           // sent and not yet acknowledged, at most; 1…64, default 64
	MaxBytes     int           // the same in bytes; default 256 KiB. One group may always be on its way, whatever its size
	KeepAlive    time.Duration // whole seconds; default 30 s
	Backfill     float64       // records a second on h/, at most; default 0, no cap: the window and live groups set the pace

	Agent string              // version, for the state document
	Info  func() message.Info // the retained inventory, the first of the documents; nil: none

	// Documents are asked for after each connect, every 30 s and after Changed, and sent when they changed; at most 64 of at most
	// 128 KiB. nil: none. Called from goroutines of the uplink; it must not block.
	Documents func() []Document

	Subscribe []string      // topics to receive: below {root}/{group}/{device}/, such as desired and cmd/+/+; with _all/ in front below {root}/{group}/; with a slash in front the whole topic, without wildcards
	Handle    func(Message) // gets them, one at a time and in its own time: of a topic named in Subscribe the newest, of those within a wildcard all that a queue of 64 (1 MiB) holds; the rest is dropped and counted. Run waits for it at its end

	Now func() time.Time // the broker's certificate is checked against it; nil: the clock
	Log *slog.Logger     // changes of state; nil: silent
}

func (c Config) withDefaults() Config {
	c.Root = cmp.Or(strings.Trim(c.Root, "/"), "heron/v1")
	c.Compress = cmp.Or(c.Compress, CompressNone)
	c.MaxPublishes = cmp.Or(c.MaxPublishes, 64)
	c.MaxBytes = cmp.Or(c.MaxBytes, 256<<10)
	c.KeepAlive = cmp.Or(c.KeepAlive, 30*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports the first field that cannot work, by its path in the configuration file. It does not look at the files named:
// they are read at each connect, and may come later.
func (c Config) Validate() error {
	c = c.withDefaults()
	if _, err := parseBroker(c.Broker); err != nil {
		return fmt.Errorf("uplink.broker: %w", err)
	}
	for _, l := range []struct{ path, level string }{{"device.group", c.Group}, {"device.id", c.Device}} {
		if !isLevel(l.level) {
			return fmt.Errorf("%s: %q cannot be a level of an MQTT topic: use a-z, 0-9, _ and - only", l.path, l.level)
		}
	}
	if c.Device+"/" == everyone {
		return fmt.Errorf("device.id: %q stands for the whole group in topics; choose another", c.Device)
	}
	levels := strings.Split(c.Root, "/")
	if len(levels) > 2 || slices.ContainsFunc(levels, func(l string) bool { return !isLevel(l) }) {
		return fmt.Errorf("uplink.root: %q is not one or two levels of a-z, 0-9, _ and -", c.Root)
	}
	if (c.Cert == "") != (c.Key == "") {
		return fmt.Errorf("uplink.credentials: cert %q and key %q belong together: give both or none", c.Cert, c.Key)
	}
	if c.PasswordFile != "" && c.Username == "" {
		return fmt.Errorf("uplink.credentials.username: missing; MQTT allows no password_file without it")
	}
	return c.validateLimits()
}

func (c Config) validateLimits() error {
	for stream, how := range c.CompressStreams {
		if !slices.Contains(message.Streams(), stream) {
			return fmt.Errorf("uplink.compress.%s: there is no such stream; one of %v", stream, message.Streams())
		}
		if how != CompressNone && how != CompressZstd {
			return fmt.Errorf("uplink.compress.%s: %q is neither none nor zstd", stream, how)
		}
	}
	switch {
	case c.Compress != CompressNone && c.Compress != CompressZstd:
		return fmt.Errorf("uplink.compress: %q is neither none nor zstd", c.Compress)
	case c.MaxPublishes < 1 || c.MaxPublishes > 64:
		return fmt.Errorf("uplink.window.publishes: %d is not within 1 and 64", c.MaxPublishes)
	case c.MaxBytes < 1<<10 || c.MaxBytes > 4<<20:
		return fmt.Errorf("uplink.window.bytes: %d is not within 1 KiB and 4 MiB", c.MaxBytes)
	case c.KeepAlive < time.Second || c.KeepAlive > 18*time.Hour || c.KeepAlive%time.Second != 0:
		return fmt.Errorf("uplink.keepalive: %v is not whole seconds within 1s and 18h", c.KeepAlive)
	case c.Backfill != 0 && !(c.Backfill >= 1 && c.Backfill <= 1e9): // NaN, too
		return fmt.Errorf("uplink.backfill: %v is neither 0 (no cap) nor a number of records a second", c.Backfill)
	}
	return nil
}

func isLevel(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == "" && len(s) <= 64
}

// broker is where to connect.
type broker struct {
	url    *url.URL // without user
	host   string   // host:port
	tls    bool
	socket bool // MQTT within websocket
}

func (b broker) String() string { return b.url.String() }

func parseBroker(s string) (broker, error) {
	const next = "write for example mqtts://broker.example.org:8883"
	if s == "" {
		return broker{}, fmt.Errorf("missing; %s", next)
	}
	u, err := url.Parse(s)
	if err != nil {
		return broker{}, fmt.Errorf("not a URL; %s", next) // the parser's own words would repeat the URL, password and all
	}
	if u.User != nil {
		return broker{}, fmt.Errorf("user and password do not belong into the URL: use uplink.credentials.username and password_file")
	}
	b := broker{url: u}
	port := ""
	switch u.Scheme {
	case "mqtt", "tcp":
		port = "1883"
	case "mqtts", "ssl", "tls":
		port, b.tls = "8883", true
	case "ws":
		port, b.socket = "80", true
	case "wss":
		port, b.tls, b.socket = "443", true, true
	default:
		return broker{}, fmt.Errorf("scheme %q is not one of mqtt, tcp, mqtts, ssl, ws, wss; %s", u.Scheme, next)
	}
	if u.Hostname() == "" {
		return broker{}, fmt.Errorf("%q names no host; %s", s, next)
	}
	if !b.socket && strings.Trim(u.Path, "/") != "" {
		return broker{}, fmt.Errorf("%q has a path, which only ws:// and wss:// can have", s)
	}
	b.host = u.Host
	if u.Port() == "" {
		b.host = u.Host + ":" + port
	}
	return b, nil
}

// password reads the password anew; a trailing line break is not part of it. The error never holds what was read.
func (c Config) password() (string, error) {
	if c.PasswordFile == "" {
		return "", nil
	}
	line, err := atomicfile.Secret(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("uplink.credentials.password_file: %w", err)
	}
	return line, nil
}

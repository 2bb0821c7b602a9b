package uplink

import (
	"strings"
	"testing"
	"time"

	"heron/sync/message"
)

func TestConfigIsRefusedByItsPath(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		words  string
	}{
		"no broker":          {func(c *Config) { c.Broker = "" }, "uplink.broker: missing"},
		"scheme":             {func(c *Config) { c.Broker = "http://h" }, "uplink.broker: scheme \"http\""},
		"no host":            {func(c *Config) { c.Broker = "mqtt://:1883" }, "uplink.broker"},
		"not a URL":          {func(c *Config) { c.Broker = "mqtt://u:secret@h:port" }, "uplink.broker: not a URL"},
		"password in URL":    {func(c *Config) { c.Broker = "mqtt://u:secret@h" }, "uplink.credentials"},
		"path":               {func(c *Config) { c.Broker = "mqtt://h/mqtt" }, "has a path"},
		"group":              {func(c *Config) { c.Group = "a/b" }, "device.group: \"a/b\""},
		"device":             {func(c *Config) { c.Device = "" }, "device.id"},
		"wildcard":           {func(c *Config) { c.Device = "+" }, "device.id"},
		"root":               {func(c *Config) { c.Root = "a/b/c" }, "uplink.root"},
		"cert without key":   {func(c *Config) { c.Cert = "c.pem" }, "uplink.credentials"},
		"password, no user":  {func(c *Config) { c.PasswordFile = "p" }, "uplink.credentials.username"},
		"compress":           {func(c *Config) { c.Compress = "gzip" }, "uplink.compress"},
		"stream":             {func(c *Config) { c.CompressStreams = map[message.Stream]string{"x": "none"} }, "uplink.compress.x"},
		"compress of stream": {func(c *Config) { c.CompressStreams = map[message.Stream]string{"result": "gzip"} }, "uplink.compress.result"},
		"window":             {func(c *Config) { c.MaxPublishes = 65 }, "uplink.window.publishes"},
		"window bytes":       {func(c *Config) { c.MaxBytes = 10 }, "uplink.window.bytes"},
		"keepalive":          {func(c *Config) { c.KeepAlive = 1500 * time.Millisecond }, "uplink.keepalive"},
		"backfill":           {func(c *Config) { c.Backfill = -1 }, "uplink.backfill"},
	} {
		conf := config("mqtt://h")
		c.change(&conf)
		_, err := New(conf, nil)
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
	for url, host := range map[string]string{"mqtt://h": "h:1883", "tcp://h:1": "h:1", "mqtts://h": "h:8883", "ssl://h": "h:8883", "ws://h/mqtt": "h:80", "wss://h/mqtt": "h:443", "mqtt://[::1]": "[::1]:1883"} {
		if b, err := parseBroker(url); err != nil || b.host != host {
			t.Errorf("%s: %s, %v", url, b.host, err)
		}
	}
}

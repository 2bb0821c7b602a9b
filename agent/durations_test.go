package agent

import (
	"errors"
	"strings"
	"testing"
)

// Whatever cannot be read is named by its key, its line and its column, and by what was expected there.
func TestWhatCannotBeReadHasItsPlace(t *testing.T) {
	const head = "cameras:\n  - {name: a, source: \"testcard:\"}\n"
	for _, c := range []struct{ text, what string }{
		{"cameras:\n  - name: a\n    source: \"testcard:\"\n    stall: 5\n", `:4:12: cameras[0].stall: "5", expected a time with its unit`},
		{"cameras:\n  - name: soon\n    source: \"testcard:\"\n    stall: soon # not the name\n", `:4:12: cameras[0].stall: "soon"`},
		{"cameras:\n  - {name: a, source: \"testcard:\", controls: {exposure: 8}}\n", `:2:57: cameras[0].controls.exposure: "8"`},
		{"cameras:\n  - name: a\n    source: \"testcard:\"\n    size: 0x480 # wide\n", `:4:11: cameras[0].size: "0x480", expected WIDTHxHEIGHT`},
		{head + "repository: {shadow: 0}\n", `:3:22: repository.shadow: "0"`},
		{head + "events: {labels: {empty: {cooldown: 1 week}}}\n", `:3:37: events.labels.empty.cooldown: "1 week"`},
		{head + "vision:\n  load: 20s\n  inference: 5 seconds\n", `:5:14: vision.inference: "5 seconds"`},
		{head + "models: [{bundle: b, engine: {a: b}}]\n", "models[0].engine: expected auto, a name, or a list"},
		{head + "models: [{bundle: b, engine: [[a]]}]\n", ":3:30: models[0].engine: expected auto, a name, or a list"},
		{"cameras: [{name: a, source: \"usb:\"}]\n", `:1:29: cameras[0].source: "usb:" does not say which`},
		{"cameras: [{name: a, source: \"rtsp://\"}]\n", `:1:29: cameras[0].source: "rtsp://" does not say which`},
		{head + "uplink: {compress: gzip}\n", `:3:20: uplink.compress: "gzip"`},
		{head + "uplink: {backfill: -1}\n", ":3:20: uplink.backfill: -1"},
	} {
		_, err := Load(write(t, c.text), nil)
		var bad *ConfigError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.what) || bad.Excerpt == "" {
			t.Errorf("%s\ngot %v, want %s and an excerpt", c.text, err, c.what)
		}
	}
	for _, source := range []string{"csi:", "testcard:"} {
		if _, err := Load(write(t, "cameras: [{name: a, stall: 1m30s, size: \"640x480\", source: \""+source+"\"}] # 5\n"), nil); err != nil {
			t.Error(err)
		}
	}
	if _, err := Load(write(t, head), []string{"HERON_REPOSITORY_SHADOW=5"}); err == nil || !strings.Contains(err.Error(), `HERON_REPOSITORY_SHADOW: "5" does not fit: "5" does not fit here, expected a time with its unit`) {
		t.Error(err)
	}
}

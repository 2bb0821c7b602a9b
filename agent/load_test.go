package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const whole = `
device: {group: acme, id: dev-0042}
cameras:
  - name: front
    source: v4l2:/dev/video0
    fps: 10
    size: 640x480
    stall: 5s
models:
  - slot: main
    bundle: models/bottles
    engine: [edgetpu, onnx]
    cameras: [front]
events:
  default: {enter: 0.80, exit: 0.60, dwell: 2, cooldown: 10s}
  labels: {empty: {ignore: true}}
outbox: {path: /var/lib/heron/outbox.db, max_size: 512MiB}
uplink:
  broker: mqtts://broker.example.org:8883
  credentials: {username: dev-0042, password_file: secret}
  results: every
  compress: none
vision: {command: heron-vision}
status: {listen: "127.0.0.1:8642"}
log: {level: info, format: auto}
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "heron.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadReadsEveryKey(t *testing.T) {
	path := write(t, whole)
	c, err := Load(path, []string{"HERON_UPLINK_BROKER=mqtt://127.0.0.1:1883", "HERON_UPLINK_CREDENTIALS_USERNAME=x", "HERON_OUTBOX_MAX_SIZE=64MiB", "HERON_TESTDATA=/nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for _, x := range []struct{ what, got, want any }{
		{"broker", c.Uplink.Broker, "mqtt://127.0.0.1:1883"},
		{"username", c.Uplink.Credentials.Username, "x"},
		{"password file", c.Uplink.Credentials.PasswordFile, filepath.Join(dir, "secret")},
		{"bundle", c.Models[0].Bundle, filepath.Join(dir, "models/bottles")},
		{"max size", int64(c.Outbox.MaxSize), int64(64 << 20)},
		{"size", c.Cameras[0].Size, Size{640, 480}},
		{"stall", c.Cameras[0].Stall, 5 * time.Second},
		{"second engine", c.Models[0].Engine[1], "onnx"},
		{"ignored label", c.Events.Rule("empty").Ignore, true},
		{"enter", c.Events.Rule("empty").Enter, 0.8},
	} {
		if x.got != x.want {
			t.Errorf("%s: %v, want %v", x.what, x.got, x.want)
		}
	}
}

func TestLoadFillsInDefaults(t *testing.T) {
	c, err := Load(write(t, "cameras: [{name: a, source: \"testcard:\"}]\nmodels: [{bundle: /b}]\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *c.Cameras[0].FPS != 10 || c.Models[0].Slot != "main" || c.Models[0].Cameras[0] != "a" || c.Status.Listen != "127.0.0.1:8642" || c.Events.Default.Dwell != 2 {
		t.Errorf("defaults: %+v", c)
	}
	if !isLevel(c.Device.ID) {
		t.Errorf("device id %q", c.Device.ID)
	}
}

func TestFault_Y1_BadConfigurationNamesThePlace(t *testing.T) {
	const base = "cameras: [{name: a, source: \"testcard:\"}]\n"
	for _, c := range []struct{ name, text, what string }{
		{"unknown key", base + "uplinc: {broker: x}\n", "uplinc"},
		{"unknown key in a list", "cameras: [{name: a, source: \"testcard:\", fsp: 3}]\n", "fsp"},
		{"duplicate key", base + "log: {level: info}\nlog: {level: warn}\n", "log"},
		{"wrong type", base + "models: [{bundle: /b, threads: many}]\n", "many"},
		{"empty", "  \n", "empty"},
		{"no camera", "device: {id: x}\n", "cameras"},
		{"bad source", "cameras: [{name: a, source: \"ftp://u:secret@h/x\"}]\n", "cameras[0].source"},
		{"camera twice", "cameras: [{name: a, source: \"testcard:\"}, {name: a, source: \"testcard:\"}]\n", "cameras[1].name"},
		{"no such camera", base + "models: [{bundle: /b, cameras: [b]}]\n", "models[0].cameras[0]"},
		{"camera in two slots", base + "models: [{slot: x, bundle: /b}, {slot: y, bundle: /b}]\n", "models[1].cameras[0]"},
		{"no bundle", base + "models: [{slot: x}]\n", "models[0].bundle"},
		{"size", "cameras: [{name: a, source: \"testcard:\", size: big}]\n", "640x480"},
		{"amount", base + "outbox: {max_size: lots}\n", "512MiB"},
		{"too little", base + "outbox: {max_size: 1KiB}\n", "outbox.max_size"},
		{"event threshold", base + "events: {default: {enter: 1.5}}\n", "events.default.enter"},
		{"password in the address", base + "uplink: {broker: \"mqtt://u:secret@h:1883\"}\n", "uplink.broker"},
		{"broker", base + "uplink: {broker: nonsense}\n", "uplink.broker"},
		{"results", base + "uplink: {results: some}\n", "uplink.results"},
		{"group", base + "device: {group: \"A/b\"}\n", "device.group"},
		{"listen", base + "status: {listen: here}\n", "status.listen"},
		{"fps", "cameras: [{name: a, source: \"testcard:\", fps: -1}]\n", "cameras[0].fps"},
		{"not YAML", "cameras: [", ""},
		{"binary", "\x00\x01\xff", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(write(t, c.text), nil)
			var bad *ConfigError
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want a ConfigError", err)
			}
			if !strings.Contains(err.Error(), c.what) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with %q", err, c.what)
			}
			if strings.Contains(err.Error()+bad.Excerpt, "secret@") && c.name != "password in the address" && strings.Contains(err.Error(), "secret") {
				t.Errorf("a password in %q", err)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing file: %v", err)
	}
}

// What quotes the file, for a person or the journal, does not quote a password.
func TestExcerptsHoldNoPassword(t *testing.T) {
	for _, text := range []string{
		"cameras:\n  - {name: a, source: \"rtsp://op:s3cret/9@h/x\", fps: x}\n",
		"cameras:\n  - name: a\n    source: rtsp://op:s3cret9@h/x\n    fps: 9999\n",
		"cameras:\n  - name: a\n    source: htp://op:s3cret9@h/x\n",
		"cameras:\n  - name: a\n    source: rtsp://op:s3cret9@h/x\n    nonsense: 1\n",
	} {
		_, err := Load(write(t, text), nil)
		var bad *ConfigError
		if !errors.As(err, &bad) || bad.Excerpt == "" || strings.Contains(bad.Error()+bad.Excerpt, "cret") {
			t.Errorf("%v\n%s", err, bad.Excerpt)
		}
	}
}

func TestLoadSaysLineAndColumn(t *testing.T) {
	_, err := Load(write(t, "cameras:\n  - name: a\n    source: \"testcard:\"\n    fps: 999\n"), nil)
	var bad *ConfigError
	if !errors.As(err, &bad) || bad.Line != 4 || bad.Excerpt == "" {
		t.Errorf("got %v (line %d, excerpt %q), want line 4 with an excerpt", err, bad.Line, bad.Excerpt)
	}
}

func TestOverlayRefusesWhatDoesNotFit(t *testing.T) {
	_, err := Load(write(t, whole), []string{"HERON_UPLINK_KEEPALIVE=soon"})
	if err == nil || !strings.Contains(err.Error(), "HERON_UPLINK_KEEPALIVE") {
		t.Errorf("got %v", err)
	}
}

func TestEffectiveShowsDefaultsAndNoPassword(t *testing.T) {
	c, err := Load(write(t, "cameras: [{name: a, source: \"rtsp://user:secret@cam/1\"}]\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.Effective()
	if err != nil || strings.Contains(string(text), "secret") || !strings.Contains(string(text), "keepalive: 30s") || !strings.Contains(string(text), "512MiB") {
		t.Errorf("%v\n%s", err, text)
	}
	if _, err := Load(write(t, string(text)), nil); err != nil {
		t.Errorf("what Effective prints must load again: %v\n%s", err, text)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("cameras: [{name: a, source: \"testcard:\"}]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parse(b, nil); err == nil && c.Validate() != nil {
			t.Error("what parse accepts must be valid")
		}
	})
}

// A value that has a default and may be zero is told from one that is left out: in the file, and from the environment.
func TestZeroIsNotLeftOut(t *testing.T) {
	c, err := Load(write(t, whole), nil)
	if err != nil || *c.Repository.Shadow != 10*time.Minute || *c.Repository.Probation != 15*time.Minute || !*c.Board.Adapt {
		t.Fatalf("left out: %v %+v", err, c.Repository)
	}
	c, err = Load(write(t, whole+"repository: {shadow: 0s}\n"), []string{"HERON_REPOSITORY_PROBATION=0s", "HERON_BOARD_ADAPT=false"})
	if err != nil || *c.Repository.Shadow != 0 || *c.Repository.Probation != 0 || *c.Board.Adapt {
		t.Errorf("zero: %v, shadow %v, probation %v, adapt %v", err, *c.Repository.Shadow, *c.Repository.Probation, *c.Board.Adapt)
	}
	for text, want := range map[string]string{"shadow: -1s": "repository.shadow: -1s", "probation: 169h": "repository.probation: 169h"} {
		if _, err := Load(write(t, whole+"repository: {"+text+"}\n"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := Load(write(t, whole), []string{"HERON_REPOSITORY_SHADOW=soon"}); err == nil || !strings.Contains(err.Error(), "HERON_REPOSITORY_SHADOW") {
		t.Errorf("from the environment: %v", err)
	}
}

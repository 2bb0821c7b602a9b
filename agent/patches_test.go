package agent

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"heron/sync/desired"
)

// What a patch may change is all that goes out, and it comes back as it was; no secret, path or program is in it.
func TestSettingsComeBackAsTheyWere(t *testing.T) {
	conf, err := Load(write(t, whole), nil)
	if err != nil {
		t.Fatal(err)
	}
	conf.Outbox.Path = filepath.Join(t.TempDir(), "outbox.db")
	s, err := OpenSettings(*conf, slog.New(slog.DiscardHandler), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Config(); !reflect.DeepEqual(got, *conf) {
		t.Errorf("came back as\n%+v, was\n%+v", got, *conf)
	}
	b, err := settingsOf(*conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"password", "dev-0042", "outbox", "v4l2", "heron-vision", "bottles"} {
		if bytes.Contains(b, []byte(never)) {
			t.Errorf("%s is in %s", never, b)
		}
	}
	for _, path := range desired.Changeable() {
		tree, err := treeOf(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range strings.Split(strings.TrimSuffix(path, ".**"), ".") {
			if key == "*" {
				key = "front"
			}
			below, _ := tree.(map[string]any)
			if tree = below[key]; tree == nil {
				t.Errorf("%s may be changed and is not in %s", path, b)
			}
		}
	}
}

func TestAPatchCannotTakeTheLinkOutOfTLS(t *testing.T) {
	conf := Config{Events: DefaultEvents(), Device: Device{Group: "acme", ID: "dev-1"}, Cameras: []Camera{{Name: "front", Source: "testcard:"}}, Uplink: Uplink{Broker: "mqtts://broker.example.org"}, Outbox: Outbox{Path: t.TempDir() + "/outbox.db"}}
	conf.Defaults()
	s, err := OpenSettings(conf, slog.New(slog.DiscardHandler), 0)
	if err != nil {
		t.Fatal(err)
	}
	for broker, ok := range map[string]bool{"mqtt://elsewhere.example.org": false, "tcp://broker.example.org": false, "mqtts://elsewhere.example.org": true} {
		file := s.patches.Effective()
		_, err := s.decode([]byte(strings.Replace(string(file), "mqtts://broker.example.org", broker, 1)))
		if (err == nil) != ok {
			t.Errorf("%s: %v", broker, err)
		}
	}
}

// A patch with no broker could never prove itself: the device would be deaf until it is taken back.
func TestAPatchCannotSwitchTheLinkOff(t *testing.T) {
	for _, broker := range []string{"tcp://broker.example.org", ""} {
		conf := Config{Events: DefaultEvents(), Device: Device{Group: "acme", ID: "dev-1"}, Cameras: []Camera{{Name: "front", Source: "testcard:"}}, Uplink: Uplink{Broker: broker}, Outbox: Outbox{Path: t.TempDir() + "/outbox.db"}}
		conf.Defaults()
		s, err := OpenSettings(conf, slog.New(slog.DiscardHandler), 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.decode([]byte(strings.Replace(string(s.patches.Effective()), broker, "", 1)))
		if (err == nil) != (broker == "") {
			t.Errorf("%q, then none: %v", broker, err)
		}
	}
}

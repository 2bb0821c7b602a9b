package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heron/agent/status"
	"heron/sync/fleet"
)

// Every topic that a device asks for or says stands in the access lists that are shipped and printed, word for word: nats-server refuses a
// subscription that is wider than what is granted, so that a device there would never hear a command.
func TestAccessListsGrantWhatADeviceSubscribesToAndSays(t *testing.T) {
	a := &Agent{log: slog.New(slog.DiscardHandler), conf: Config{Cameras: []Camera{{Name: "front"}}, Models: []Model{{Slot: "main"}}, Uplink: Uplink{Broker: "mqtt://h"},
		Device: Device{Group: "acme", ID: "dev-1"}, Outbox: Outbox{Path: filepath.Join(t.TempDir(), "outbox.db")}, Adapters: Adapters{HomeAssistant: HomeAssistant{Enabled: true}}}}
	a.conf.Defaults()
	a.buildAdapters()
	shipped, err := os.ReadFile("../deploy/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	user, printed := shipped[strings.Index(string(shipped), `{user: "dev-1"`):], fleet.Config{}.NATSUser("acme", "dev-1")
	lines := fleet.Config{}.MosquittoACL("acme", "dev-1")
	granted := func(way, topic string) {
		t.Helper()
		wide := topic
		for _, of := range []string{"ha", "t"} {
			if before, _, ok := strings.Cut(topic, "/"+of+"/"); ok && way == "write" {
				wide = before + "/" + of + "/+"
			}
		}
		subject := `"` + strings.NewReplacer("/", ".", "+", "*").Replace(wide) + `"`
		for name, list := range map[string]string{"deploy/nats.conf": string(user), "heron fleet acl --nats": printed} {
			if part := strings.Split(list, "subscribe: "); len(part) != 2 || !strings.Contains(part[map[string]int{"write": 0, "read": 1}[way]], subject) {
				t.Errorf("%s does not let a device %s %s", name, way, subject)
			}
		}
		if !strings.Contains(lines, "topic "+way+" "+wide+"\n") {
			t.Errorf("heron fleet acl does not let a device %s %s", way, wide)
		}
	}
	for _, s := range a.subscriptions() {
		switch whole, absolute := strings.CutPrefix(s, "/"); {
		case absolute:
			granted("read", whole)
		case strings.HasPrefix(s, "_all/"):
			granted("read", "heron/v1/acme/"+s)
		default:
			granted("read", "heron/v1/acme/dev-1/"+s)
		}
	}
	for _, topic := range a.adapters.now.Topics {
		granted("write", topic)
	}
}

// A test of a camera that fails says why, also where the camera itself is well.
func TestWhatIsWrongWithACamera(t *testing.T) {
	killed := errors.New("heron-vision was killed by signal 9")
	for name, c := range map[string]struct {
		state, last string
		err         error
		want        string
	}{
		"well":                         {"running", "", nil, ""},
		"its process is being changed": {"running", "", killed, "camera front is running, and gave no picture: heron-vision was killed by signal 9"},
		"gone":                         {"waiting", "no such device", killed, "camera front is waiting: no such device"},
	} {
		got := ""
		if err := cameraVerdict(status.Camera{Name: "front", State: c.state, LastError: c.last}, c.err); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/agent/status"
	"heron/internal/freeport"
)

// newMosquitto is the real broker on an address of its own; without it the test is skipped.
func newMosquitto(t *testing.T) (address string) {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is not installed; `make setup` installs it")
		}
	}
	address = freeport.Address(t)
	host, port, _ := net.SplitHostPort(address)
	path := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(path, []byte(fmt.Sprintf("log_dest none\nallow_anonymous true\nlistener %s %s\n", port, host)), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(bin, "-c", path)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal("mosquitto does not listen")
		}
	}
}

// house sees all that adapters publish: of each topic the newest payload, and how often something came.
type house struct {
	paho.Client
	mu     sync.Mutex
	newest map[string]string
	count  map[string]int
}

func newHouse(t *testing.T, address string) *house {
	t.Helper()
	h := &house{newest: map[string]string{}, count: map[string]int{}}
	h.Client = paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("house").SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.newest[m.Topic()] = string(m.Payload())
		h.count[m.Topic()]++
	}))
	for _, token := range []func() paho.Token{h.Connect, func() paho.Token {
		return h.SubscribeMultiple(map[string]byte{"homeassistant/#": 1, "te/#": 1, "heron/v1/test/dev-1/ha/#": 1, "heron/v1/test/dev-1/state": 1}, nil)
	}} {
		if tk := token(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
			t.Fatalf("house: %v", tk.Error())
		}
	}
	t.Cleanup(func() { h.Disconnect(50) })
	return h
}

func (h *house) get(topic string) (payload string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest[topic], h.count[topic]
}

func (h *house) until(t *testing.T, what, topic string, ok func(payload string, n int) bool) string {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if p, n := h.get(topic); ok(p, n) {
			return p
		}
	}
	p, n := h.get(topic)
	t.Fatalf("%s: not within 40 s; on %s stands %q, after %d messages", what, topic, p, n)
	return ""
}

const (
	discoveryTopic = "homeassistant/device/heron-test/dev-1/config"
	healthTopic    = "te/device/main/service/heron/status/health"
)

// The service, a real broker, and what Home Assistant and thin-edge.io would see: declared, told again when asked, told of the end,
// corrected when a camera has another name, taken away when it is switched off.
func TestAdaptersThroughMosquitto(t *testing.T) {
	t.Parallel()
	address := newMosquitto(t)
	h := newHouse(t, address)
	f := newField(t, "mqtt://"+address, "pictures:pictures?loop=true")
	plain, err := os.ReadFile(f.conf)
	if err != nil {
		t.Fatal(err)
	}
	both := string(plain) + "adapters: {home_assistant: {enabled: true}, thin_edge: {enabled: true}}\n"
	f.write(t, "heron.yaml", both)
	s := f.start(t)
	there := func(p string, _ int) bool { return p != "" }
	d := h.until(t, "discovery", discoveryTopic, there)
	var doc struct{ Cmps map[string]map[string]any }
	if err := json.Unmarshal([]byte(d), &doc); err != nil || doc.Cmps["result-front"]["stat_t"] != "heron/v1/test/dev-1/ha/camera-front" || doc.Cmps["model-main"]["p"] != "update" {
		t.Fatalf("discovery: %v %s", err, d)
	}
	h.until(t, "a label", "heron/v1/test/dev-1/ha/camera-front", func(p string, _ int) bool { return strings.Contains(p, `"label":"`) })
	h.until(t, "the model", "heron/v1/test/dev-1/ha/model-main", func(p string, _ int) bool {
		return strings.Contains(p, `"installed_version":"1.0.0","latest_version":"1.0.0"`)
	})
	h.until(t, "the state", "heron/v1/test/dev-1/ha/state", func(p string, _ int) bool { return strings.Contains(p, `"engines":{"main":"scripted"}`) })
	h.until(t, "the service", "te/device/main/service/heron", there)
	h.until(t, "up", healthTopic, func(p string, _ int) bool {
		return strings.HasPrefix(p, fmt.Sprintf(`{"pid":%d,"status":"up"`, s.Process.Pid))
	})

	_, before := h.get(discoveryTopic)
	h.Publish("homeassistant/status", 1, false, "online").WaitTimeout(10 * time.Second)
	again := h.until(t, "told again at Home Assistant's birth", discoveryTopic, func(_ string, n int) bool { return n > before })
	if !json.Valid([]byte(again)) {
		t.Errorf("told again: %s", again)
	}

	f.until(t, "online", func(s *status.Snapshot) bool { return s.Uplink.State == "online" })
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: exit %d", code)
	}
	h.until(t, "down", healthTopic, func(p string, _ int) bool { return strings.HasPrefix(p, `{"status":"down"`) })
	h.until(t, "offline", "heron/v1/test/dev-1/state", func(p string, _ int) bool { return strings.Contains(p, `"offline"`) })

	f.write(t, "heron.yaml", strings.ReplaceAll(both, "name: front", "name: gate"))
	s = f.start(t)
	h.until(t, "the old camera is removed, the new one declared", discoveryTopic, func(p string, _ int) bool {
		return strings.Contains(p, `"result-front":{"p":"sensor"}`) && strings.Contains(p, "Result gate")
	})
	h.until(t, "its topic is cleared", "heron/v1/test/dev-1/ha/camera-front", func(p string, n int) bool { return p == "" && n > 1 })
	if code := s.end(t, syscall.SIGKILL); code == 0 {
		t.Error("SIGKILL: exit 0")
	}

	f.write(t, "heron.yaml", string(plain))
	f.start(t)
	for _, topic := range []string{discoveryTopic, "heron/v1/test/dev-1/ha/state", "heron/v1/test/dev-1/ha/camera-gate", "heron/v1/test/dev-1/ha/model-main", healthTopic, "te/device/main/service/heron"} {
		h.until(t, "switched off", topic, func(p string, _ int) bool { return p == "" })
	}
}

func TestAdaptersNeedABroker(t *testing.T) {
	f := newField(t, "", "testcard:")
	plain, err := os.ReadFile(f.conf)
	if err != nil {
		t.Fatal(err)
	}
	for text, words := range map[string]string{
		"home_assistant: {enabled: true}": "adapters.home_assistant.enabled: needs uplink.broker",
		"thin_edge: {enabled: true}":      "adapters.thin_edge.enabled: needs uplink.broker",
		"home_assistant: {prefix: a/#}":   "adapters.home_assistant.prefix",
		"thin_edge: {root: ''}, x: 1":     "x",
		"thin_edge: {root: te/+}":         "adapters.thin_edge.root",
	} {
		f.write(t, "heron.yaml", string(plain)+"adapters: {"+text+"}\n")
		if _, errOut, code := heron(t, "check", "--config", f.conf); code != 2 || !strings.Contains(errOut, words) {
			t.Errorf("%s: exit %d, %q", text, code, errOut)
		}
	}
}

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"heron/internal/freeport"
	"heron/sync/fleet"
	"heron/sync/models"
	"heron/sync/repo"
)

// herd is many devices of one group on one machine: all of an agent that brings models, each with its own folder, outbox and connection,
// a signed repository and a broker on loopback. Only heron-vision is a double.
type herd struct {
	t       *testing.T
	dir     string
	broker  string
	url     string
	repo    *repo.Repo
	digests map[string]string // by target
	devices map[string]*member

	mu      sync.Mutex
	refuses map[string]bool // devices on which a bundle that is "fragile" does not pass its trial
	audit   []account
	lines   []byte // of heron fleet export
}

// account is what a device's audit said, before it went through outbox, broker and export.
type account struct {
	device string
	models.Entry
}

// member is one device.
type member struct {
	a    *Agent
	eyes *doubleVision
	stop func()
}

const herdGroup = "acme"

func newHerd(t *testing.T) *herd {
	t.Helper()
	h := &herd{t: t, dir: t.TempDir(), digests: map[string]string{}, devices: map[string]*member{}, refuses: map[string]bool{}}
	h.broker = startBroker(t)
	conf := repo.Config{Dir: filepath.Join(h.dir, "repo"), Cost: 10, Passphrase: func(string, bool) ([]byte, error) { return []byte("a test's passphrase"), nil }}
	if _, err := repo.Init(conf, repo.InitOptions{RootKeys: 1, Threshold: 1, Expiry: repo.DefaultExpiry()}); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.repo, err = repo.Open(conf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.repo.Close() })
	s := httptest.NewServer(http.FileServer(http.Dir(h.repo.Public())))
	t.Cleanup(s.Close)
	h.url = s.URL
	return h
}

// startBroker is Mosquitto where it is installed, and the embedded broker elsewhere.
func startBroker(t *testing.T) string {
	t.Helper()
	address := freeport.Address(t)
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin, err = exec.LookPath("/usr/sbin/mosquitto")
	}
	if err != nil {
		s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: address})); err != nil {
			t.Fatal(err)
		}
		if err := s.Serve(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return "tcp://" + address
	}
	_, port, _ := strings.Cut(address, ":")
	path := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(path, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\nlog_dest none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-c", path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return "tcp://" + address
}

// pack makes a small bundle whose way of being is in it: good, fragile (some devices refuse it), worse (live, it is less sure).
func (h *herd) pack(version, way string) string {
	h.t.Helper()
	dir := filepath.Join(h.dir, "bottles-"+version)
	files := map[string]string{"labels.txt": "ok\nscratched\n", "model.onnx": way + strings.Repeat(version, 2000),
		"baseline.json": `{"v":1,"n":2000,"mean_confidence":0.95,"labels":{"ok":1000,"scratched":1000}}`}
	var list []map[string]any
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(text))
		list = append(list, map[string]any{"path": name, "size": len(text), "sha256": hex.EncodeToString(sum[:])})
	}
	manifest, _ := json.Marshal(map[string]any{"v": 1, "name": "bottles", "version": version, "labels": "labels.txt", "baseline": "baseline.json", "files": list})
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o644); err != nil {
		h.t.Fatal(err)
	}
	path := dir + ".tar.zst"
	f, err := os.Create(path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	if err := models.Pack(dir, f); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// publish signs a bundle.
func (h *herd) publish(version, way string) {
	h.t.Helper()
	path := h.pack(version, way)
	if _, err := h.repo.Add(path, "bottles/"+version, nil); err != nil {
		h.t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	h.digests["bottles/"+version] = hex.EncodeToString(sum[:])
}

// build makes a device as New does, but for heron-vision and the page. Nothing runs yet.
func (h *herd) build(id string) *member {
	h.t.Helper()
	conf := Config{Device: Device{Group: herdGroup, ID: id}, Models: []Model{{Bundle: filepath.Join(h.dir, "bottles-1.0.0.tar.zst")}},
		Outbox: Outbox{Path: filepath.Join(h.dir, id, "outbox.db"), MaxSize: 16 << 20}, Uplink: Uplink{Broker: h.broker}, Vision: Vision{Command: os.Args[0]},
		Repository: Repository{URL: h.url, Root: filepath.Join(h.repo.Public(), "metadata", "1.root.json"), Probation: new(time.Second)}, Status: Status{Listen: "off"}, Events: DefaultEvents()}
	conf.Defaults()
	a := &Agent{conf: conf, opt: Options{Version: "1.2.0"}, log: slog.New(slog.DiscardHandler), started: time.Now(), views: map[string]*view{}, slots: map[string]*slotView{"main": {}}}
	m := &member{a: a, eyes: &doubleVision{h: h, id: id}}
	for _, build := range []func() error{a.buildEvents, a.buildOutbox, a.buildUpdates, m.blind, a.buildOrders, a.buildUplink, a.buildVision} {
		if err := build(); err != nil {
			h.t.Fatal(err)
		}
	}
	return m
}

// start puts a device to work.
func (h *herd) start(id string) {
	h.t.Helper()
	m := h.build(id)
	a := m.a
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	for name, run := range map[string]func(context.Context) error{"outbox": a.outbox.Run, "uplink": a.uplink.Run, "models": a.updates.models.Run, "wishes": a.reconcile, "commands": a.orders.commands.Run} {
		parts.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				h.t.Errorf("%s: %s: %v", id, name, err)
			}
		})
	}
	m.stop = sync.OnceFunc(func() { cancel(); parts.Wait() })
	h.devices[id] = m
}

// blind gives the models the double instead of heron-vision.
func (m *member) blind() error {
	a, h := m.a, m.eyes.h
	src, err := a.buildSource(a.updates)
	if err != nil {
		return err
	}
	a.updates.models, err = models.New(models.Config{Dir: a.state("models"), Slots: map[string]string{"main": a.conf.Models[0].Bundle}, Source: src, Eyes: m.eyes, Watcher: m.eyes,
		Now: a.floor.now, Changed: a.changed, Audit: func(e models.Entry) {
			h.mu.Lock()
			h.audit = append(h.audit, account{a.conf.Device.ID, e})
			h.mu.Unlock()
			a.auditModel(e)
		}})
	return err
}

// startAll starts n devices, and listens to their audit as heron fleet export does.
func (h *herd) startAll(n int) {
	h.t.Helper()
	h.listen()
	var stops sync.WaitGroup
	h.t.Cleanup(func() {
		for _, m := range h.devices {
			stops.Go(m.stop)
		}
		stops.Wait()
	})
	for i := range n {
		h.start(fmt.Sprintf("dev-%03d", i))
	}
}

func (h *herd) config() fleet.Config { return fleet.Config{Broker: h.broker, Group: herdGroup} }

// listen exports the audit until the test ends.
func (h *herd) listen() {
	h.t.Helper()
	conf, ready := h.config(), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	h.t.Cleanup(func() { cancel(); done.Wait() })
	done.Go(func() {
		ready <- fleet.With(ctx, conf, fleet.Options{Subs: conf.TelemetrySubs(herdGroup, []string{"audit"}), Handle: h.export}, func(ctx context.Context, _ *fleet.Link) error {
			ready <- nil
			<-ctx.Done()
			return nil
		})
	})
	if err := <-ready; err != nil {
		h.t.Fatal(err)
	}
}

func (h *herd) export(m fleet.Message) {
	lines, err := h.config().Lines(m)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range lines {
		b, _ := json.Marshal(l)
		h.lines = append(append(h.lines, b...), '\n')
	}
	if err != nil {
		h.t.Error(err)
	}
}

// running are the devices whose live model came as target, sorted, by what they themselves know.
func (h *herd) running(target string) (ids []string) {
	for id, m := range h.devices {
		if m.a.updates.models.State()[0].Active.Target == target {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

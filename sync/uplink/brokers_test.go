package uplink

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"heron/internal/freeport"
)

// embedded is the broker inside the test, listening at address until stop or the test's end.
func embedded(t testing.TB, address string, conf ...listeners.Config) (stop func()) {
	t.Helper()
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	c := listeners.Config{ID: "t", Address: address}
	if len(conf) > 0 {
		c = conf[0]
		c.ID, c.Address = "t", address
	}
	eventually(t, "listening at "+address, func() bool { return s.AddListener(listeners.NewTCP(c)) == nil }) // a child that starts now holds a copy of the last one's socket until its exec
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = s.Close() })
	t.Cleanup(stop)
	return stop
}

// mosquitto is the real one; a second call with the same folder and address finds what the first kept.
type mosquitto struct {
	t       testing.TB
	address string
	dir     string
	extra   string
	cmd     *exec.Cmd
}

func newMosquitto(t testing.TB, extra string) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, address: freeport.Address(t), dir: t.TempDir(), extra: extra}
	if _, err := m.binary(); err != nil {
		t.Skip("mosquitto is not installed; `make setup` installs it")
	}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *mosquitto) binary() (string, error) {
	if p, err := exec.LookPath("mosquitto"); err == nil {
		return p, nil
	}
	return exec.LookPath("/usr/sbin/mosquitto")
}

func (m *mosquitto) start() {
	m.t.Helper()
	host, port, _ := net.SplitHostPort(m.address)
	conf := fmt.Sprintf("persistence true\npersistence_location %s/\nmax_queued_messages 0\nmax_inflight_messages 0\nlog_dest none\nlistener %s %s\n", m.dir, port, host)
	if os.Getuid() == 0 {
		conf = "user root\n" + conf
	}
	if m.extra == "" {
		conf += "allow_anonymous true\n"
	}
	path := filepath.Join(m.dir, "mosquitto.conf")
	if err := os.WriteFile(path, []byte(conf+m.extra), 0o600); err != nil {
		m.t.Fatal(err)
	}
	bin, _ := m.binary()
	m.cmd = exec.Command(bin, "-c", path)
	m.cmd.Stderr = nil // it warns of being root
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	waitListening(m.t, m.address)
}

// stop ends it as the system would: it keeps its sessions.
func (m *mosquitto) stop() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(os.Interrupt)
	_ = m.cmd.Wait()
	m.cmd = nil
}

func waitListening(t testing.TB, address string) {
	t.Helper()
	eventually(t, address+" listening", func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// subscribe collects everything under heron/ until the test ends, through a connection of its own that comes back by itself.
func subscribe(t testing.TB, address string) *ledger {
	t.Helper()
	l := newLedger(t)
	o := paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("subscriber").SetCleanSession(false).SetOrderMatters(true).
		SetAutoReconnect(true).SetMaxReconnectInterval(200 * time.Millisecond).SetResumeSubs(true).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { l.take(m.Topic(), m.Payload()) })
	c := paho.NewClient(o)
	for _, token := range []func() paho.Token{c.Connect, func() paho.Token { return c.Subscribe("heron/#", 1, nil) }} {
		if tk := token(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
			t.Fatalf("subscriber: %v", tk.Error())
		}
	}
	t.Cleanup(func() { c.Disconnect(50) })
	return l
}

// publisher sends messages with QoS 1 over a connection of its own.
func publisher(t testing.TB, address string) func(topic, payload string) {
	t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("publisher"))
	if tk := c.Connect(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
		t.Fatalf("publisher: %v", tk.Error())
	}
	t.Cleanup(func() { c.Disconnect(50) })
	return func(topic, payload string) {
		if tk := c.Publish(topic, 1, false, payload); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
			t.Errorf("publish %s: %v", topic, tk.Error())
		}
	}
}

// fast makes seconds of the minutes, with room for slow machines.
func fast() timing {
	t := defaultTiming()
	t.dial, t.connect, t.write, t.puback, t.ping = 2*time.Second, 8*time.Second, 2*time.Second, 4*time.Second, 2*time.Second
	t.dead, t.poll, t.info, t.quiet = 3*time.Second, 50*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
	t.retry = retryTiming{first: 50 * time.Millisecond, min: 100 * time.Millisecond, max: time.Second, share: 6, refusedMin: 100 * time.Millisecond, refusedMax: 400 * time.Millisecond, memory: 5 * time.Minute}
	return t
}

func config(broker string) Config {
	return Config{Broker: broker, Group: "acme", Device: "dev-1", Agent: "1.0.0", KeepAlive: 2 * time.Second}
}

// running is an uplink under test.
type running struct {
	*Uplink
	t    testing.TB
	stop context.CancelFunc
	done chan error
}

// run starts an uplink with fast timing, and stops it at the test's end.
func run(t testing.TB, conf Config, b Outbox, change ...func(*timing)) *running {
	t.Helper()
	u, err := New(conf, b)
	if err != nil {
		t.Fatal(err)
	}
	u.timing = fast()
	for _, c := range change {
		c(&u.timing)
	}
	return start(t, u)
}

func start(t testing.TB, u *Uplink) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Uplink: u, t: t, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- u.Run(ctx) }()
	t.Cleanup(r.end)
	return r
}

// end stops the uplink and waits for Run.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatal("Run did not end within 30 s")
	}
	r.done = make(chan error, 1)
	r.done <- nil
}

func (r *running) state(want string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("state %s; it is %+v", want, r.Stats()), func() bool { return r.Stats().State == want })
}

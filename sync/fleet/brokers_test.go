package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	nats "github.com/nats-io/nats-server/v2/server"

	"heron/internal/freeport"
)

// account of everybody in these tests; herd may do all that many devices may.
var users = []string{"manager", "viewer", "ingest", "dev-1", "dev-2", "herd"}

const secret = "not so secret"

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// swap replaces what must be there.
func swap(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("there is no %q to replace", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// mosquitto with the files of deploy/; restart ends it and starts it anew on what it kept.
func mosquitto(t testing.TB, acl string) (address string, restart func()) {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is not installed; `make setup` installs it")
		}
	}
	dir := t.TempDir()
	for _, u := range users {
		out, err := exec.Command("mosquitto_passwd", "-b", "-c", filepath.Join(dir, u), u, secret).CombinedOutput()
		if err != nil {
			t.Skipf("mosquitto_passwd: %v %s", err, out)
		}
		f, err := os.OpenFile(filepath.Join(dir, "passwd"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(read(t, filepath.Join(dir, u))); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	address = freeport.Address(t)
	_, port, _ := strings.Cut(address, ":")
	conf := swap(t, read(t, "../../deploy/mosquitto.conf"), "listener 8883", "listener "+port+" 127.0.0.1", "certfile ", "# ", "keyfile ", "# ",
		"/etc/mosquitto/heron.passwd", filepath.Join(dir, "passwd"), "/etc/mosquitto/mosquitto.acl", write(t, filepath.Join(dir, "acl"), acl+"\nuser herd\ntopic readwrite heron/v1/#\n"),
		"/var/lib/mosquitto/", dir+"/")
	if os.Getuid() == 0 {
		conf += "user root\n"
	}
	path := write(t, filepath.Join(dir, "mosquitto.conf"), conf+"log_dest none\n")
	var cmd *exec.Cmd
	start := func() {
		cmd = exec.Command(bin, "-c", path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "mosquitto answers", func() bool { return try(address, "manager") == nil })
	}
	stop := func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	start()
	t.Cleanup(func() { stop() })
	return address, func() { stop(); start() }
}

// natsServer with deploy/nats.conf.
func natsServer(t testing.TB) (address string, restart func()) {
	t.Helper()
	dir := t.TempDir()
	address = freeport.Address(t)
	conf := Config{}
	two := swap(t, conf.NATSUser("acme", "dev-2"), `"$2a$…"`, `"`+secret+`"`)
	text := swap(t, read(t, "../../deploy/nats.conf"), "127.0.0.1:4222", freeport.Address(t), "0.0.0.0:8883", address, "/var/lib/nats", strconv.Quote(dir),
		"  tls: { cert_file: /etc/nats/broker.pem, key_file: /etc/nats/broker.key }\n", "",
		"$HERON_MANAGER_PASSWORD", `"`+secret+`"`, "$HERON_VIEWER_PASSWORD", `"`+secret+`"`, "$HERON_INGEST_PASSWORD", `"`+secret+`"`, "$HERON_DEV_1_PASSWORD", `"`+secret+`"`,
		"  users: [\n", "  users: [\n{user: herd, password: \""+secret+"\"}\n"+two)
	path := write(t, filepath.Join(dir, "nats.conf"), text)
	var s *nats.Server
	start := func() {
		o, err := nats.ProcessConfigFile(path)
		if err != nil {
			t.Fatal(err)
		}
		o.NoLog, o.NoSigs = true, true
		if s, err = nats.NewServer(o); err != nil {
			t.Fatal(err)
		}
		s.Start()
		eventually(t, "nats-server answers", func() bool { return s.ReadyForConnections(time.Second) && try(address, "manager") == nil })
	}
	stop := func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	start()
	t.Cleanup(func() { stop() })
	return address, func() { stop(); start() }
}

func try(address, user string) error {
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("try-" + randomHex(4)).SetUsername(user).SetPassword(secret).SetAutoReconnect(false))
	tk := c.Connect()
	if !tk.WaitTimeout(5 * time.Second) {
		return fmt.Errorf("no answer")
	}
	if tk.Error() == nil {
		c.Disconnect(10)
	}
	return tk.Error()
}

// somebody is a client of a user, and what it heard.
type somebody struct {
	paho.Client
	mu    sync.Mutex
	heard []string
}

func as(t testing.TB, address, user string, topics ...string) *somebody {
	t.Helper()
	s := &somebody{}
	o := paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID(user + "-" + randomHex(3)).SetUsername(user).SetPassword(secret).SetAutoReconnect(false).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.heard = append(s.heard, m.Topic()+" "+string(m.Payload()))
		})
	s.Client = paho.NewClient(o)
	if tk := s.Connect(); !tk.WaitTimeout(5*time.Second) || tk.Error() != nil {
		t.Fatalf("%s: %v", user, tk.Error())
	}
	t.Cleanup(func() { s.Disconnect(10) })
	for _, topic := range topics {
		s.Subscribe(topic, 1, nil).WaitTimeout(2 * time.Second) // a refusal is one of the two ways to hear nothing
	}
	return s
}

func (s *somebody) say(topic, text string) {
	s.Publish(topic, 1, false, text).WaitTimeout(2 * time.Second)
}

func (s *somebody) hears(line string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.heard {
		if h == line {
			return true
		}
	}
	return false
}

func deviceWrites(id string) (out []string) {
	for _, b := range []string{"state", "info", "reported", "t/event", "h/result", "res/ping/1"} {
		out = append(out, "heron/v1/acme/"+id+"/"+b)
	}
	return out
}

var managerWrites = []string{"heron/v1/acme/_all/desired", "heron/v1/acme/_all/rollout", "heron/v1/acme/dev-1/desired", "heron/v1/acme/dev-1/cmd/reboot/1", "heron/v1/acme/dev-2/cmd/ping/2"}

func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) string{
		"mosquitto": func(t testing.TB) string {
			a, _ := mosquitto(t, read(t, "../../deploy/mosquitto.acl"))
			return a
		},
		"mosquitto, lines for each device": func(t testing.TB) string {
			acl := ""
			for _, line := range strings.SplitAfter(read(t, "../../deploy/mosquitto.acl"), "\n") {
				if !strings.HasPrefix(line, "pattern ") {
					acl += line
				}
			}
			a, _ := mosquitto(t, acl+Config{}.MosquittoACL("acme", "dev-1")+Config{}.MosquittoACL("acme", "dev-2"))
			return a
		},
		"nats-server": func(t testing.TB) string { a, _ := natsServer(t); return a },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := start(t)
			pinned := name != "mosquitto"
			foreign := []string{"heron/v1/acme/dev-1/ack", "heron/v1/acme/dev-9/state", "elsewhere/x"}
			if pinned {
				foreign = append(foreign, "heron/v1/other/dev-1/state", "heron/v1/other/dev-1/t/event")
			}
			checkWrites(t, address, "dev-1", deviceWrites("dev-1"), append(append(deviceWrites("dev-2"), managerWrites...), foreign...))
			checkWrites(t, address, "manager", managerWrites, append(append(deviceWrites("dev-1"), deviceWrites("manager")...), "heron/v1/acme/dev-1/ack"))
			checkWrites(t, address, "viewer", nil, append(append(deviceWrites("dev-1"), deviceWrites("viewer")...), managerWrites...))
			checkWrites(t, address, "ingest", []string{"heron/v1/acme/dev-1/ack"}, append(append(deviceWrites("dev-1"), deviceWrites("ingest")...), managerWrites...))
			checkReads(t, address, "dev-1", []string{"heron/v1/acme/dev-1/desired", "heron/v1/acme/dev-1/ack", "heron/v1/acme/dev-1/cmd/ping/1", "heron/v1/acme/_all/desired"},
				append(append(deviceWrites("dev-2"), deviceWrites("dev-1")...), "heron/v1/acme/dev-2/desired", "heron/v1/acme/dev-2/cmd/ping/1", "heron/v1/acme/_all/rollout"))
			checkReads(t, address, "viewer", append(deviceWrites("dev-1"), managerWrites...), nil)
			for _, user := range []string{"viewer", "manager"} { // as other programs ask for everything
				all := as(t, address, user, "heron/v1/#")
				as(t, address, "herd").say("heron/v1/acme/dev-1/state", "to "+user)
				eventually(t, user+" hears heron/v1/#", func() bool { return all.hears("heron/v1/acme/dev-1/state to " + user) })
			}
			if err := try(address, "nobody"); err == nil {
				t.Error("a user that does not exist was let in")
			}
		})
	}
}

// checkWrites: what user may write arrives, what not does not. Each is said by a connection of its own: some brokers end it at the first offence.
func checkWrites(t *testing.T, address, user string, may, mayNot []string) {
	t.Helper()
	all := as(t, address, "herd", "heron/v1/#")
	for _, topic := range mayNot {
		as(t, address, user).say(topic, "forbidden by "+user)
	}
	for _, topic := range may {
		as(t, address, user).say(topic, "allowed to "+user)
	}
	all.say("heron/v1/acme/fence/state", user)
	eventually(t, "the fence", func() bool { return all.hears("heron/v1/acme/fence/state " + user) })
	for _, topic := range may {
		eventually(t, user+" writes "+topic, func() bool { return all.hears(topic + " allowed to " + user) })
	}
	for _, topic := range mayNot {
		if all.hears(topic + " forbidden by " + user) {
			t.Errorf("%s wrote %s", user, topic)
		}
	}
}

func checkReads(t *testing.T, address, user string, may, mayNot []string) {
	t.Helper()
	one := as(t, address, user, may...)
	two := as(t, address, user, append([]string{"heron/#", "#"}, mayNot...)...)
	herd := as(t, address, "herd")
	for _, topic := range append(append([]string{}, mayNot...), may...) {
		herd.say(topic, "said")
	}
	for _, topic := range may {
		eventually(t, user+" reads "+topic, func() bool { return one.hears(topic + " said") })
	}
	for _, topic := range mayNot {
		if two.hears(topic+" said") || one.hears(topic+" said") {
			t.Errorf("%s read %s", user, topic)
		}
	}
}

// A whole rollout as the manager's user on the real brokers, which are restarted in the middle of the second wave.
func TestRolloutOnRealBrokers(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) (string, func()){
		"mosquitto": func(t testing.TB) (string, func()) {
			return mosquitto(t, read(t, "../../deploy/mosquitto.acl"))
		},
		"nats-server": natsServer,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, restart := start(t)
			h := newHerd(t, address, 100, "herd")
			h.login.Username, h.login.PasswordFile = "manager", write(t, filepath.Join(t.TempDir(), "password"), secret+"\n")
			restarted, last := false, Rollout{}
			err := h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, _ *Inventory) error {
				if _, err := m.Begin(ctx, "main", "bottles/1.4.2", plan(5, 25, 100)); err != nil {
					return err
				}
				return m.Drive(ctx, func(r Rollout, _ []Device) {
					last = r
					if r.At.Wave == 1 && !restarted {
						restarted = true
						restart()
					}
				})
			})
			if err != nil || !restarted {
				t.Errorf("%v; restarted: %v; %s at %+v: %s", err, restarted, last.State, last.At, last.Counts)
			}
			if n := h.running("bottles/1.4.2"); n != 100 {
				t.Errorf("%d of 100 run it", n)
			}
		})
	}
}

// A viewer who pushes is told so, though Mosquitto acknowledges what it drops; a wrong password, a missing one and a closed port are told apart.
func TestRefusals(t *testing.T) {
	t.Parallel()
	address, _ := mosquitto(t, read(t, "../../deploy/mosquitto.acl"))
	h := newHerd(t, address, 1, "herd")
	h.login.Username, h.login.PasswordFile = "viewer", write(t, filepath.Join(t.TempDir(), "password"), secret)
	err := h.with(ctxFor(t), "eve", func(ctx context.Context, m *Manager, _ *Inventory) error {
		_, err := m.Begin(ctx, "main", "bottles/6.6.6", plan(100))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), ErrUnseen.Error()) {
		t.Errorf("a viewer pushed: %v", err)
	}
	t.Log(err)
	for want, c := range map[string]Config{
		"password_file: /dev/null":                {Broker: "tcp://" + address, Username: "viewer", PasswordFile: os.DevNull},
		"it rejects user name or password":        {Broker: "tcp://" + address, Username: "viewer"},
		"connection refused":                      {Broker: "tcp://" + freeport.Address(t)},
		"cert \"a\" and key \"\" belong together": {Broker: "tcp://x", Cert: "a"},
		"user and password do not belong":         {Broker: "tcp://a:b@x"},
		"root: \"a/b/c\" is not one or two":       {Broker: "tcp://x", Root: "a/b/c"},
		"broker: missing":                         {},
	} {
		err := With(ctxFor(t), c, Options{timing: quick()}, func(context.Context, *Link) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "a:b") {
			t.Errorf("%v, want %s", err, want)
		}
		if errors.Is(err, ErrUnreachable) != (c.Broker == "tcp://"+address && c.PasswordFile == "" || want == "connection refused") {
			t.Errorf("%v: is it ErrUnreachable?", err)
		}
	}
}

// More retained documents than Mosquitto keeps waiting for one reader (1,000 by default, 10,000 in our example): all are heard at the first asking.
func TestLargeFleetIsHeardWhole(t *testing.T) {
	t.Parallel()
	const n = 3000
	address, _ := mosquitto(t, read(t, "../../deploy/mosquitto.acl"))
	h := newHerd(t, address, n, "herd")
	all := as(t, address, "herd", "heron/v1/+/+/state")
	eventually(t, "all have said so", func() bool { all.mu.Lock(); defer all.mu.Unlock(); return len(all.heard) >= n })
	h.login.Username, h.login.PasswordFile = "viewer", write(t, filepath.Join(t.TempDir(), "password"), secret)
	began := time.Now()
	err := h.with(ctxFor(t), "eve", func(_ context.Context, _ *Manager, inv *Inventory) error {
		got := inv.Devices()
		for _, d := range got {
			if d.State == nil || d.Reported == nil {
				return fmt.Errorf("%s is not whole", d.ID)
			}
		}
		if len(got) != n {
			return fmt.Errorf("%d of %d devices", len(got), n)
		}
		return nil
	})
	t.Logf("%d devices in %v", n, time.Since(began))
	if err != nil {
		t.Error(err)
	}
}

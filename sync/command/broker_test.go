package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/internal/freeport"
	"heron/sync/command"
	"heron/sync/message"
	"heron/sync/outbox"
	"heron/sync/uplink"
)

// empty is an outbox without records.
type empty struct{ n atomic.Uint64 }

func (e *empty) Session(context.Context) (uint64, error) { return e.n.Add(1), nil }
func (e *empty) Link(bool)                               {}
func (e *empty) Ack(...uint64)                           {}
func (e *empty) Refuse(uint64, string)                   {}
func (e *empty) Next(ctx context.Context, _ bool) (outbox.Group, error) {
	<-ctx.Done()
	return outbox.Group{}, ctx.Err()
}

// mosquitto starts the real broker.
func mosquitto(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is not installed; `make setup` installs it")
		}
	}
	address := freeport.Address(t)
	host, port, _ := net.SplitHostPort(address)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("allow_anonymous true\nmax_queued_messages 0\nlog_dest none\nlistener %s %s\n", port, host)
	if os.Getuid() == 0 {
		text = "user root\n" + text
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "broker", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return address
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// fleet is the far side.
type fleet struct {
	paho.Client
	t       *testing.T
	mu      sync.Mutex
	answers map[string][]string // by id
}

func newFleet(t *testing.T, address string) *fleet {
	f := &fleet{t: t, answers: map[string][]string{}}
	f.Client = paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("fleet").SetOrderMatters(true))
	f.wait(f.Connect())
	f.wait(f.Subscribe("heron/v1/+/+/res/#", 1, func(_ paho.Client, m paho.Message) {
		a, err := message.ParseAnswer(m.Payload())
		if err != nil {
			t.Errorf("%s: %v", m.Payload(), err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.answers[a.ID] = append(f.answers[a.ID], strings.TrimSpace(a.Status+" "+a.Code))
	}))
	t.Cleanup(func() { f.Disconnect(50) })
	return f
}

func (f *fleet) wait(tk paho.Token) {
	f.t.Helper()
	if !tk.WaitTimeout(20*time.Second) || tk.Error() != nil {
		f.t.Fatal(tk.Error())
	}
}

func (f *fleet) command(kind, id string, retained bool) paho.Token {
	b, _ := json.Marshal(message.Command{V: 1, ID: id, ExpiresAt: time.Now().Add(time.Minute)})
	return f.Publish("heron/v1/acme/dev-1/cmd/"+kind+"/"+id, 1, retained, b)
}

func (f *fleet) of(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.answers[id], ", ")
}

// The whole way through Mosquitto: a command, its repeat, a retained one, a flood of ten thousand, and an honest one after it.
func TestMosquittoCommands(t *testing.T) {
	address := mosquitto(t)
	f := newFleet(t, address)
	f.wait(f.command("ping", "kept", true))
	var up *uplink.Uplink
	e, err := command.Open(command.Config{Path: filepath.Join(t.TempDir(), "commands.log"), Synced: func() bool { return true }, Publish: func(topic string, b []byte) bool { return up.Publish(topic, b) }})
	if err != nil {
		t.Fatal(err)
	}
	var done, handled atomic.Int64
	if err := e.Register(command.Act{Type: "ping", Do: func(context.Context, json.RawMessage, func(string, int)) (any, error) {
		if done.Add(1) == 2 {
			return nil, errors.New("no camera")
		}
		return "pong", nil
	}}); err != nil {
		t.Fatal(err)
	}
	up, err = uplink.New(uplink.Config{Broker: "mqtt://" + address, Group: "acme", Device: "dev-1", Subscribe: []string{"cmd/#"},
		Handle: func(m uplink.Message) { handled.Add(1); e.Handle(m.Topic, m.Payload, m.Retained) }}, &empty{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { _ = e.Run(ctx) })
	running.Go(func() { _ = up.Run(ctx) })
	answered := func(id, want string) {
		t.Helper()
		eventually(t, id+" "+want, func() bool { return f.of(id) == want })
	}
	answered("kept", "rejected retained")
	f.command("ping", "a", false)
	answered("a", "accepted, running, succeeded")
	f.command("ping", "a", false)
	answered("a", "accepted, running, succeeded, succeeded")
	f.command("ping", "b", false)
	answered("b", "accepted, running, failed failed")
	const n = 10000
	began := time.Now()
	for i := range n {
		f.wait(f.command("ping", fmt.Sprint("f", i), false))
	}
	took := time.Since(began)
	eventually(t, "the flood is over", func() bool {
		s := up.Stats()
		return s.Received == n+4 && handled.Load() == int64(s.Received-s.ReceivedDropped)
	})
	s, u := e.Stats(), up.Stats()
	t.Logf("%d commands in %v: %d dropped by the uplink, %d by the rate, %d done; connection lost %d times", n, took.Round(time.Millisecond), u.ReceivedDropped, s.RateLimited, done.Load(), u.Lost)
	if most := 30 + 5*int64(took.Seconds()+1); done.Load() > most || u.Lost != 0 {
		t.Errorf("%d done, at most %d; lost %d", done.Load(), most, u.Lost)
	}
	eventually(t, "an honest one", func() bool {
		id := fmt.Sprint("honest", time.Now().UnixNano())
		f.command("ping", id, false)
		time.Sleep(500 * time.Millisecond)
		return f.of(id) == "accepted, running, succeeded"
	})
}

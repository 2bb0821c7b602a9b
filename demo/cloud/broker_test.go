package cloud

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// inbox is what the subscriber saw.
type inbox struct {
	mu  sync.Mutex
	got map[string]int
}

func (i *inbox) take(topic string, _ []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.got == nil {
		i.got = map[string]int{}
	}
	i.got[topic]++
}

func (i *inbox) has(topic string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.got[topic] > 0
}

func connect(t *testing.T, url string) mqtt.Client {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("device").SetProtocolVersion(4).SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(20 * time.Second).SetWriteTimeout(100 * time.Millisecond))
	if tok := c.Connect(); !tok.WaitTimeout(20*time.Second) || tok.Error() != nil {
		t.Fatalf("connect: %v", tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// Whatever the broker acknowledged must reach the subscriber, though the broker is cut off in the middle: else the books would call it lost.
func TestAcknowledgedIsDelivered(t *testing.T) {
	var in inbox
	b := NewBroker("127.0.0.1:0", in.take)
	var url string
	for life := range 5 {
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if url != "" && b.URL() != url {
			t.Fatalf("the broker moved from %s to %s", url, b.URL())
		}
		url = b.URL()
		c := connect(t, url)
		type sent struct {
			topic string
			tok   mqtt.Token
		}
		out := make(chan sent, 10_000)
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer close(out)
			for i := 0; i < cap(out) && c.IsConnectionOpen(); i++ {
				topic := fmt.Sprintf("heron/v1/demo/d%d/t/%d", life, i)
				out <- sent{topic, c.Publish(topic, 1, false, "x")}
			}
		}()
		first := <-out // in the middle is after the first, however long that takes
		if !first.tok.WaitTimeout(20*time.Second) || first.tok.Error() != nil {
			t.Fatalf("life %d: the first is not acknowledged: %v", life, first.tok.Error())
		}
		time.Sleep(time.Duration(20+10*life) * time.Millisecond)
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
		<-done
		if !in.has(first.topic) {
			t.Errorf("%s was acknowledged and never seen", first.topic)
		}
		for s := range out {
			select {
			case <-s.tok.Done():
			default:
				continue
			}
			if s.tok.Error() == nil && !in.has(s.topic) {
				t.Errorf("%s was acknowledged and never seen", s.topic)
			}
		}
	}
	if n := b.Dropped(); n != 0 {
		t.Errorf("%d messages dropped", n)
	}
}

func TestAwayMeansAway(t *testing.T) {
	b := NewBroker("127.0.0.1:0", func(string, []byte) {})
	if b.Up() {
		t.Error("up before Start")
	}
	for range 2 { // the second of each changes nothing
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c := connect(t, b.URL())
	for range 2 {
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if conn, err := net.DialTimeout("tcp", strings.TrimPrefix(b.URL(), "tcp://"), time.Second); err == nil {
		conn.Close()
		t.Error("somebody answers")
	}
	for deadline := time.Now().Add(20 * time.Second); c.IsConnectionOpen(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client still believes in its connection")
		}
	}
}

func TestWillArrives(t *testing.T) {
	var in inbox
	b := NewBroker("127.0.0.1:0", in.take)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(b.URL()).SetClientID("device").SetAutoReconnect(false).SetWill("heron/v1/demo/d/state", `{"status":"offline"}`, 1, true))
	if tok := c.Connect(); !tok.WaitTimeout(20*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if !in.has("heron/v1/demo/d/state") {
		t.Error("the device's will was not delivered")
	}
}

func TestStartSaysWhatIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b := NewBroker(ln.Addr().String(), func(string, []byte) {})
	if err := b.Start(ctx); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("port in use: %v", err)
	}
	if b.Up() {
		t.Error("up all the same")
	}
}

package uplink

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/sync/message"
)

// watcher keeps every message under a filter, in order, as "topic payload".
type watcher struct {
	mu   sync.Mutex
	seen []string
}

func watch(t testing.TB, address, filter string) *watcher {
	t.Helper()
	w := &watcher{}
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("watcher").SetCleanSession(false).SetAutoReconnect(true).
		SetMaxReconnectInterval(100 * time.Millisecond).SetResumeSubs(true).SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, strings.TrimSpace(strings.TrimPrefix(m.Topic(), "heron/v1/acme/dev-1/")+" "+string(m.Payload())))
	}))
	for _, token := range []func() paho.Token{c.Connect, func() paho.Token { return c.Subscribe(filter, 1, nil) }} {
		if tk := token(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
			t.Fatalf("watcher: %v", tk.Error())
		}
	}
	t.Cleanup(func() { c.Disconnect(50) })
	return w
}

func (w *watcher) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

func (w *watcher) count(what string) (n int) {
	for _, s := range w.all() {
		if s == what {
			n++
		}
	}
	return n
}

func put(t testing.TB, address, topic string, retained bool, payload string) {
	t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("put"))
	if tk := c.Connect(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
		t.Fatal(tk.Error())
	}
	defer c.Disconnect(50)
	if tk := c.Publish(topic, 1, retained, payload); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
		t.Fatal(tk.Error())
	}
}

// Documents are sent when they change, at each connect, and deleted when they are gone, also when that happens without a link.
func TestMosquittoDocuments(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "")
	w := watch(t, m.address, "#")
	p := newProxy(t, m.address)
	var docs atomic.Pointer[[]Document]
	set := func(d ...Document) { docs.Store(&d) }
	reported := func(s string) Document { return Document{Topic: "reported", Payload: []byte(s), Retained: true} }
	home := Document{Topic: "homeassistant/device/dev-1/config", Payload: []byte("{}"), Retained: true, Absolute: true}
	set(reported("1"), home, Document{Topic: "state", Payload: []byte("forged"), Retained: true}, Document{Topic: "a/+", Payload: []byte("x")})
	conf := config("tcp://" + p.address)
	conf.Documents = func() []Document { return *docs.Load() }
	conf.Info = func() message.Info { return message.Info{V: 1, Arch: "amd64"} }
	u := run(t, conf, newBox(t), func(t *timing) { t.info = time.Hour })
	eventually(t, "both documents", func() bool {
		return w.count("reported 1") == 1 && w.count("homeassistant/device/dev-1/config {}") == 1
	})
	set(reported("2"), home)
	u.Changed()
	eventually(t, "the change at once", func() bool { return w.count("reported 2") == 1 })
	if n := w.count("homeassistant/device/dev-1/config {}"); n != 1 {
		t.Errorf("the unchanged one was sent %d times", n)
	}
	p.close()
	eventually(t, "offline", func() bool { return u.Stats().State != StateOnline })
	set(reported("3"))
	p.open()
	eventually(t, "again, and the other deleted", func() bool {
		return w.count("reported 3") == 1 && w.count("homeassistant/device/dev-1/config") == 1
	})
	u.end()
	late := watch2(t, m.address)
	eventually(t, "what stands at the broker", func() bool { return late.count("reported 3") == 1 })
	for _, s := range late.all() {
		if strings.HasPrefix(s, "homeassistant") || strings.Contains(s, "forged") {
			t.Errorf("stands at the broker: %s", s)
		}
	}
	if u.Stats().DocumentsFailed == 0 {
		t.Error("a document on the topic of the state, and one on no topic, were not counted")
	}
}

// watch2 is a second watcher, with a name of its own.
func watch2(t testing.TB, address string) *watcher {
	w := &watcher{}
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("watcher-2").SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, strings.TrimPrefix(m.Topic(), "heron/v1/acme/dev-1/")+" "+string(m.Payload()))
	}))
	for _, token := range []func() paho.Token{c.Connect, func() paho.Token { return c.Subscribe("#", 1, nil) }} {
		if tk := token(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
			t.Fatal(tk.Error())
		}
	}
	t.Cleanup(func() { c.Disconnect(50) })
	return w
}

// What Publish took arrives, in order, over cuts of the connection; what its queue has no room for is refused and counted.
func TestMosquittoPublish(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "")
	w := watch(t, m.address, "heron/v1/acme/dev-1/res/#")
	p := newProxy(t, m.address)
	p.close()
	u := run(t, config("tcp://"+p.address), newBox(t))
	for i := range maxPosts {
		if !u.Publish("res/ping/"+fmt.Sprint(i), []byte("a")) {
			t.Fatalf("refused at %d", i)
		}
	}
	if u.Publish("res/ping/x", nil) || u.Publish("res/+", nil) || u.Stats().PostsDropped != 2 {
		t.Errorf("a full queue took one more: %+v", u.Stats())
	}
	p.open()
	eventually(t, "room", func() bool { return u.Stats().PostsWaiting == 0 })
	for i := range 60 {
		if i%20 == 10 {
			p.close()
			p.open()
		}
		eventually(t, "room", func() bool { return u.Publish("res/ping/b"+fmt.Sprint(i), []byte("b")) })
	}
	eventually(t, "all sent", func() bool { s := u.Stats(); return s.PostsSent == maxPosts+60 && s.PostsWaiting == 0 })
	if u.Stats().Heard.IsZero() {
		t.Error("PUBACKs, and none heard")
	}
	u.Publish("res/ping/last", []byte("c")) // a clean stop takes along what waits
	u.end()
	eventually(t, "the last", func() bool { return w.count("res/ping/last c") > 0 })
	var first []string
	for _, s := range w.all() {
		if !slices.Contains(first, s) { // QoS 1: duplicates are allowed
			first = append(first, s)
		}
	}
	if len(first) != maxPosts+61 || first[0] != "res/ping/0 a" || first[maxPosts] != "res/ping/b0 b" || first[len(first)-1] != "res/ping/last c" {
		t.Errorf("%d messages: %q", len(first), first)
	}
}

// Desired documents of the device and of its group, and commands, with the retain flag as the broker tells it.
func TestMosquittoInbound(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "")
	for _, topic := range []string{"dev-1/desired", "_all/desired", "dev-1/cmd/ping/old", "dev-2/desired"} {
		put(t, m.address, "heron/v1/acme/"+topic, true, "stands")
	}
	var mu sync.Mutex
	var got []string
	conf := config("tcp://" + m.address)
	conf.Subscribe = []string{"desired", "cmd/#", "_all/desired"}
	conf.Handle = func(m Message) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprint(m.Topic, " ", string(m.Payload), " ", m.Retained))
	}
	u := run(t, conf, newBox(t))
	u.state(StateOnline)
	wait := func(want ...string) {
		t.Helper()
		eventually(t, fmt.Sprint(want), func() bool {
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(got)
			return slices.Equal(got, want)
		})
		mu.Lock()
		got = nil
		mu.Unlock()
	}
	wait("_all/desired stands true", "cmd/ping/old stands true", "desired stands true")
	put(t, m.address, "heron/v1/acme/dev-1/cmd/ping/new", false, "now")
	put(t, m.address, "heron/v1/acme/_all/desired", true, "now")
	wait("_all/desired now false", "cmd/ping/new now false")
}

// A flood of commands pushes no document out, and a slow handler gets the newest document.
func TestFloodLeavesDocumentsAlone(t *testing.T) {
	b := inbox{more: make(chan struct{}, 1)}
	for i := range 1000 {
		if kept := b.put(Message{Topic: fmt.Sprint("cmd/ping/", i), Payload: make([]byte, 100)}, false); kept != (i < maxInbox) {
			t.Fatalf("command %d: kept %v", i, kept)
		}
	}
	b.put(Message{Topic: "desired", Payload: []byte("1")}, true)
	b.put(Message{Topic: "_all/desired", Payload: []byte("1")}, true)
	if b.put(Message{Topic: "desired", Payload: []byte("2")}, true) {
		t.Error("the older document was not counted as lost")
	}
	var order []string
	for m, ok := b.take(); ok; m, ok = b.take() {
		order = append(order, m.Topic+" "+string(m.Payload[:min(1, len(m.Payload))]))
	}
	if len(order) != 2+maxInbox || order[0] != "desired 2" || order[1] != "_all/desired 1" || b.bytes != 0 {
		t.Errorf("%d messages, %d bytes: %q", len(order), b.bytes, order[:3])
	}
	if b.put(Message{Topic: "cmd/a/b", Payload: make([]byte, maxInboxBytes+1)}, false) {
		t.Error("more bytes than there is room for")
	}
}

// Q7: a subscription that is refused does not cost the telemetry. It is told, asked for again, and then no longer told.
func TestFault_Q7_RefusedSubscription(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	f := newFake(t, func(p *peer) {
		if p.greet() {
			p.serve(func(c packet) bool {
				if c.kind() != packetSubscribe || !strings.Contains(string(c.body), "/cmd/#") || asked.Add(1) > 2 {
					return false
				}
				id := c.id()
				p.send(0x90, 3, id[0], id[1], 0x80)
				return true
			})
		}
	})
	b := newBox(t)
	b.add(message.Result, 5, true)
	conf := config("tcp://" + f.address)
	conf.Subscribe, conf.Handle = []string{"desired", "cmd/#"}, func(Message) {}
	u := run(t, conf, b, func(t *timing) { t.resubscribe = 500 * time.Millisecond })
	u.state(StateOnline)
	if r := u.Stats().Reason; !strings.Contains(r, "cmd/#: the broker refuses it (SUBACK 0x80)") {
		t.Errorf("online, reason %q", r)
	}
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	eventually(t, "granted", func() bool { return u.Stats().Reason == "" && asked.Load() == 3 })
	if s := u.Stats(); s.State != StateOnline || s.Connects != 1 {
		t.Errorf("%+v", s)
	}
}

// A document that was missed, or an old one that was given, as the connection began, is made good: documents are asked for again.
func TestDocumentsAreAskedForAgain(t *testing.T) {
	t.Parallel()
	var documents, commands atomic.Int32
	f := newFake(t, func(p *peer) {
		if p.greet() {
			p.serve(func(c packet) bool {
				if c.kind() == packetSubscribe {
					if strings.Contains(string(c.body), "/cmd/#") {
						commands.Add(1)
					} else if documents.Add(1) == 3 { // the first two at the connect
						const topic = "heron/v1/acme/dev-1/desired"
						p.send(append([]byte{0x31, byte(2 + len(topic) + 5), 0, byte(len(topic))}, topic+"rev 2"...)...)
					}
				}
				return false
			})
		}
	})
	conf, came := config("tcp://"+f.address), make(chan string, 10)
	conf.Subscribe, conf.Handle = []string{"desired", "_all/desired", "cmd/#"}, func(m Message) { came <- m.Topic + " " + string(m.Payload) }
	u := run(t, conf, newBox(t), func(t *timing) { t.info, t.reask = 10*time.Millisecond, 50*time.Millisecond })
	select {
	case m := <-came:
		if m != "desired rev 2" {
			t.Error(m)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing was asked for again")
	}
	if s := u.Stats(); s.Connects != 1 || commands.Load() != 1 {
		t.Errorf("%d connections, commands asked for %d times", s.Connects, commands.Load())
	}
}

// Q7: a broker that says no by closing the connection: the topic is left out, and the rest goes on.
func TestFault_Q7_SubscriptionCostsTheConnection(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *peer) {
		if p.greet() {
			p.serve(func(c packet) bool {
				if c.kind() == packetSubscribe && strings.Contains(string(c.body), "/cmd/#") {
					p.Close()
				}
				return false
			})
		}
	})
	b := newBox(t)
	b.add(message.Result, 5, true)
	conf := config("tcp://" + f.address)
	conf.Subscribe, conf.Handle = []string{"desired", "cmd/#"}, func(Message) {}
	u := run(t, conf, b)
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	if s := u.Stats(); s.State != StateOnline || !strings.Contains(s.Reason, "cmd/#") {
		t.Errorf("%+v", s)
	}
}

// An answer, or a document, over which a broker closes the connection is given up after three; the rest goes through.
func TestPoisonAside(t *testing.T) {
	t.Parallel()
	for _, poison := range []string{"res/ping/1", "reported"} {
		t.Run(poison, func(t *testing.T) {
			var good atomic.Int32
			f := newFake(t, func(p *peer) {
				if p.greet() {
					p.serve(func(c packet) bool {
						if c.kind() != packetPublish {
							return false
						}
						if strings.HasSuffix(c.topic(), poison) {
							p.Close()
						}
						if strings.HasSuffix(c.topic(), "res/ping/2") {
							good.Add(1)
						}
						return false
					})
				}
			})
			conf := config("tcp://" + f.address)
			conf.Documents = func() []Document {
				return []Document{{Topic: "reported", Payload: []byte("{}"), Retained: true}}
			}
			u := run(t, conf, newBox(t))
			u.Publish("res/ping/1", []byte("x"))
			u.Publish("res/ping/2", []byte("x"))
			eventually(t, "the second", func() bool { return good.Load() > 0 && u.Stats().PostsWaiting == 0 })
			if s := u.Stats(); s.Lost < maxStrikes || s.Lost > maxStrikes+3 || s.State != StateOnline {
				t.Errorf("%+v", s)
			}
		})
	}
}

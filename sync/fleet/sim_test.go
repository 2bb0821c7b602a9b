package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"heron/internal/backoff"
	"heron/sync/message"
)

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// embedded is the broker inside the test. A second one at the same address knows nothing of what the first kept.
func embedded(t testing.TB, address string) (stop func()) {
	t.Helper()
	if raceEnabled {
		t.Skip("mochi 2.7.9 has a data race of its own, between a retained message and a new subscription; without the detector this runs")
	}
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// A child that another test starts right now holds a copy of freeport's socket until its exec.
		err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: address}))
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = s.Close() })
	t.Cleanup(stop)
	return stop
}

func quick() *timing {
	return &timing{connect: 5 * time.Second, ack: 3 * time.Second, echo: 2 * time.Second, quiet: 100 * time.Millisecond, settle: 5 * time.Second,
		retry: backoff.Backoff{Min: 20 * time.Millisecond, Max: 200 * time.Millisecond}}
}

func quickPace() pace {
	return pace{tick: 20 * time.Millisecond, heartbeat: 100 * time.Millisecond, lease: 2 * time.Second, claim: 100 * time.Millisecond, stall: 2 * time.Second, refresh: 4 * time.Second}
}

// herd is a group of simulated devices that share one connection: each does with a desired document what its script says.
type herd struct {
	t      testing.TB
	client paho.Client
	conf   Config // for topics
	login  Config // of the managers
	mu     sync.Mutex
	list   map[string]*simulated
	deaf   func(id string, rev int64) bool // does not hear a document; nil: all do
}

type simulated struct {
	id string
	offline,
	silent bool // online, and never answers
	slot     message.ReportedSlot
	groupRev int64
	ownRev   int64
	bad      func(target string) (step, reason string) // nil: every target is confirmed
	chosen   []float64                                 // percents at which it was selected
}

func newHerd(t testing.TB, address string, n int, user ...string) *herd {
	t.Helper()
	h := &herd{t: t, conf: Config{Broker: "tcp://" + address, Group: "acme"}, list: map[string]*simulated{}}
	h.login = h.conf
	for i := range n {
		id := fmt.Sprintf("dev-%03d", i)
		h.list[id] = &simulated{id: id, slot: message.ReportedSlot{Slot: "main", Active: &message.ReportedModel{Target: "bottles/1.4.1", Name: "bottles", Version: "1.4.1", Engine: "onnx"}}}
	}
	o := paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID("herd").SetCleanSession(true).SetOrderMatters(false).SetAutoReconnect(true).
		SetMaxReconnectInterval(100 * time.Millisecond).SetConnectRetry(true).SetConnectRetryInterval(50 * time.Millisecond)
	if len(user) > 0 {
		o.SetUsername(user[0]).SetPassword(secret)
	}
	o.SetOnConnectHandler(func(c paho.Client) {
		h.listen(c)
		h.everything()
	})
	h.client = paho.NewClient(o)
	if tk := h.client.Connect(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
		t.Fatalf("herd: %v", tk.Error())
	}
	t.Cleanup(func() { h.client.Disconnect(20) })
	return h
}

// listen asks until the broker says yes: nats-server that has just begun may say no.
func (h *herd) listen(c paho.Client) {
	for range 100 {
		tk := c.Subscribe("heron/v1/acme/+/desired", 1, func(_ paho.Client, m paho.Message) {
			_, id, _, _ := h.conf.split(m.Topic())
			h.desired(strings.TrimPrefix(id, everyone), m.Payload())
		})
		if !tk.WaitTimeout(5*time.Second) || tk.Error() != nil {
			return // the connection is gone; the next one asks
		}
		if tk.(*paho.SubscribeToken).Result()["heron/v1/acme/+/desired"] == 1 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (h *herd) everything() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.list {
		h.say(d)
	}
}

func (h *herd) say(d *simulated) {
	state := message.State{V: 1, Status: "online", Session: 2, Since: time.Unix(1_790_000_000, 0).UTC(), Reason: "start", Agent: "1.2.0"}
	if d.offline {
		state.Status = "offline"
	}
	h.publish(d.id, "state", state)
	h.publish(d.id, "reported", message.Reported{V: 1, At: time.Unix(1_790_000_100, 0).UTC(), Rev: d.ownRev, GroupRev: d.groupRev, Slots: []message.ReportedSlot{d.slot}})
}

func (h *herd) publish(id, below string, doc any) {
	b, err := json.Marshal(doc)
	if err != nil {
		h.t.Error(err)
	}
	// QoS 0: paho that connects again by itself races with its own Publish over a kept message. What is lost then, everything says again.
	h.client.Publish(h.conf.Topic("acme", id, below), 0, true, b)
}

func (h *herd) desired(own string, payload []byte) {
	doc, err := message.ParseDesired(payload)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.list {
		if own != "" && d.ownRev > doc.Rev { // handlers run side by side: the older one may come last
			continue
		}
		if d.offline || d.silent || own != "" && own != d.id || own == "" && (d.groupRev >= doc.Rev || d.slot.Source == "device") || h.deaf != nil && h.deaf(d.id, doc.Rev) {
			continue
		}
		d.take(doc, own != "")
		h.say(d)
	}
}

// take does in no time what a device does in minutes.
func (d *simulated) take(doc message.Desired, own bool) {
	i := slices.IndexFunc(doc.Models, func(m message.DesiredModel) bool { return m.Slot == d.slot.Slot })
	if d.slot.Source = "group"; own {
		d.slot.Source, d.ownRev = "device", doc.Rev
	} else {
		d.groupRev = doc.Rev
	}
	if i < 0 { // nothing is asked
		d.slot.Source, d.slot.Target, d.slot.Rev = "", "", 0
		return
	}
	m := doc.Models[i]
	was := d.slot.Target
	d.slot.Rev, d.slot.Target, d.slot.Error, d.slot.Decision = doc.Rev, m.Target, "", ""
	if m.Rollout != nil && m.Rollout.Percent != nil {
		if !selects(d.id, m.Rollout.Salt, *m.Rollout.Percent) {
			d.slot.Step, d.slot.Decision = message.StepWaiting, notChosen
			return
		}
		d.chosen = append(d.chosen, *m.Rollout.Percent)
	}
	if was == m.Target && (d.slot.Step == message.StepRefused || d.slot.Step == message.StepRolledBack) {
		return // as it was: that digest is not tried again
	}
	if d.bad != nil {
		if step, reason := d.bad(m.Target); step != "" {
			d.slot.Step, d.slot.Error = step, reason
			d.slot.Refused = append([]message.Refusal{{Target: m.Target, Step: "tried", Reason: reason}}, d.slot.Refused...)
			return
		}
	}
	d.slot.Step = message.StepConfirmed
	if d.slot.Active.Target != m.Target {
		d.slot.Previous = d.slot.Active
		d.slot.Active = &message.ReportedModel{Target: m.Target, Name: "bottles", Version: m.Target[len("bottles/"):], Engine: "onnx"}
	}
}

// running counts devices by the target that is active.
func (h *herd) running(target string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.list {
		if d.slot.Active.Target == target {
			n++
		}
	}
	return n
}

func (h *herd) change(do func(map[string]*simulated)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(h.list)
}

// with runs body as one heron fleet command would: a connection, an inventory that has heard what is retained, a manager.
func (h *herd) with(ctx context.Context, by string, body func(context.Context, *Manager, *Inventory) error) error {
	inv := NewInventory(h.login)
	return With(ctx, h.login, Options{Subs: inv.Subs("acme"), Handle: inv.Take, timing: quick()}, func(ctx context.Context, l *Link) error {
		if err := l.Settle(ctx); err != nil {
			return err
		}
		m := NewManager(l, inv, "acme", by)
		m.pace = quickPace()
		return body(ctx, m, inv)
	})
}

func ctxFor(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func plan(percent ...float64) Plan {
	return Plan{Percent: percent, MaxFailed: 2, MinConfirmed: 100, Salt: "s"}
}

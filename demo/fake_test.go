package demo

import (
	"context"
	"errors"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"heron/sync/message"
)

// fakeAgent does what an agent does as far as the demo can tell: it answers, keeps answers while there is no broker, and sends them.
type fakeAgent struct {
	wiring Wiring
	answer func() string // the label for this moment
	lose   uint64        // the group with this first number is forgotten
	fail   error         // what Run returns at once
	panics bool
	until  time.Time // it answers no longer: a real agent does not when the camera is gone

	mu     sync.Mutex
	queue  [][]byte // sealed groups of one record
	seq    uint64
	late   uint64 // groups up to this number were sealed without a link
	kills  uint64
	linked bool
}

func (a *fakeAgent) View() View {
	a.mu.Lock()
	defer a.mu.Unlock()
	return View{State: "ok", Results: a.seq, Backlog: int64(len(a.queue)), Restarts: a.kills, Page: "http://127.0.0.1:8642/", Last: Seen{At: time.Now(), Label: a.answer()}}
}

func (a *fakeAgent) KillVision() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kills++
	return nil
}

func (a *fakeAgent) Run(ctx context.Context) error {
	if a.panics {
		panic("as a bug would")
	}
	if a.fail != nil {
		return a.fail
	}
	go a.see(ctx)
	for ctx.Err() == nil {
		if a.send(ctx) != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// see makes a result every 40 ms.
func (a *fakeAgent) see(ctx context.Context) {
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		label := a.answer()
		if label == "" || !a.until.IsZero() && time.Now().After(a.until) {
			continue
		}
		a.mu.Lock()
		a.seq++
		r := message.ResultRecord{Stamp: message.Now(), Camera: "line", Top: []message.Score{{Label: label, Score: .9}}}
		var s message.Sealer
		s.Begin(message.Header{Group: "demo", Device: "d", Epoch: "e"}, message.Result, a.seq, time.Now())
		s.Add(a.seq, r.AppendJSON(nil))
		if a.seq != a.lose {
			a.queue = append(a.queue, append([]byte(nil), s.End()...))
			if !a.linked {
				a.late = a.seq
			}
		}
		a.mu.Unlock()
	}
}

// send connects, and sends until the connection is lost.
func (a *fakeAgent) send(ctx context.Context) error {
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(a.wiring.Broker).SetClientID("device").SetAutoReconnect(false).SetWriteTimeout(100 * time.Millisecond))
	if t := c.Connect(); !t.WaitTimeout(5*time.Second) || t.Error() != nil {
		return errors.New("no broker")
	}
	defer c.Disconnect(0)
	a.link(true)
	defer a.link(false)
	for sent := 0; ctx.Err() == nil; sent++ {
		a.mu.Lock()
		var next []byte
		if len(a.queue) > 0 {
			next = a.queue[0]
		}
		topic := "heron/v1/demo/d/t/result"
		if a.seq-uint64(len(a.queue)) < a.late {
			topic = "heron/v1/demo/d/h/result"
		}
		a.mu.Unlock()
		if next == nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		t := c.Publish(topic, 1, false, next)
		if !t.WaitTimeout(5*time.Second) || t.Error() != nil || !c.IsConnectionOpen() {
			return errors.New("connection lost") // what was on its way is sent again
		}
		a.mu.Lock()
		a.queue = a.queue[1:]
		a.mu.Unlock()
	}
	return nil
}

func (a *fakeAgent) link(up bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.linked = up
}

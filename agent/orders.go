package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"heron/internal/clock"
	"heron/sync/command"
	"heron/sync/desired"
	"heron/sync/message"
	"heron/sync/models"
	"heron/sync/uplink"
)

// orders are what this device is asked for by the broker: documents and commands. nil: there is no broker and no repository.
type orders struct {
	desired  *desired.Store
	commands *command.Executor
	wake     chan struct{} // one token: documents or labels have changed

	mu      sync.Mutex
	decided *decided // nil: not yet
	problem string   // of the last document that could not be taken
}

// decided is what was made of the documents: what is reported goes by it, so that a rev is never answered before it was acted upon.
type decided struct {
	rev, groupRev int64
	wanted        desired.Resolved
	waiting       map[string]desired.Decision // slots whose rollout does not let this device begin
}

// ready says whether there is something to report: until then what the broker has kept of the last run stands.
func (o *orders) ready() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.decided != nil
}

// errNoRepository is the answer to whoever wants another model on a device that takes them from its configuration only.
var errNoRepository = errors.New("no repository is configured: this device takes its models from its configuration; set repository.url")

// address is whose documents this device takes.
func address(c Config) desired.Address {
	return desired.Address{Group: c.Device.Group, Device: c.Device.ID}
}

// buildOrders comes after what does the orders.
func (a *Agent) buildOrders() (err error) {
	if a.conf.Uplink.Broker == "" && a.updates == nil {
		return nil
	}
	o := &orders{wake: make(chan struct{}, 1)}
	if o.desired, err = desired.Open(a.state("desired.json"), address(a.conf)); err != nil {
		a.log.Error("what this device was asked to run was not remembered", "error", err, "next", "the broker says it again at the next connection")
	}
	o.commands, err = command.Open(command.Config{Path: a.state("commands.log"), Log: a.log, Audit: func(r message.AuditRecord) { a.outbox.Put(r) },
		Publish: func(topic string, b []byte) bool { return a.uplink != nil && a.uplink.Publish(topic, b) }})
	if err != nil {
		a.log.Error("earlier commands are not remembered", "error", err)
	}
	a.orders = o
	return a.registerCommands()
}

// subscriptions are the topics of the uplink, word for word as the access lists name them: nats-server refuses a wider one whole.
func (a *Agent) subscriptions() []string {
	return append(a.adapters.subscriptions(), "desired", "_all/desired", "cmd/+/+")
}

// handle takes a message from the broker.
func (a *Agent) handle(m uplink.Message) {
	if a.handleAdapters(m) || a.orders == nil {
		return
	}
	switch m.Topic {
	case "desired":
		a.take(desired.Device, m.Payload)
	case "_all/desired":
		a.take(desired.Group, m.Payload)
	default:
		a.orders.commands.Handle(m.Topic, m.Payload, m.Retained)
	}
}

func (a *Agent) take(src string, payload []byte) {
	o := a.orders
	news, err := o.desired.Take(src, payload)
	o.mu.Lock()
	if o.problem = ""; err != nil {
		o.problem = fmt.Sprintf("the %s's desired document: %v", src, err)
		a.log.Warn("a desired document was not taken", "source", src, "error", err)
	}
	o.mu.Unlock()
	if news {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
	a.changed()
}

// takeAgain takes up a document that a full disk could not keep: the broker sends it once a connection, and that can last for months.
func (a *Agent) takeAgain() {
	o := a.orders
	news, err := o.desired.Again()
	if !news || err != nil {
		return
	}
	o.mu.Lock()
	o.problem = ""
	o.mu.Unlock()
	a.log.Info("a desired document that the disk had no room for is taken")
}

// reconcile brings what runs to what is wanted, whenever that changes or its time has come.
func (a *Agent) reconcile(ctx context.Context) error {
	for {
		a.takeAgain()
		next := a.offerAll(time.Now())
		t := time.NewTimer(next)
		select {
		case <-a.orders.wake:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		t.Stop()
	}
}

// offerAll offers what the documents want and the rollouts let this device begin; it says when to look again.
func (a *Agent) offerAll(now time.Time) time.Duration {
	o, next := a.orders, time.Minute
	made := &decided{rev: o.desired.Rev(desired.Device), groupRev: o.desired.Rev(desired.Group), waiting: map[string]desired.Decision{}}
	wanted := o.desired.Resolved() // after the revs: it may be of newer ones, never of older
	made.wanted = wanted
	a.opt.Settings.offer(wanted.Config)
	self := desired.Self{ID: a.conf.Device.ID, Labels: a.conf.Device.Labels}
	waiting := made.waiting
	for _, w := range wanted.Models {
		d := desired.Decide(w.Rollout, self, now, clock.Now().Sync)
		if d.Verdict != desired.Apply {
			waiting[w.Slot] = d
			if !d.Next.IsZero() {
				next = min(next, max(time.Second, d.Next.Sub(now)))
			}
			continue
		}
		if a.updates == nil {
			waiting[w.Slot] = desired.Decision{Verdict: "refused", Text: errNoRepository.Error()}
			continue
		}
		wish := models.Wish{Target: w.Target, Rev: w.Order, Doc: w.Rev, Who: w.By, Shadow: *a.conf.Repository.Shadow, Probation: *a.conf.Repository.Probation}
		if w.Shadow != nil {
			wish.Shadow = time.Duration(*w.Shadow)
		}
		if w.Probation != nil {
			wish.Probation = time.Duration(*w.Probation)
		}
		if err := a.updates.models.Offer(w.Slot, wish); err != nil {
			waiting[w.Slot] = desired.Decision{Verdict: "refused", Text: err.Error()}
		}
	}
	if made.rev > 0 || made.groupRev > 0 { // none at all: this device does not know yet what is wanted
		a.withdraw(wanted.Models)
	}
	o.mu.Lock()
	o.decided = made
	o.mu.Unlock()
	a.changed()
	return next
}

// withdraw ends what is on its way to slots of which the documents say nothing any more. A rollout that leaves this device out, or a window
// that has closed, ends nothing: what has begun goes on.
func (a *Agent) withdraw(wanted []desired.Want) {
	if a.updates == nil {
		return
	}
	for _, m := range a.conf.Models {
		if !slices.ContainsFunc(wanted, func(w desired.Want) bool { return w.Slot == m.Slot }) {
			_ = a.updates.models.Withdraw(m.Slot) // the only error is a slot that is not there
		}
	}
}

// Package cloud is the other end of the demo's link: a broker that can be taken away and brought back, and a subscriber of its own
// that keeps the ledger of everything that arrived.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
)

// Broker is an MQTT broker inside this process. It listens on one address for as long as it lives, whether it is up or away.
// Start and Stop are called by one goroutine at a time; everything else may be called from any.
type Broker struct {
	onMessage func(topic string, payload []byte)

	mu      sync.Mutex
	addr    string // fixed by the first Start
	running *running
	dropped int64 // messages that earlier servers dropped for the subscriber
}

// running is one life of the broker: from a Start to its Stop.
type running struct {
	server *mqtt.Server
	ln     net.Listener
	sub    *subscriber
	guests connections // clients that came over the network
	own    connections // the subscriber's connection
	accept sync.WaitGroup
}

// NewBroker makes a broker whose subscriber hands every message under heron/ to onMessage, one at a time and in order.
// addr is host:port; port 0 lets the system choose at the first Start, and the choice stays.
func NewBroker(addr string, onMessage func(topic string, payload []byte)) *Broker {
	return &Broker{addr: addr, onMessage: onMessage}
}

// URL is where clients find the broker; before the first Start the port may be 0.
func (b *Broker) URL() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return "tcp://" + b.addr
}

// Up says whether the broker takes clients.
func (b *Broker) Up() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running != nil
}

// Dropped counts messages that the broker acknowledged and could not hand to the subscriber; anything but 0 makes the ledger worthless.
func (b *Broker) Dropped() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == nil {
		return b.dropped
	}
	return b.dropped + b.running.server.Info.Clone().MessagesDropped
}

// Start brings the broker up: the subscriber is subscribed before the first client is let in, so that nothing that is acknowledged
// can pass it by. A broker that is up stays as it is.
func (b *Broker) Start(ctx context.Context) error {
	if b.Up() {
		return nil
	}
	r := &running{}
	if err := r.serve(); err != nil {
		return fmt.Errorf("demo broker: %w", err)
	}
	var err error
	if r.sub, err = subscribe(ctx, r.dial, b.onMessage); err != nil {
		r.close()
		return fmt.Errorf("demo broker: subscribe: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.ln, err = listen(ctx, b.addr); err != nil {
		r.close()
		return fmt.Errorf("demo broker: listen on %s: %w", b.addr, err)
	}
	b.addr = r.ln.Addr().String()
	r.accept.Go(r.letIn)
	b.running = r
	return nil
}

// listen tries for a while: after a Stop the address may be taken by an outgoing connection's port for a moment.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for {
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			return ln, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop takes the broker away: its clients are cut off and nobody is let in. Everything it had acknowledged reaches onMessage before Stop returns.
func (b *Broker) Stop() error {
	b.mu.Lock()
	r := b.running
	b.running = nil
	b.mu.Unlock()
	if r == nil {
		return nil
	}
	err := r.close()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped += r.server.Info.Clone().MessagesDropped
	if err != nil {
		return fmt.Errorf("demo broker: stop: %w", err)
	}
	return nil
}

func (r *running) serve() error {
	limits := mqtt.NewDefaultServerCapabilities()
	limits.MaximumClientWritesPending = 1 << 16
	r.server = mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler), Capabilities: limits})
	if err := r.server.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	return r.server.Serve()
}

// close cuts the clients off, waits until the server has dealt with all they had sent, waits until the subscriber has it, and ends the rest.
func (r *running) close() error {
	if r.ln != nil {
		r.ln.Close()
	}
	r.accept.Wait()
	r.guests.close()
	var err error
	if r.sub != nil {
		err = r.sub.close()
	}
	r.own.close()
	return errors.Join(err, r.server.Close())
}

func (r *running) letIn() {
	for {
		conn, err := r.ln.Accept()
		if err != nil {
			return // closed
		}
		r.guests.add(conn, func() { r.establish("guests", conn) })
	}
}

// establish serves one connection until it ends. How it ended is the client's business: a refusal was told, a cut is the demo's purpose.
func (r *running) establish(name string, conn net.Conn) {
	defer conn.Close()
	_ = r.server.EstablishConnection(name, conn)
}

// dial connects the subscriber, without a port.
func (r *running) dial() net.Conn {
	here, there := net.Pipe()
	r.own.add(there, func() { r.establish("own", there) })
	return here
}

// connections are those being served, each by a goroutine that close waits for.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]bool
	wg   sync.WaitGroup
}

func (c *connections) add(conn net.Conn, serve func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[net.Conn]bool{}
	}
	c.open[conn] = true
	c.wg.Go(func() {
		serve()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.open, conn)
	})
}

func (c *connections) close() {
	c.mu.Lock()
	for conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

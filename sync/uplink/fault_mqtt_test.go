package uplink

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"heron/internal/freeport"
	"heron/sync/message"
)

// file takes what a fake broker got.
func (l *ledger) file(c packet) {
	if c.kind() == packetPublish {
		l.take(c.topic(), c.payload())
	}
}

// Q1: PUBACK never comes. The window fills, time runs out, the connection is made anew, the groups are sent again.
func TestFault_Q1_PubackNeverComes(t *testing.T) {
	t.Parallel()
	b, l := newBox(t), newLedger(t)
	var most, open atomic.Int64
	f := newFake(t, func(p *peer) {
		if !p.greet() {
			return
		}
		open.Store(0)
		p.serve(func(c packet) bool {
			l.file(c)
			if p.n < 2 && telemetry(c) {
				most.Store(max(most.Load(), open.Add(1)))
				return true
			}
			return false
		})
	})
	for range 100 {
		b.add(message.Result, 5, false)
	}
	conf := config("tcp://" + f.address)
	conf.MaxPublishes = 16
	conf.KeepAlive = time.Second // answered pings must not count as progress
	u := run(t, conf, b, func(t *timing) { t.puback = 500 * time.Millisecond })
	eventually(t, "the reason", func() bool { s := u.Stats(); return s.Lost == 1 && strings.Contains(s.Reason, "PUBACK") || s.Lost > 1 })
	if n := b.ackedGroups(); n != 0 && f.connections() < 3 {
		t.Errorf("%d groups were acknowledged to the outbox without a PUBACK", n)
	}
	eventually(t, "all delivered", func() bool { return b.left() == 0 })
	l.complete(b)
	if most.Load() > 16 {
		t.Errorf("%d groups were under way, the window is 16", most.Load())
	}
	if s := u.Stats(); s.Resent == 0 || l.dup == 0 {
		t.Errorf("resent %d, duplicates %d: this test must have made some", s.Resent, l.dup)
	}
}

// Q2: the connection is lost after PUBLISH and before PUBACK: with the client's own reconnect, the token would say success.
func TestFault_Q2_LostBeforePuback(t *testing.T) {
	t.Parallel()
	b, l := newBox(t), newLedger(t)
	hold := make(chan struct{})
	f := newFake(t, func(p *peer) {
		if !p.greet() {
			return
		}
		if p.n == 0 {
			for {
				if c, err := p.next(); err != nil || telemetry(c) {
					return // closes
				} else if c.kind() == packetPublish {
					id := c.id()
					p.send(0x40, 2, id[0], id[1])
				}
			}
		}
		<-hold // accepted and silent
		p.serve(func(c packet) bool { l.file(c); return false })
	})
	b.add(message.Event, 3, false)
	u := run(t, config("tcp://"+f.address), b)
	eventually(t, "second connection", func() bool { return f.connections() >= 2 })
	time.Sleep(200 * time.Millisecond)
	if b.ackedGroups() != 0 || b.left() != 1 {
		t.Fatalf("acknowledged %d, left %d: the broker never acknowledged it", b.ackedGroups(), b.left())
	}
	close(hold)
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	l.complete(b)
	if s := u.Stats(); s.Resent != 1 {
		t.Errorf("resent %d", s.Resent)
	}
}

// Q3: PUBACKs for packets nobody sent, and twice the same, change nothing.
func TestFault_Q3_StrayPubacks(t *testing.T) {
	b, l := newBox(t), newLedger(t)
	f := newFake(t, func(p *peer) {
		if !p.greet() {
			return
		}
		p.serve(func(c packet) bool {
			l.file(c)
			if telemetry(c) {
				id := c.id()
				p.send(0x40, 2, 0xff, 0xf0, 0x40, 2, id[0], id[1], 0x40, 2, id[0], id[1], 0x40, 2, 0, 0)
				return true
			}
			return false
		})
	})
	for range 30 {
		b.add(message.Result, 5, false)
	}
	u := run(t, config("tcp://"+f.address), b)
	eventually(t, "all delivered", func() bool { return b.left() == 0 })
	l.complete(b)
	if s := u.Stats(); s.Acked != 30 || s.Lost != 0 {
		t.Errorf("acked %d, lost %d", s.Acked, s.Lost)
	}
}

// Q5: another client uses the same identifier and both throw each other out: that is recognised and made slow.
func TestFault_Q5_TakenOver(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	f := newFake(t, func(p *peer) {
		if p.greet() {
			time.AfterFunc(50*time.Millisecond, func() { p.Close() })
			p.serve(nil)
		}
	})
	u := run(t, config("tcp://"+f.address), b, func(t *timing) { t.retry.refusedMin, t.retry.refusedMax = time.Hour, time.Hour })
	u.state(StateRefused)
	if s := u.Stats(); !strings.Contains(s.Reason, "identifier") || time.Until(s.NextRetry) < time.Minute || f.connections() < takenOver {
		t.Errorf("reason %q, next %v, after %d connections", s.Reason, s.NextRetry, f.connections())
	}
}

// Q5, against a real broker's way of taking over: the embedded one.
func TestFault_Q5_TwoDevicesOneIdentifier(t *testing.T) {
	address := freeport.Address(t)
	embedded(t, address)
	slow := func(t *timing) { t.retry.refusedMin, t.retry.refusedMax = time.Hour, time.Hour }
	one, two := run(t, config("tcp://"+address), newBox(t), slow), run(t, config("tcp://"+address), newBox(t), slow)
	eventually(t, "one of them gives way", func() bool { return one.Stats().State == StateRefused || two.Stats().State == StateRefused })
}

// Q6: each refusal has its own words; those that time does not heal are asked again slowly.
func TestFault_Q6_Connack(t *testing.T) {
	t.Parallel()
	for code, want := range map[byte]struct{ state, words, next string }{
		1: {StateRefused, "3.1.1", "another broker"}, 2: {StateRefused, "identifier", "device.id"}, 3: {StateOffline, "service", ""}, 4: {StateRefused, "password", "uplink.credentials"}, 5: {StateRefused, "authorised", "access list"},
		6: {StateOffline, "CONNACK code 6", ""}, 254: {StateOffline, "CONNACK code 254", ""}, 255: {StateOffline, "CONNACK code 255", ""},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			b := newBox(t)
			f := newFake(t, func(p *peer) {
				_, _ = p.next()
				p.send(0x20, 2, 0, code)
			})
			u := run(t, config("tcp://"+f.address), b, func(t *timing) { t.retry.refusedMin, t.retry.refusedMax = time.Hour, time.Hour })
			u.state(want.state)
			eventually(t, want.words, func() bool { return strings.Contains(u.Stats().Reason, want.words) })
			if next := u.Stats().NextStep; !strings.Contains(next, want.next) || (next == "") != (want.next == "") {
				t.Errorf("next step %q, want %q", next, want.next)
			}
			if want.state == StateRefused {
				if s := u.Stats(); time.Until(s.NextRetry) < time.Minute || f.connections() != 1 {
					t.Errorf("next try %v after %d connections", s.NextRetry, f.connections())
				}
			}
		})
	}
}

// A refused CONNECT leaves no session at the broker: its number is used again, and the device does not write to its disk at each try.
func TestRefusedConnectKeepsItsSessionNumber(t *testing.T) {
	b := newBox(t)
	f := newFake(t, func(p *peer) {
		if p.n < 3 {
			_, _ = p.next()
			p.send(0x20, 2, 0, 5)
			return
		}
		if p.greet() {
			p.serve(nil)
		}
	})
	u := run(t, config("tcp://"+f.address), b)
	u.state(StateOnline)
	if s := u.Stats(); s.Session != 1 {
		t.Errorf("session %d after three refusals", s.Session)
	}
}

// Q7: a SUBACK that refuses, that has too many codes, or that answers nothing.
func TestFault_Q7_Suback(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(id [2]byte) []byte
		words  string
	}{
		"too many codes": {func(id [2]byte) []byte { return []byte{0x90, 5, id[0], id[1], 1, 1, 1} }, "malformed SUBACK"},
		"no code":        {func(id [2]byte) []byte { return []byte{0x90, 2, id[0], id[1]} }, "malformed SUBACK"},
		"wrong id":       {func(id [2]byte) []byte { return []byte{0x90, 3, id[0] ^ 1, id[1], 1} }, "asked for nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			f := newFake(t, func(p *peer) {
				if !p.greet() {
					return
				}
				p.serve(func(s packet) bool {
					if s.kind() == packetSubscribe && p.n == 0 {
						p.send(c.answer(s.id())...)
						return true
					}
					return false
				})
			})
			conf := config("tcp://" + f.address)
			conf.Subscribe, conf.Handle = []string{"desired"}, func(Message) {}
			u := run(t, conf, b, func(t *timing) { t.retry.first, t.retry.min, t.retry.max = time.Second, time.Second, time.Second })
			eventually(t, c.words, func() bool { return strings.Contains(u.Stats().Reason, c.words) })
			u.state(StateOnline) // the next try, with an honest answer
		})
	}
}

// A SUBACK must not pass for a PUBACK: in the client, identifiers are shared.
func TestFault_Q7_SubackForAPublish(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	f := newFake(t, func(p *peer) {
		if !p.greet() {
			return
		}
		p.serve(func(c packet) bool {
			if telemetry(c) && p.n == 0 {
				id := c.id()
				p.send(0x90, 3, id[0], id[1], 1)
				return true
			}
			return telemetry(c)
		})
	})
	b.add(message.Result, 5, false)
	run(t, config("tcp://"+f.address), b)
	eventually(t, "next connection", func() bool { return f.connections() > 1 })
	if b.ackedGroups() != 0 {
		t.Error("a SUBACK was taken for a PUBACK")
	}
}

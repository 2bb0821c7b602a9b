package uplink

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"heron/internal/freeport"
	"heron/sync/message"
)

// through puts an embedded broker behind a proxy, with a subscriber that does not go through it.
func through(t *testing.T) (*proxy, *box, *ledger) {
	t.Helper()
	address := freeport.Address(t)
	embedded(t, address)
	l := subscribe(t, address)
	return newProxy(t, address), newBox(t), l
}

// N3: the broker is down, with resets and without any answer: the wait grows, with jitter, and never more than one try a second.
func TestFault_N3_BrokerDown(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t) // nobody listens
	b := newBox(t)
	b.add(message.Result, 5, false)
	start := time.Now()
	u := run(t, config("tcp://"+address), b, func(t *timing) { t.retry = defaultTiming().retry; t.retry.first /= 2 })
	eventually(t, "three tries", func() bool { return u.Stats().Failed >= 3 })
	if d := time.Since(start); d < 200*time.Millisecond {
		t.Errorf("three tries within %v", d)
	}
	if s := u.Stats(); !strings.Contains(s.Reason, "refused") || s.State == StateOnline || s.Session != 0 || b.session > 1 {
		t.Errorf("%s (%s), session %d, %d numbers drawn: tries that reach nobody must not each write to the disk", s.State, s.Reason, s.Session, b.session)
	}
	embedded(t, address)
	l := subscribe(t, address)
	_ = l
	u.state(StateOnline)
	eventually(t, "delivered", func() bool { return b.left() == 0 })
}

// N3: packets vanish: dialling gives up in bounded time, and stopping does not wait for it.
func TestFault_N3_Blackhole(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *peer) {
		_, _ = p.r.ReadByte()
		time.Sleep(50 * time.Millisecond)
		_, _ = p.Read(make([]byte, 1000))
		_, _ = p.Read(make([]byte, 1))
	})
	u := run(t, config("tcp://"+f.address), newBox(t), func(t *timing) { t.connect = 300 * time.Millisecond })
	eventually(t, "a reason", func() bool { return u.Stats().Failed > 0 && u.Stats().Reason == "no answer in time" })
	start := time.Now()
	u.end()
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("stopping took %v", d)
	}
}

// N4: the link is half-open and idle: the ping finds out.
func TestFault_N4_HalfOpenIdle(t *testing.T) {
	t.Parallel()
	p, b, l := through(t)
	conf := config("tcp://" + p.address)
	conf.KeepAlive = time.Second
	u := run(t, conf, b)
	u.state(StateOnline)
	p.stalled.Store(true)
	start := time.Now()
	eventually(t, "noticed", func() bool { return u.Stats().Lost > 0 })
	t.Logf("noticed after %v with a keepalive of %v and a ping timeout of %v", time.Since(start), conf.KeepAlive, u.timing.ping)
	p.stalled.Store(false)
	p.cut()
	u.state(StateOnline)
	b.add(message.Event, 1, true)
	l.complete(b)
}

// N4, by the rules of the client: with a keepalive of 30 s it looks every 5 s, so the last look is at most 45 s after the silence began.
func TestHalfOpenIsFoundWithin45Seconds(t *testing.T) {
	const look = 5 * time.Second
	d := defaultTiming()
	pingAt := Config{}.withDefaults().KeepAlive + look
	if found := pingAt + (d.ping/look+1)*look; found > 45*time.Second {
		t.Errorf("found after %v", found)
	}
}

// N5: half-open while sending.
func TestFault_N5_HalfOpenWhileSending(t *testing.T) {
	t.Parallel()
	p, b, l := through(t)
	u := run(t, config("tcp://"+p.address), b)
	u.state(StateOnline)
	p.stalled.Store(true)
	for range 50 {
		b.add(message.Result, 100, true)
	}
	start := time.Now()
	eventually(t, "noticed", func() bool { return u.Stats().Lost > 0 })
	if d := time.Since(start); d > 4*u.timing.puback {
		t.Errorf("noticed after %v with a PUBACK timeout of %v", d, u.timing.puback)
	}
	p.stalled.Store(false)
	p.cut()
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	l.complete(b)
}

// N6: the link goes and comes all the time. Nothing is lost, nothing grows.
func TestFault_N6_Flapping(t *testing.T) {
	p, b, l := through(t)
	u := run(t, config("tcp://"+p.address), b)
	u.state(StateOnline)
	before := runtime.NumGoroutine()
	for i := range 30 {
		for range 5 {
			b.add(message.Result, 20, i%2 == 0)
		}
		b.add(message.Alarm, 1, true)
		time.Sleep(time.Duration(10+i*7%60) * time.Millisecond)
		p.close()
		time.Sleep(time.Duration(i*13%40) * time.Millisecond)
		p.open()
	}
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	l.complete(b)
	eventually(t, fmt.Sprintf("goroutines back to %d", before), func() bool { return runtime.NumGoroutine() <= before+3 })
	s := u.Stats()
	t.Logf("%d connections, %d lost, %d groups sent twice, %d records arrived twice", s.Connects, s.Lost, s.Resent, l.dup)
	if s.Lost < 5 {
		t.Errorf("only %d connections were lost: the test did not flap", s.Lost)
	}
	states := l.stateList()
	for i := 1; i < len(states); i++ {
		if states[i].Session < states[i-1].Session && states[i].Status == "online" {
			t.Errorf("birth of session %d after session %d", states[i].Session, states[i-1].Session)
		}
	}
}

// N7: a thin and slow link: alarms come through before the backlog is, the window shrinks, and the connection is not given up.
func TestFault_N7_ThinLink(t *testing.T) {
	t.Parallel()
	p, b, l := through(t)
	p.rate.Store(40 << 10)
	p.delay.Store(int64(50 * time.Millisecond))
	conf := config("tcp://" + p.address)
	conf.KeepAlive = 30 * time.Second
	conf.Compress = CompressZstd
	for range 30 {
		b.add(message.Result, 300, false)
	}
	u := run(t, conf, b, func(t *timing) { t.slow = 600 * time.Millisecond; t.dead = time.Minute }) // the kernel takes the proxy's small buffer, full for 3 s, for a dead peer
	u.state(StateOnline)
	eventually(t, "a narrow window", func() bool { s := u.Stats(); return s.Acked > 2 && s.Window <= 4 && s.InFlight <= 4 })
	waiting := b.left()
	alarm := b.add(message.Alarm, 1, true)
	eventually(t, "the alarm", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.acked[alarm] > 0 })
	if first := waiting - b.left(); first > 8 {
		t.Errorf("%d of %d groups of backlog came before the alarm; at most 4 were under way", first, waiting)
	}
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	l.complete(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.topics["heron/v1/acme/dev-1/t/alarm"] == 0 {
		t.Error("the alarm did not come as live")
	}
	if s := u.Stats(); s.Connects > 1 {
		t.Errorf("%d connections (%s): the link was slow, not dead", s.Connects, s.Reason)
	}
}

// N7: one group that needs far longer than the PUBACK timeout to get over still does: what moves is not dead.
func TestFault_N7_LargeGroupOnAThinLink(t *testing.T) {
	t.Parallel()
	p, b, l := through(t)
	p.rate.Store(6 << 10)
	id := b.add(message.Result, 250, false) // 50 kB as JSON: 8 s
	conf := config("tcp://" + p.address)
	conf.KeepAlive = 30 * time.Second // brokers give one packet one and a half of it to arrive
	u := run(t, conf, b, func(t *timing) { t.dead = time.Minute })
	eventually(t, "delivered", func() bool { return b.left() == 0 || u.Stats().Lost > 0 })
	l.complete(b)
	if s := u.Stats(); s.Connects != 1 || s.RTT < u.timing.puback {
		t.Errorf("group %d: %d connections, %v to the PUBACK (%s)", id, s.Connects, s.RTT, s.Reason)
	}
}

// N8: the connection is reset after every number of bytes, in either direction: in CONNECT, in the birth, in a group, in a PUBACK.
func TestFault_N8_ResetAtEveryByte(t *testing.T) {
	p, b, l := through(t)
	offsets := []int64{1, 2, 5, 13, 14, 40, 100, 190, 191, 192, 200, 250, 300, 350, 400, 420, 500, 700, 1000, 1500, 2500, 4000}
	u := run(t, config("tcp://"+p.address), b, func(t *timing) {
		t.retry.first, t.retry.min, t.retry.max = 5*time.Millisecond, 5*time.Millisecond, 20*time.Millisecond
		t.retry.refusedMin, t.retry.refusedMax, t.quiet = 5*time.Millisecond, 10*time.Millisecond, time.Millisecond
	})
	for i, at := range slices.Concat(offsets, []int64{-1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -12, -20}) {
		p.limit.Store(max(0, at))
		p.limitBack.Store(max(0, -at))
		before := p.accepted.Load()
		p.cut()
		for range 3 {
			b.add(message.Result, 5, i%2 == 0)
		}
		eventually(t, fmt.Sprintf("two more connections with a reset at %d", at), func() bool { return p.accepted.Load() >= before+2 || b.left() == 0 })
	}
	p.limit.Store(0)
	p.limitBack.Store(0)
	p.cut()
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	if len(b.refused) != 0 {
		t.Errorf("groups refused: %v", b.refused)
	}
	l.complete(b)
	t.Logf("%+v; %d records twice", u.Stats(), l.dup)
}

// N8: the same within a TLS handshake and after it: a connection that is cut is not a certificate that is refused.
func TestFault_N8_ResetWithinTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	p := newProxy(t, a.secure(a.issue("broker")))
	conf, b := config("mqtts://"+p.address), newBox(t)
	conf.CA = a.path
	conf.Cert, conf.Key = a.issue("dev-1")
	u := run(t, conf, b, func(t *timing) {
		t.retry.first, t.retry.min, t.retry.max = 5*time.Millisecond, 5*time.Millisecond, 10*time.Millisecond
	})
	for at := int64(20); at < 1700; at += 140 {
		for _, limit := range []*atomic.Int64{&p.limit, &p.limitBack} {
			limit.Store(at)
			before := p.accepted.Load()
			p.cut()
			b.add(message.Result, 2, true)
			eventually(t, fmt.Sprintf("connections with a reset at %d", at), func() bool { return p.accepted.Load() >= before+2 })
			if s := u.Stats(); s.State == StateRefused && !strings.Contains(s.Reason, "identifier") {
				t.Errorf("a reset at byte %d is taken for a refusal: %s", at, s.Reason)
			}
			limit.Store(0)
		}
	}
	p.cut()
	eventually(t, "delivered", func() bool { return b.left() == 0 })
}

// Q11: the broker forgets everything at a restart: the state is published again, and so is what it had not acknowledged.
func TestFault_Q11_BrokerForgets(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	stop := embedded(t, address)
	b := newBox(t)
	conf := config("tcp://" + address)
	conf.Subscribe, conf.Handle = []string{"desired"}, func(Message) {}
	u := run(t, conf, b)
	u.state(StateOnline)
	stop()
	eventually(t, "noticed", func() bool { return u.Stats().State != StateOnline })
	b.add(message.Event, 3, true)
	embedded(t, address)
	l := subscribe(t, address)
	u.state(StateOnline)
	eventually(t, "state", func() bool { return len(l.stateList()) > 0 })
	if s := l.stateList(); s[0].Session < 2 || s[0].Reason != "reconnect" || s[0].Status != "online" {
		t.Errorf("%+v", s)
	}
	eventually(t, "delivered", func() bool { return b.left() == 0 })
}

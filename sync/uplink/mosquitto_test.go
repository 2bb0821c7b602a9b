package uplink

import (
	"os"
	"testing"
	"time"

	"heron/sync/message"
)

// The broker is stopped and started again while results come in; a subscriber with a session of its own sees every one.
func TestMosquittoOutage(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "")
	b, l := newBox(t), subscribe(t, m.address)
	u := run(t, config("mqtt://"+m.address), b)
	u.state(StateOnline)
	for i := range 3 {
		for range 20 {
			b.add(message.Result, 10, true)
		}
		m.stop()
		b.add(message.Alarm, 1, true)
		for range 20 {
			b.add(message.Result, 10, true)
		}
		time.Sleep(time.Duration(i) * 200 * time.Millisecond)
		m.start()
		u.state(StateOnline)
	}
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	l.complete(b)
	u.end()
}

// A device that vanishes is declared offline by its will, with its session number; when it is back, online with a greater one.
func TestMosquittoPublishesTheWill(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "")
	b, l := newBox(t), subscribe(t, m.address)
	p := newProxy(t, m.address)
	u := run(t, config("mqtt://"+p.address), b)
	u.state(StateOnline)
	p.close()
	eventually(t, "offline", func() bool { s := l.stateList(); return len(s) == 2 })
	p.open()
	eventually(t, "online again", func() bool { s := l.stateList(); return len(s) == 3 })
	u.end()
	eventually(t, "shutdown", func() bool { s := l.stateList(); return len(s) == 4 })
	for i, want := range []struct {
		status, reason string
		session        uint64
	}{{"online", "start", 1}, {"offline", "lost", 1}, {"online", "reconnect", 2}, {"offline", "shutdown", 2}} {
		if s := l.stateList()[i]; s.Status != want.status || s.Reason != want.reason || s.Session != want.session {
			t.Errorf("state %d is %+v, want %+v", i, s, want)
		}
	}
}

// Q12: Mosquitto acknowledges a message over its limit and drops it (MQTT 3.1.1 has no word for "no"). The uplink goes on; what was
// dropped shows as a hole in the sequence numbers. This test holds that fact.
func TestFault_Q12_MosquittoDropsOversize(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "allow_anonymous true\nmessage_size_limit 4000\n")
	b, l := newBox(t), subscribe(t, m.address)
	b.add(message.Result, 5, false)
	b.add(message.Result, 200, false)
	b.add(message.Result, 5, false)
	u := run(t, config("mqtt://"+m.address), b)
	eventually(t, "acknowledged or given up", func() bool { return b.left() == 0 })
	eventually(t, "the small ones", func() bool { return l.count() >= 10 })
	t.Logf("200 records over the limit: %d groups acknowledged, %d refused, %d of 210 records arrived", u.Stats().Acked, u.Stats().RefusedGroups, l.count())
}

// A real minute without a broker, with the timing that ships. HERON_TORTURE=long runs it.
func TestMosquittoAwayForAMinute(t *testing.T) {
	if os.Getenv("HERON_TORTURE") != "long" {
		t.Skip("takes over a minute; HERON_TORTURE=long runs it")
	}
	t.Parallel()
	m := newMosquitto(t, "")
	b, l := newBox(t), subscribe(t, m.address)
	u := run(t, config("mqtt://"+m.address), b, func(t *timing) { *t = defaultTiming() })
	u.state(StateOnline)
	m.stop()
	for range 60 {
		b.add(message.Result, 10, true)
		time.Sleep(time.Second)
	}
	m.start()
	start := time.Now()
	u.state(StateOnline)
	t.Logf("online %v after the broker came back, after %d failed tries", time.Since(start), u.Stats().Failed)
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("online only after %v", d)
	}
	eventually(t, "delivered", func() bool { return b.left() == 0 })
	l.complete(b)
}

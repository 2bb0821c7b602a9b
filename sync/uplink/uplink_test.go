package uplink

import (
	"context"
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"

	"heron/internal/freeport"
	"heron/sync/message"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "16") // the parallel ones here wait more than they work
	goleak.VerifyTestMain(m)
}

func TestDeliversEverythingByteForByte(t *testing.T) {
	for _, compress := range []string{CompressNone, CompressZstd} {
		t.Run(compress, func(t *testing.T) {
			address := freeport.Address(t)
			embedded(t, address)
			l, b := subscribe(t, address), newBox(t)
			for range 50 {
				b.add(message.Result, 20, false)
			}
			conf := config("mqtt://" + address)
			conf.Compress = compress
			conf.Info = func() message.Info { return message.Info{V: 1, Agent: "1.0.0", Arch: "amd64"} }
			u := run(t, conf, b)
			u.state(StateOnline)
			b.add(message.Alarm, 1, true)
			b.add(message.Result, 10, true)
			eventually(t, "the box empty", func() bool { return b.left() == 0 })
			l.complete(b)
			u.end()
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.topics["heron/v1/acme/dev-1/t/alarm"] != 1 || l.topics["heron/v1/acme/dev-1/t/result"] != 1 || l.topics["heron/v1/acme/dev-1/h/result"] != 50 {
				t.Errorf("messages by topic: %v", l.topics)
			}
			if want := map[string]int{CompressNone: 0, CompressZstd: 52}[compress]; l.zipped != want {
				t.Errorf("%d messages came compressed, want %d", l.zipped, want)
			}
			if len(l.info) != 1 || l.info[0].Arch != "amd64" {
				t.Errorf("info: %+v", l.info)
			}
			s := u.Stats()
			if s.Acked != 52 || s.Published != 52 || s.AckedRecords != 1011 || s.Resent != 0 || s.InFlight != 0 || s.SentToday < 1000 || s.ReceivedToday < 52*4 || s.RTT <= 0 {
				t.Errorf("stats %+v", s)
			}
			if s.State != StateOffline || s.Reason != "stopped" {
				t.Errorf("at the end: %s (%s)", s.State, s.Reason)
			}
		})
	}
}

func TestStateTellsBirthAndShutdown(t *testing.T) {
	address := freeport.Address(t)
	embedded(t, address)
	l, b := subscribe(t, address), newBox(t)
	u := run(t, config("tcp://"+address), b)
	u.state(StateOnline)
	u.end()
	eventually(t, "two states", func() bool { return len(l.stateList()) >= 2 })
	s := l.stateList()
	if len(s) != 2 {
		t.Fatalf("%+v", s)
	}
	if s[0].Status != "online" || s[0].Reason != "start" || s[0].Session != 1 || s[0].Agent != "1.0.0" || time.Since(s[0].Since) > time.Minute {
		t.Errorf("birth %+v", s[0])
	}
	if s[1].Status != "offline" || s[1].Reason != "shutdown" || s[1].Session != 1 {
		t.Errorf("shutdown %+v", s[1])
	}
}

// The cap on the backlog holds, and live groups do not wait for it.
func TestBackfillIsPaced(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	b := newBox(t)
	for range 20 {
		b.add(message.Result, 50, false)
	}
	conf := config("mqtt://" + address)
	conf.Backfill = 250
	start := time.Now()
	u := run(t, conf, b)
	u.state(StateOnline)
	b.add(message.Result, 500, true)
	eventually(t, "the live group", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.acked[1001] > 0 })
	if b.left() < 10 {
		t.Errorf("%d groups of backlog are left after %v: not paced", b.left(), time.Since(start))
	}
	eventually(t, "the backlog", func() bool { return b.left() == 0 })
	if d := time.Since(start); d < 3700*time.Millisecond {
		t.Errorf("1,000 records of backlog took %v at 250 a second", d)
	}
}

// Nothing is left running, however often the connection is made and lost, and Run ends at once in every state.
func TestStopsInEveryState(t *testing.T) {
	before := []string{"silent", "offline"}
	f := newFake(t, func(p *peer) { _, _ = p.next(); _, _ = p.next() })
	for _, name := range before {
		t.Run(name, func(t *testing.T) {
			address := f.address
			if name == "offline" {
				address = freeport.Address(t)
			}
			u := run(t, config("mqtt://"+address), newBox(t), func(t *timing) { t.retry.first, t.retry.min = time.Hour, time.Hour })
			time.Sleep(50 * time.Millisecond)
			start := time.Now()
			u.end()
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("stopping took %v", d)
			}
		})
	}
}

// An outbox that cannot give a session number yet keeps the device offline, with the reason; one that fails for good does not.
func TestSessionNumber(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	b := newBox(t)
	b.fail = errBroken
	u := run(t, config("mqtt://"+address), b)
	u.state(StateOnline)
	if s := u.Stats(); s.Session < 1_700_000_000 {
		t.Errorf("session %d", s.Session)
	}
	slow := run(t, config("mqtt://"+address), opening{b}, func(t *timing) { t.connect = 100 * time.Millisecond })
	eventually(t, "the reason", func() bool { return slow.Stats().Failed > 0 && slow.Stats().Reason == "the outbox is not open yet" })
}

type opening struct{ *box }

func (opening) Session(ctx context.Context) (uint64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

const errBroken = constError("the disk fails")

type constError string

func (e constError) Error() string { return string(e) }

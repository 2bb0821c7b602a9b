package uplink

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"heron/sync/message"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestDeliversEverythingByteForByte(t *testing.T) {
	for _, compress := range []string{CompressNone, CompressZstd} {
		t.Run(compress, func(t *testing.T) {
			address := freeAddress(t)
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
	address := freeAddress(t)
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

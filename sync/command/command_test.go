package command

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"heron/sync/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// device is an Executor with everything around it.
type device struct {
	*Executor
	t      *testing.T
	path   string
	mu     sync.Mutex
	told   []string // "ping/1 accepted", with the code of what failed
	last   map[string]message.Answer
	audits []string
	synced bool
	room   bool
	stop   func()
}

// start opens an Executor on path, with the acts of a device, and runs it.
func start(t *testing.T, path string, change func(*device, *Config), acts ...Act) *device {
	t.Helper()
	d := &device{t: t, path: path, last: map[string]message.Answer{}, synced: true, room: true}
	conf := Config{Path: path, Rate: 1000, Burst: 1000, Synced: func() bool { return d.synced },
		Audit: func(r message.AuditRecord) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.audits = append(d.audits, r.Who+" "+r.What+" "+r.Result)
		},
		Publish: func(topic string, payload []byte) bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !d.room {
				return false
			}
			a, err := message.ParseAnswer(payload)
			if err != nil || !strings.HasSuffix(topic, "/"+a.ID) {
				t.Errorf("%s: %s: %v", topic, payload, err)
			}
			d.told = append(d.told, strings.TrimPrefix(topic, "res/")+" "+strings.TrimSpace(a.Status+" "+a.Code))
			d.last[a.ID] = a
			return true
		}}
	if change != nil {
		change(d, &conf)
	}
	e, err := Open(conf)
	if err != nil {
		t.Fatal(err)
	}
	d.Executor = e
	for _, a := range append(acts, Act{Type: "ping", Do: func(context.Context, json.RawMessage, func(string, int)) (any, error) {
		return map[string]int{"n": 1}, nil
	}}) {
		if err := e.Register(a); err != nil {
			t.Fatal(err)
		}
	}
	d.stop = func() {}
	return d
}

func (d *device) run() *device {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	})
	return d
}

// command hands over one that is valid for a minute.
func (d *device) command(kind, id string) {
	d.Handle("cmd/"+kind+"/"+id, doc(id, time.Now().Add(time.Minute)), false)
}

func doc(id string, expires time.Time) []byte {
	b, _ := json.Marshal(message.Command{V: 1, ID: id, ExpiresAt: expires.UTC(), IssuedBy: "anna"})
	return b
}

func (d *device) answer(id string) message.Answer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last[id]
}

func (d *device) answers() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.told, ", ")
}

func (d *device) want(answers string) {
	d.t.Helper()
	synctest.Wait()
	if got := d.answers(); got != answers {
		d.t.Errorf("answers: %s\nwant:    %s", got, answers)
	}
}

func journalPath(t *testing.T) string { return filepath.Join(t.TempDir(), "commands.log") }

// counting is an act that counts how often it is done, and takes so long.
func counting(kind string, n *int, takes time.Duration) Act {
	return Act{Type: kind, Do: func(ctx context.Context, _ json.RawMessage, progress func(string, int)) (any, error) {
		*n++
		select {
		case <-time.After(takes):
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
}

// Q4: duplicates, from the network or after a restart, are answered and not done again.
func TestQ4DoneOnce(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		n := 0
		d := start(t, path, nil, counting("snapshot", &n, time.Second)).run()
		for range 5 {
			d.command("snapshot", "a")
		}
		synctest.Wait()
		d.command("snapshot", "a") // while it runs
		time.Sleep(2 * time.Second)
		d.command("snapshot", "a") // after it ended
		synctest.Wait()
		if n != 1 || !strings.HasSuffix(d.answers(), "snapshot/a succeeded, snapshot/a succeeded") {
			t.Errorf("done %d times: %s", n, d.answers())
		}
		d.command("ping", "a")
		synctest.Wait()
		if !strings.HasSuffix(d.answers(), "ping/a rejected id-used") {
			t.Error(d.answers())
		}
		d.stop()
		d = start(t, path, nil, counting("snapshot", &n, time.Second)).run()
		defer d.stop()
		time.Sleep(time.Hour)
		d.command("snapshot", "a")
		synctest.Wait()
		if n != 1 || !strings.HasSuffix(d.answers(), "snapshot/a succeeded") {
			t.Errorf("after a restart done %d times: %s", n, d.answers())
		}
	})
}

func TestAnswersOfOneCommand(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		d := start(t, path, nil, Act{Type: "diag", Do: func(_ context.Context, args json.RawMessage, progress func(string, int)) (any, error) {
			progress("collect", 10)
			progress("collect", 11) // too soon after
			progress("upload", 200)
			return nil, Error{"upload", "PUT: 403"}
		}}).run()
		defer d.stop()
		d.command("diag", "x")
		d.want("diag/x accepted, diag/x running, diag/x running, diag/x running, diag/x failed upload")
		if a := d.answer("x"); a.Message != "PUT: 403" {
			t.Errorf("%+v", a)
		}
		d.command("ping", "y")
		synctest.Wait()
		if a := d.answer("y"); a.Status != message.StatusSucceeded || string(a.Data) != `{"n":1}` {
			t.Errorf("%+v", a)
		}
		if got := strings.Join(d.audits, ", "); got != "anna diag failed, anna ping succeeded" {
			t.Errorf("audit: %s", got)
		}
	})
}

func TestHandlersThatMisbehave(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		act := func(kind string, do func(ctx context.Context) (any, error)) Act {
			return Act{Type: kind, Deadline: 10 * time.Second, Do: func(ctx context.Context, _ json.RawMessage, _ func(string, int)) (any, error) { return do(ctx) }}
		}
		d := start(t, path, nil,
			act("panics", func(context.Context) (any, error) { panic("oh") }),
			act("slow", func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() }),
			act("deaf", func(context.Context) (any, error) { time.Sleep(time.Minute); return nil, nil }),
			act("huge", func(context.Context) (any, error) { return strings.Repeat("a", maxData), nil }),
			act("chan", func(context.Context) (any, error) { return make(chan int), nil })).run()
		defer d.stop()
		for _, kind := range []string{"panics", "slow", "deaf", "huge", "chan"} {
			d.Handle("cmd/"+kind+"/"+kind, doc(kind, time.Now().Add(time.Hour)), false)
			time.Sleep(16 * time.Second)
		}
		for id, want := range map[string]string{"panics": "failed panic", "slow": "failed timeout", "deaf": "failed timeout"} {
			if a := d.answer(id); a.Status+" "+a.Code != want {
				t.Errorf("%s: %+v", id, a)
			}
		}
		if d.answer("huge").Status == message.StatusSucceeded {
			t.Error("the next did not wait for the one that does not end")
		}
		time.Sleep(time.Minute)
		for _, id := range []string{"huge", "chan"} {
			if a := d.answer(id); a.Status != message.StatusSucceeded || a.Data != nil || a.Message == "" {
				t.Errorf("%s: %+v", id, a)
			}
		}
	})
}

// K1 and Q10: garbage is answered where it can be, counted, never done, and pushes nothing out.
func TestK1Q10Garbage(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		d := start(t, path, nil).run()
		defer d.stop()
		good := func(id string) []byte { return doc(id, time.Now().Add(time.Minute)) }
		for _, c := range []struct {
			topic, payload string
			retained       bool
			want           string
		}{
			{"cmd", "{}", false, ""}, {"cmd/ping", "{}", false, ""}, {"cmd/ping/a/b", "{}", false, ""}, {"desired", "{}", false, ""}, {"cmd/PING/a", "{}", false, ""}, {"cmd/ping/\x00", "{}", false, ""},
			{"cmd/ping/a", "\xff\xfe", false, "ping/a rejected malformed"},
			{"cmd/ping/b", strings.Repeat("[", 100000), false, "ping/b rejected malformed"},
			{"cmd/ping/c", string(good("d")), false, "ping/c rejected malformed"},
			{"cmd/format-disk/e", string(good("e")), false, "format-disk/e rejected unknown-type"},
			{"cmd/ping/f", string(good("f")), true, "ping/f rejected retained"},
			{"cmd/ping/g", string(doc("g", time.Now().Add(-time.Second))), false, "ping/g expired expired"},
			{"cmd/ping/h", string(doc("h", time.Now().Add(8*24*time.Hour))), false, "ping/h rejected expires-too-late"},
		} {
			before := d.answers()
			d.Handle(c.topic, []byte(c.payload), c.retained)
			synctest.Wait()
			if got := strings.TrimPrefix(strings.TrimPrefix(d.answers(), before), ", "); got != c.want {
				t.Errorf("%s %.30q: %q, want %q", c.topic, c.payload, got, c.want)
			}
		}
		if s := d.Stats(); s.Rejected != 12 || s.Expired != 1 || s.Retained != 1 || s.Accepted != 0 || s.Known != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// With a clock that is not in sync, a command's own span counts, from its receipt.
func TestExpiryWithoutAClock(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		n := 0
		slow := counting("slow", &n, 3*time.Minute)
		slow.Deadline = time.Hour
		d := start(t, path, nil, slow)
		d.synced = false
		d.run()
		defer d.stop()
		past := time.Now().Add(-1000 * time.Hour)
		give := func(kind, id string, issued time.Time) {
			b, _ := json.Marshal(message.Command{V: 1, ID: id, IssuedAt: issued, ExpiresAt: past.Add(time.Minute)})
			d.Handle("cmd/"+kind+"/"+id, b, false)
		}
		give("ping", "a", past) // a minute, from now
		d.want("ping/a accepted, ping/a running, ping/a succeeded")
		give("slow", "b", past)
		time.Sleep(time.Second)
		give("ping", "c", past)        // is over before b is
		give("ping", "d", time.Time{}) // five minutes
		time.Sleep(10 * time.Minute)
		if d.answer("c").Status != message.StatusExpired || d.answer("d").Status != message.StatusSucceeded || n != 1 {
			t.Error(d.answers())
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	if e, err := Open(Config{}); e != nil || err == nil {
		t.Error("no path, no error")
	}
	e, err := Open(Config{Path: journalPath(t), Publish: func(string, []byte) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	if e.Register(Act{Type: "a/b"}) == nil || e.Register(Act{Type: "a"}) == nil {
		t.Error("registered")
	}
	if _, err := os.Stat(journalPath(t)); !errors.Is(err, os.ErrNotExist) {
		t.Error("Open wrote a file")
	}
}

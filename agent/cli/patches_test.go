package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/agent"
	"heron/agent/status"
	"heron/sync/message"
)

// office is somebody far away: it asks for settings and reads what becomes of them.
type office struct {
	t        *testing.T
	client   paho.Client
	mu       sync.Mutex
	reported message.Reported
	audit    []string
}

func newOffice(t *testing.T, url string) *office {
	t.Helper()
	return newOfficeFor(t, url, "test/dev-1")
}

func newOfficeFor(t *testing.T, url, device string) *office {
	t.Helper()
	o := &office{t: t, client: paho.NewClient(paho.NewClientOptions().AddBroker(strings.Replace(url, "mqtt:", "tcp:", 1)).SetClientID("office"))}
	o.wait(o.client.Connect())
	t.Cleanup(func() { o.client.Disconnect(10) })
	o.wait(o.client.Subscribe("heron/v1/"+device+"/reported", 1, func(_ paho.Client, m paho.Message) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.reported = message.Reported{}
		_ = json.Unmarshal(m.Payload(), &o.reported)
	}))
	o.wait(o.client.Subscribe("heron/v1/"+device+"/+/audit", 1, func(_ paho.Client, m paho.Message) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.audit = append(o.audit, string(m.Payload()))
	}))
	return o
}

func (o *office) wait(tk paho.Token) {
	o.t.Helper()
	if !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
		o.t.Fatal(tk.Error())
	}
}

// want asks for a patch and returns what the device reports of it in the end.
func (o *office) want(rev int, patch, state string) message.ReportedConfig {
	o.t.Helper()
	o.wait(o.client.Publish("heron/v1/test/dev-1/desired", 1, true, fmt.Sprintf(`{"v":1,"rev":%d,"issued_by":"anna","config":{"rev":%d,"patch":%s}}`, rev, rev, patch)))
	var last *message.ReportedConfig
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		o.mu.Lock()
		last = o.reported.Config
		o.mu.Unlock()
		if last != nil && last.Rev == int64(rev) && last.State == state {
			return *last
		}
	}
	o.t.Fatalf("rev %d is not %s within a minute; reported %+v", rev, state, last)
	return *last
}

// serving runs the service in this process, so that its probation can be short.
func (f field) serving(t *testing.T, probation time.Duration) (log *lockedBuffer, stop func()) {
	t.Helper()
	conf, err := agent.Load(f.conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	log = &lockedBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, *conf, agent.Options{Version: "test", Log: slog.New(slog.NewTextHandler(log, nil))}, probation)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with %v", err)
		}
		if t.Failed() {
			t.Logf("heron said:\n%s", log)
		}
	})
	t.Cleanup(stop)
	return log, stop
}

// A broker that is not there is taken back by the device itself; what it saw meanwhile arrives.
func TestFault_K6_PatchThatCutsTheLinkIsTakenBack(t *testing.T) {
	t.Parallel()
	b, ledger := newCloud(t)
	f := newField(t, b.URL(), "pictures:pictures?loop=true")
	log, _ := f.serving(t, 2*time.Second)
	f.until(t, "results arrive", func(*status.Snapshot) bool { return ledger.Totals().Live > 10 })
	o := newOffice(t, b.URL())
	r := o.want(1, `{"uplink":{"broker":"`+nobody+`"}}`, message.ConfigReverted)
	if !strings.HasPrefix(r.Error, "no contact for ") || r.Source != "device" {
		t.Errorf("reported %+v", r)
	}
	before := ledger.Totals().Live
	s := f.until(t, "results flow again, and the page tells", func(s *status.Snapshot) bool {
		return ledger.Totals().Live > before+10 && s.State == "degraded" && len(s.Reasons) > 0
	})
	if s.Reasons[0].Code != "config-reverted" || s.Reasons[0].NextStep == "" {
		t.Errorf("reasons %+v", s.Reasons)
	}
	if n := strings.Count(log.String(), "starting anew"); n != 2 {
		t.Errorf("%d new starts; want one there and one back", n)
	}
	if l := ledger.Totals(); l.Holes != 0 || l.Changed != 0 || l.Unreadable != 0 || l.Epochs != 1 {
		t.Errorf("the cloud's books: %+v", l)
	}
	f.until(t, "the audit", func(*status.Snapshot) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		all := strings.Join(o.audit, "\n")
		return strings.Contains(all, `"who":"anna"`) && strings.Contains(all, `"result":"reverted"`)
	})
}

// What does not touch the link holds at once and after a new start; what cannot be is refused with its path, and changes nothing.
func TestSettingsFromAfar(t *testing.T) {
	t.Parallel()
	b, _ := newCloud(t)
	f := newField(t, b.URL(), "pictures:pictures?loop=true")
	_, stop := f.serving(t, 0)
	f.until(t, "classifies", classifying)
	o := newOffice(t, b.URL())
	at := func(fps float64) func(*status.Snapshot) bool {
		return func(s *status.Snapshot) bool { return classifying(s) && s.Cameras[0].FPSWanted == fps }
	}
	o.want(1, `{"cameras":{"front":{"fps":7}},"log":{"level":"debug"}}`, message.ConfigApplied)
	f.until(t, "7 frames a second", at(7))
	for i, c := range []struct{ patch, says string }{
		{`{"cameras":{"front":{"fps":-1}}}`, "cameras.front.fps: -1, expected 0 (every frame) to 240"},
		{`{"cameras":{"front":{"fps":"fast"}}}`, `cameras.front.fps: "fast" does not fit here, expected a number`},
		{`{"cameras":{"back":{"fps":1}}}`, "cameras.back: there is no such camera"},
		{`{"device":{"id":"other"}}`, "device.id: not a setting that can be changed from afar"},
		{`{"vision":{"command":"/bin/sh"}}`, "vision.command: not a setting"},
		{`{"events":{"default":{"dwel":3}}}`, "events.default.dwel: "},
	} {
		r := o.want(i+2, c.patch, message.ConfigRefused)
		if !strings.Contains(r.Error, c.says) {
			t.Errorf("%s: %q, want %q", c.patch, r.Error, c.says)
		}
	}
	s := f.until(t, "the page tells", func(s *status.Snapshot) bool { return len(s.Reasons) > 0 && at(7)(s) })
	if s.Reasons[0].Code != "config-refused" {
		t.Errorf("reasons %+v", s.Reasons)
	}
	stop()
	_, stop = f.serving(t, 0)
	f.until(t, "7 frames a second after a new start", at(7))
	o.want(20, `{}`, message.ConfigApplied)
	f.until(t, "the file's own rate again", at(20))
	stop()
}

// A device without a repository takes documents and commands all the same, and says why it takes no model.
func TestOrdersWithoutRepository(t *testing.T) {
	t.Parallel()
	b, _ := newCloud(t)
	f := newField(t, b.URL(), "pictures:pictures?loop=true")
	_, stop := f.serving(t, 0)
	defer stop()
	f.until(t, "classifies", classifying)
	o := newOffice(t, b.URL())
	var mu sync.Mutex
	answers := map[string]message.Answer{}
	o.wait(o.client.Subscribe("heron/v1/test/dev-1/res/+/+", 1, func(_ paho.Client, m paho.Message) {
		mu.Lock()
		defer mu.Unlock()
		var a message.Answer
		_ = json.Unmarshal(m.Payload(), &a)
		answers[a.ID] = a
	}))
	for kind, args := range map[string]string{"ping": `{}`, "rollback": `{}`, "snapshot": `{"url":"https://files.example/a.jpg"}`} {
		o.wait(o.client.Publish("heron/v1/test/dev-1/cmd/"+kind+"/"+kind+"-1", 1, false, fmt.Sprintf(`{"v":1,"id":"%s-1","expires_at":%q,"args":%s}`, kind, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), args)))
	}
	o.wait(o.client.Publish("heron/v1/test/dev-1/desired", 1, true, `{"v":1,"rev":1,"models":[{"slot":"main","target":"grey/2"}]}`))
	f.until(t, "three answers and a report", func(*status.Snapshot) bool {
		mu.Lock()
		defer mu.Unlock()
		o.mu.Lock()
		defer o.mu.Unlock()
		return answers["ping-1"].Status == message.StatusSucceeded && answers["rollback-1"].Code == "no-repository" && answers["snapshot-1"].Code == "no-repository" &&
			len(o.reported.Slots) == 1 && o.reported.Slots[0].Decision == "refused"
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.reported.Slots[0]; s.Step != message.StepWaiting || !strings.HasPrefix(s.Error, "no repository is configured") || s.Active == nil || s.Active.Name != "grey" || s.Active.Version != "1.0.0" || s.Active.Engine != "scripted" {
		t.Errorf("reported %+v, active %+v", s, s.Active)
	}
}

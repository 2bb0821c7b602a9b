package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/demo"
	"heron/sync/message"
)

// The demo's device does what a fleet manager asks of it, too: a change of settings and a restart leave the demo running.
func TestDemoTakesSettingsAndARestart(t *testing.T) {
	b, ledger := newCloud(t)
	f := newField(t, "", "pictures:pictures?loop=true")
	if err := os.Symlink(os.Args[0], filepath.Join(f.dir, "heron-vision")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", f.dir)
	log, err := os.Create(filepath.Join(f.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d, err := newDemoAgent(demo.Wiring{Camera: "pictures:" + f.dir + "/pictures?loop=true", Broker: b.URL(), Bundle: f.dir + "/bundle", State: f.dir + "/state", Listen: f.page, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	o := newOfficeFor(t, b.URL(), "demo/line-1")
	eventually(t, "results arrive", func() bool { return ledger.Totals().Live > 20 && d.View().Link == "online" })

	o.wait(o.client.Publish("heron/v1/demo/line-1/desired", 1, true, `{"v":1,"rev":1,"config":{"rev":1,"patch":{"cameras":{"line":{"fps":3}}}}}`))
	eventually(t, "the patch is in force", func() bool {
		s := d.now.Load().Snapshot()
		return len(s.Cameras) == 1 && s.Cameras[0].FPSWanted == 3 && s.Cameras[0].Inferred > 3
	})
	o.mu.Lock()
	if c := o.reported.Config; c == nil || c.State != message.ConfigApplied || c.Rev != 1 {
		t.Errorf("reported %+v", c)
	}
	o.mu.Unlock()

	answers := make(chan string, 16)
	o.wait(o.client.Subscribe("heron/v1/demo/line-1/res/restart/r1", 1, func(_ paho.Client, m paho.Message) {
		var a message.Answer
		_ = json.Unmarshal(m.Payload(), &a) // what it is not is no answer that is waited for
		answers <- a.Status
	}))
	eventually(t, "online again", func() bool { return d.View().Link == "online" })
	before, results := d.now.Load(), d.View().Results
	o.wait(o.client.Publish("heron/v1/demo/line-1/cmd/restart/r1", 1, false, fmt.Sprintf(`{"v":1,"id":"r1","expires_at":%q}`, time.Now().Add(time.Minute).UTC().Format(time.RFC3339))))
	var said []string
	for end := time.After(30 * time.Second); len(said) == 0 || said[len(said)-1] != message.StatusSucceeded; {
		select {
		case a := <-answers:
			said = append(said, a)
		case err := <-ended:
			t.Fatalf("the demo ended: %v", err)
		case <-end:
			t.Fatalf("the answers are %v", said)
		}
	}
	eventually(t, "it goes on", func() bool { return d.now.Load() != before && d.View().Results > results+3 })
	if v := d.View(); v.FPS > 10 || v.Dropped != 0 {
		t.Errorf("%+v", v)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(log.Name()); strings.Count(string(text), "starting anew") != 2 {
		t.Errorf("log:\n%s", text)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 40 s", what)
		}
	}
}

// The demo has no status.listen: it says what a person can change.
func TestDemoNamesItsOwnFlagWhenThePageIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	dir := t.TempDir()
	must(t, os.Symlink(os.Args[0], filepath.Join(dir, "heron-vision")))
	t.Setenv("PATH", dir)
	t.Setenv("TMPDIR", dir)
	_, msg, code := heron(t, "demo", "--for", "2s", "--listen", taken.Addr().String())
	if code != 2 || !strings.Contains(msg, "--listen") || !strings.Contains(msg, taken.Addr().String()) || strings.Contains(msg, "status.listen") {
		t.Errorf("exit %d: %s", code, msg)
	}
}

func TestNoTemporaryFolderSaysHowToNameOne(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	if _, msg, code := heron(t, "model", "inspect", "bottles"); code != 1 || !strings.Contains(msg, "TMPDIR") {
		t.Errorf("exit %d: %s", code, msg)
	}
}

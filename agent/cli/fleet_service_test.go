package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/klauspost/compress/zstd"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"heron/internal/freeport"
	"heron/sync/desired"
	"heron/sync/message"
)

// paddock is a broker and devices that do at once what they are told; targets that end in -bad they refuse.
type paddock struct {
	t       *testing.T
	address string
	client  paho.Client
	mu      sync.Mutex
	n       int
	seq     uint64
}

func newPaddock(t *testing.T, n int) *paddock {
	t.Helper()
	p := &paddock{t: t, address: freeport.Address(t), n: n}
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	for _, err := range []error{s.AddHook(new(auth.AllowHook), nil), s.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: p.address})), s.Serve()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = s.Close() })
	p.client = paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + p.address).SetClientID("paddock").SetOrderMatters(false))
	if tk := p.client.Connect(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
		t.Fatal(tk.Error())
	}
	t.Cleanup(func() { p.client.Disconnect(10) })
	p.client.Subscribe("heron/v1/acme/+/desired", 1, func(_ paho.Client, m paho.Message) { p.desired(strings.Split(m.Topic(), "/")[3], m.Payload()) }).Wait()
	p.client.Subscribe("heron/v1/acme/+/cmd/+/+", 1, func(_ paho.Client, m paho.Message) { p.command(m.Topic(), m.Payload()) }).Wait()
	for i := range n {
		p.retain(fmt.Sprintf("dev-%02d/state", i), message.State{V: 1, Status: "online", Session: 1, Since: fleetNow, Reason: "start", Agent: "1.2.0"})
		p.retain(fmt.Sprintf("dev-%02d/reported", i), message.Reported{V: 1, At: fleetNow, Slots: []message.ReportedSlot{{Slot: "main", Active: &message.ReportedModel{Name: "bottles", Version: "1.4.1", Engine: "onnx"}}}})
	}
	return p
}

func (p *paddock) retain(below string, doc any) {
	b, _ := json.Marshal(doc)
	p.client.Publish("heron/v1/acme/"+below, 1, true, b)
}

func (p *paddock) desired(id string, payload []byte) {
	d, err := message.ParseDesired(payload)
	if err != nil {
		p.t.Error(err)
		return
	}
	if len(d.Models) == 0 {
		return
	}
	m := d.Models[0]
	for i := range p.n {
		dev := fmt.Sprintf("dev-%02d", i)
		r := message.Reported{V: 1, At: fleetNow, GroupRev: d.Rev}
		s := message.ReportedSlot{Slot: m.Slot, Source: "group", Rev: d.Rev, Target: m.Target, Step: message.StepConfirmed, Active: &message.ReportedModel{Name: "bottles", Version: filepath.Base(m.Target), Engine: "onnx", Target: m.Target}}
		if id != "_all" {
			if id != dev {
				continue
			}
			r.GroupRev, r.Rev, s.Source = 0, d.Rev, "device"
		}
		if v := desired.Decide(m.Rollout, desired.Self{ID: dev}, fleetNow, true); v.Verdict != desired.Apply {
			s.Step, s.Decision, s.Active = message.StepWaiting, v.Verdict, &message.ReportedModel{Name: "bottles", Version: "1.4.1", Engine: "onnx"}
		} else if strings.HasSuffix(m.Target, "-bad") {
			s.Step, s.Active = message.StepRefused, &message.ReportedModel{Name: "bottles", Version: "1.4.1", Engine: "onnx"}
			s.Refused = []message.Refusal{{Target: m.Target, Step: "tried", Reason: "golden/2.png: ok where scratched was expected", At: fleetNow}}
		}
		r.Slots = []message.ReportedSlot{s}
		p.retain(dev+"/reported", r)
	}
}

func (p *paddock) command(topic string, payload []byte) {
	c, err := message.ParseCommand(payload)
	level := strings.Split(topic, "/")
	if err != nil || level[3] == "dev-01" { // which is deaf
		return
	}
	answer := func(a message.Answer) {
		a.V, a.ID, a.At = 1, c.ID, fleetNow
		b, _ := json.Marshal(a)
		p.client.Publish(strings.Replace(topic, "/cmd/", "/res/", 1), 1, false, b)
	}
	if level[5] != "ping" {
		answer(message.Answer{Status: message.StatusRejected, Code: "unknown", Message: "this device knows no such command"})
		return
	}
	answer(message.Answer{Status: message.StatusAccepted})
	answer(message.Answer{Status: message.StatusSucceeded, Data: c.Args})
}

// batch publishes events of dev-00, from the number after the last on.
func (p *paddock) batch(n, skip int, pack bool) {
	var s message.Sealer
	first := p.seq + uint64(skip) + 1
	s.Begin(message.Header{Group: "acme", Device: "dev-00", Epoch: "9c21", Boot: "3f9ac1", Agent: "1.2.0"}, message.Event, first, fleetNow)
	for i := range n {
		s.Add(first+uint64(i), message.EventRecord{Stamp: message.Stamp{T: fleetNow}, Camera: "front", Label: "scratched", State: "enter", Score: 0.91, Frames: 2, Model: "bottles@1.4.2#9f86d0"}.AppendJSON(nil))
	}
	p.seq = first + uint64(n) - 1
	b := bytes.Clone(s.End())
	if pack {
		z, _ := zstd.NewWriter(nil)
		b = z.EncodeAll(b, nil)
	}
	p.client.Publish("heron/v1/acme/dev-00/t/event", 1, false, b).Wait()
}

func (p *paddock) fleet(args ...string) (string, string, int) {
	return heron(p.t, append([]string{"fleet"}, append(args, "--broker", "mqtt://"+p.address, "--group", "acme", "--by", "anna")...)...)
}

func TestFleetCommands(t *testing.T) {
	t.Parallel()
	p := newPaddock(t, 20)
	out, errOut, code := p.fleet("ls")
	if code != 0 || !strings.Contains(out, "acme/dev-19  online  bottles@1.4.1  onnx") || !strings.Contains(out, "20 devices, 20 online") {
		t.Errorf("ls: %d\n%s%s", code, out, errOut)
	}
	out, errOut, code = p.fleet("push", "--model", "bottles/1.4.2", "--percent", "25,100")
	if code != 0 || !strings.Contains(out, "heron: wave 1 (25%) is good: ") || !strings.Contains(out, "wave 2/2 100% done: 20 selected, 20 confirmed (of 20 devices)") {
		t.Errorf("push: %d\n%s%s", code, out, errOut)
	}
	t.Log("push:\n" + out)
	out, errOut, code = p.fleet("push", "--model", "bottles/1.5.0-bad", "--percent", "25,100", "--max-failed", "1")
	if code != exitFailed || !strings.Contains(errOut, "golden/2.png: ok where scratched was expected") || !strings.Contains(errOut, "heron fleet abort --rollback") {
		t.Errorf("a bad one: %d\n%s%s", code, out, errOut)
	}
	t.Log("stopped:\n" + out + errOut)
	out, _, code = p.fleet("rollout")
	if code != 0 || !strings.Contains(out, "bottles/1.5.0-bad in slot main of group acme: paused: ") || !strings.Contains(out, "anna: began bottles/1.5.0-bad") {
		t.Errorf("rollout: %d\n%s", code, out)
	}
	t.Log("rollout:\n" + out)
	out, errOut, code = p.fleet("abort", "--rollback")
	if code != 0 || out != "the group is told to run bottles/1.4.2 (rev 4); heron fleet ls shows how it comes about\n" {
		t.Errorf("abort: %d\n%s%s", code, out, errOut)
	}
	out, _, code = p.fleet("ls", "--json")
	var rows []fleetRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || len(rows) != 20 || rows[7].Models[0].Model != "bottles@1.4.2" || rows[7].GroupRev != 4 {
		t.Errorf("ls --json: %d, %v\n%s", code, err, out)
	}
	if out, errOut, code = p.fleet("push", "--device", "dev-03", "--model", "bottles/2-bad"); code != exitFailed || !strings.Contains(errOut, "refused: [tried] golden/2.png") {
		t.Errorf("push to one: %d\n%s%s", code, out, errOut)
	}
	if out, _, code = p.fleet("show", "dev-03"); code != 0 || !strings.Contains(out, "last refusal bottles/2-bad 2026-11-20 13:00:00Z: [tried] golden/2.png: ok where scratched was expected") {
		t.Errorf("show: %d\n%s", code, out)
	}
	for _, says := range []string{"dev-03 follows its group in slot main again, as rev 2 of its own document says\n", "dev-03 follows its group in slot main already\n"} {
		if out, errOut, code = p.fleet("release", "dev-03"); code != 0 || out != says {
			t.Errorf("release: %d\n%s%s", code, out, errOut)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"release", "dev-99"}, exitFailed, "no device acme/dev-99"},
		{[]string{"release", "dev-03", "--slot", "mian"}, exitFailed, "has no slot mian"},
		{[]string{"release", "dev-03", "--slot", "a/b"}, exitUsage, "--slot"},
		{[]string{"show", "dev-99"}, exitFailed, "no device acme/dev-99"},
		{[]string{"resume"}, exitFailed, "there is nothing to resume"},
		{[]string{"push", "--model", "../etc"}, exitUsage, "names no entry"},
		{[]string{"push", "--model", "a/1", "--percent", "50,20"}, exitUsage, "does not rise"},
		{[]string{"push", "--model", "a/1", "--min-confirmed", "much"}, exitUsage, "not a percentage"},
		{[]string{"verify"}, exitUsage, "--for"},
	} {
		if out, errOut, code := p.fleet(c.args...); code != c.code || !strings.Contains(errOut, c.says) {
			t.Errorf("%v: %d\n%s%s", c.args, code, out, errOut)
		}
	}
}

func TestFleetCmd(t *testing.T) {
	p := newPaddock(t, 2)
	if out, errOut, code := p.fleet("cmd", "dev-00", "ping", "--arg", "n=7"); code != 0 || out != "2026-11-20 13:00:00Z accepted\n2026-11-20 13:00:00Z succeeded {\"n\":7}\n" {
		t.Errorf("%d\n%s%s", code, out, errOut)
	}
	if out, _, code := p.fleet("cmd", "dev-00", "dance"); code != exitFailed || !strings.Contains(out, "rejected unknown this device knows no such command") {
		t.Errorf("%d\n%s", code, out)
	}
	if _, errOut, code := p.fleet("cmd", "dev-01", "ping", "--timeout", "1s"); code != exitUnreachable || !strings.Contains(errOut, "did not answer") {
		t.Errorf("%d\n%s", code, errOut)
	}
}

func TestFleetUnreachable(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"--broker", "mqtt://" + freeport.Address(t)}, exitUnreachable}, {[]string{"--broker", "http://x"}, exitUsage}, {nil, exitUsage},
		{[]string{"--fleet-config", "/nowhere.yaml"}, exitUsage},
	} {
		t.Setenv("XDG_CONFIG_HOME", t.TempDir())
		if out, errOut, code := heron(t, append([]string{"fleet", "ls"}, c.args...)...); code != c.code || errOut == "" {
			t.Errorf("%v: %d\n%s%s", c.args, code, out, errOut)
		}
	}
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	if err := os.MkdirAll(filepath.Join(dir, "heron"), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, says := range map[string]string{"broker: mqtt://127.0.0.1:1\ngruppe: a\n": "gruppe", "broker: mqtt://127.0.0.1:1\nusername: a\npassword_file: gone\n": "gone", "broker: [": "fleet.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, "heron", "fleet.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errOut, code := heron(t, "fleet", "ls"); code != exitUsage || !strings.Contains(errOut, says) {
			t.Errorf("%q: %d %s", text, code, errOut)
		}
	}
}

// What is exported adds up until a batch is left out; the export of a running fleet ends with a signal, whole.
func TestFleetTelemetry(t *testing.T) {
	p := newPaddock(t, 1)
	file := filepath.Join(t.TempDir(), "export.jsonl")
	export := func(do func()) {
		t.Helper()
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		c := command("fleet", "export", "--broker", "mqtt://"+p.address)
		c.Stdout = out
		var errOut lockedBuffer
		c.Stderr = &errOut
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Process.Kill() }()
		lines := func() int {
			b, _ := os.ReadFile(file)
			return bytes.Count(b, []byte("\n"))
		}
		p.until("the export listens", func() bool { p.batch(1, 0, false); time.Sleep(20 * time.Millisecond); return lines() > 0 })
		do()
		last := p.seq
		p.until("the last record", func() bool {
			b, _ := os.ReadFile(file)
			return bytes.Contains(b, []byte(fmt.Sprintf(`"seq":%d,`, last)))
		})
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Errorf("export: %v", err)
		}
	}
	export(func() { p.batch(5, 0, true); p.batch(5, 0, false) })
	if out, errOut, code := heron(t, "fleet", "verify", file); code != 0 || !strings.Contains(out, "acme/dev-00  9c21") || !strings.Contains(out, "ok") {
		t.Errorf("verify: %d\n%s%s", code, out, errOut)
	}
	export(func() { p.batch(5, 3, true) })
	out, errOut, code := heron(t, "fleet", "verify", file)
	if code != exitFailed || !strings.Contains(errOut, "1 of 1 epochs do not add up") || !strings.Contains(out, fmt.Sprintf("3        %d…%d", p.seq-7, p.seq-5)) {
		t.Errorf("verify: %d\n%s%s", code, out, errOut)
	}
	t.Log(out)
	if _, errOut, code := heron(t, "fleet", "verify", os.Args[0]); code != exitFailed || errOut == "" {
		t.Errorf("a file that is no export: %d %s", code, errOut)
	}
	c := command("fleet", "tail", "--broker", "mqtt://"+p.address)
	var lines lockedBuffer
	c.Stdout, c.Stderr = &lines, &lines
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	p.until("tail", func() bool {
		p.batch(1, 0, true)
		time.Sleep(20 * time.Millisecond)
		return strings.HasPrefix(lines.String(), "2026-11-20T13:00:00.000Z acme/dev-00 event  front enter scratched 0.91 bottles@1.4.2#9f86d0\n")
	})
}

func (p *paddock) until(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

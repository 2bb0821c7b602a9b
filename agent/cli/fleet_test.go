package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"heron/sync/fleet"
	"heron/sync/message"
)

var fleetNow = time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC)

// fleetSample is a canary that refused, one that is on its way, one that is offline, one of which only its state is known.
func fleetSample(t *testing.T) []fleet.Device {
	t.Helper()
	inv := fleet.NewInventory(fleet.Config{})
	take := func(topic, doc string) {
		inv.Take(fleet.Message{Topic: "heron/v1/acme/" + topic, Payload: []byte(doc), Retained: true})
	}
	take("dev-1/state", `{"v":1,"status":"online","session":812,"boot":"3f9ac1","since":"2026-11-20T11:00:00Z","reason":"start","agent":"1.2.0"}`)
	take("dev-1/info", `{"v":1,"agent":"1.2.0","hardware":"Raspberry Pi 5","os":"Debian 12","arch":"arm64","cameras":[{"name":"front","source":"v4l2:/dev/video0"}],
		"engines":[{"engine":"onnx","usable":true,"in_use":true,"version":"1.24.3"},{"engine":"edgetpu","usable":false,"reason":"no stick"}],"commands":["ping","diag"],"schemas":{}}`)
	take("dev-1/reported", `{"v":1,"at":"2026-11-20T12:59:30Z","rev":0,"group_rev":3,"slots":[{"slot":"main","source":"group","rev":3,"target":"bottles/1.5.0",
		"active":{"target":"bottles/1.4.1","name":"bottles","version":"1.4.1","digest":"9f86d081884c7d65","engine":"onnx","since":"2026-11-01T10:00:00Z"},"step":"refused",
		"refused":[{"target":"bottles/1.5.0","step":"tried","reason":"golden/2.png: ok where scratched\u001b[31m was expected","at":"2026-11-20T12:58:00Z"}]}]}`)
	take("dev-2/state", `{"v":1,"status":"online","session":2,"since":"2026-11-20T11:00:00Z","reason":"start","agent":"1.2.0"}`)
	take("dev-2/reported", `{"v":1,"at":"2026-11-20T12:59:50Z","rev":7,"group_rev":3,"slots":[{"slot":"main","source":"group","rev":3,"target":"bottles/1.5.0",
		"active":{"name":"bottles","version":"1.4.1","engine":"edgetpu"},"step":"fetched","percent":40},{"slot":"caps","source":"device","rev":7,"target":"caps/2","active":{"name":"caps","version":"2","engine":"onnx"},"step":"confirmed"}]}`)
	take("dev-3/state", `{"v":1,"status":"offline","session":9,"since":"2026-11-18T13:00:00Z","reason":"lost","agent":"1.1.0"}`)
	take("dev-3/state", `{"v":1,"status":"online","session":10,"since":"2026-11-18T14:00:00Z","reason":"start","agent":"1.1.0"}`)
	take("dev-3/state", `{"v":1,"status":"offline","session":9,"since":"2026-11-20T12:00:00Z","reason":"lost","agent":"1.1.0"}`) // a late will
	take("dev-3/reported", `{"v":1,"at":"2026-11-18T15:00:00Z","rev":0,"group_rev":3,"slots":[{"slot":"main","source":"group","rev":3,"target":"bottles/1.5.0","step":"waiting","decision":"not-selected"}]}`)
	take("dev-4/state", `{"v":1,"status":"offline","session":4,"since":"2026-11-20T12:00:00Z","reason":"shutdown","agent":"1.1.0"}`)
	take("dev-4/reported", `[]`)
	return inv.Devices()
}

func plainCanvas(width int) *canvas {
	return &canvas{out: &bytes.Buffer{}, size: func() (int, int) { return width, 0 }}
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFleetLsText(t *testing.T) {
	devices := fleetSample(t)
	same(t, strings.Join(deviceLines(plainCanvas(0), devices, fleetNow), "\n"), `
DEVICE      STATE    MODEL                           ENGINE        STEP                    REV  BACKLOG  SEEN  PROBLEMS
acme/dev-1  online   bottles@1.4.1                   onnx          refused                 3    -        30s   bottles/1.5.0 refused: [tried] golden/2.png: ok where scratched [31m was expected
acme/dev-2  online   main=bottles@1.4.1 caps=caps@2  edgetpu onnx  fetched 40% confirmed   3+7  -        10s
acme/dev-3  online   none                            -             waiting (not-selected)  3    -        46h
acme/dev-4  offline                                                                        0    -        60m   reported: not a JSON object: "[]"
4 devices, 3 online`)
	narrow := plainCanvas(60)
	narrow.live = true
	for _, l := range deviceLines(narrow, devices, fleetNow) {
		if n := len([]rune(l)); n > 60 {
			t.Errorf("%d columns of 60: %s", n, l)
		}
	}
}

func TestFleetShowText(t *testing.T) {
	same(t, deviceText(fleetSample(t)[0], fleetNow), `
device          acme/dev-1
state           online since 2026-11-20 11:00:00Z (start), heron 1.2.0, connection 812
last seen       30s ago
machine         Raspberry Pi 5, Debian 12, arm64
camera front    v4l2:/dev/video0
engine onnx     in use 1.24.3
engine edgetpu  not usable: no stick
commands        ping, diag
reported        2026-11-20 12:59:30Z: answers rev 3 of its group's desired document, rev 0 of its own
slot main       runs bottles@1.4.1 on onnx since 2026-11-01 10:00:00Z, digest 9f86d081884c
                wants bottles/1.5.0 (group rev 3): refused
                last refusal bottles/1.5.0 2026-11-20 12:58:00Z: [tried] golden/2.png: ok where scratched [31m was expected`)
}

// A model that came with the configuration has no digest and no time; one on its way has no name until its manifest was read.
func TestFleetShowWithoutNames(t *testing.T) {
	d := fleetSample(t)[0]
	d.Reported = &message.Reported{V: 1, Slots: []message.ReportedSlot{{Slot: "main", Active: &message.ReportedModel{Name: "bottles", Version: "1.4.1", Engine: "onnx"}, Staged: &message.ReportedModel{Target: "bottles/1.5.0"}}}}
	text := deviceText(d, fleetNow)
	for _, want := range []string{"runs bottles@1.4.1 on onnx, as its configuration says\n", "staged bottles/1.5.0\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Nothing is said of a time that is not known, and what somebody wrote to a device is no word of it.
func TestFleetShowOfSilentDevices(t *testing.T) {
	inv := fleet.NewInventory(fleet.Config{})
	for _, topic := range []string{"dev-1/desired", "dev-2/info"} {
		inv.Take(fleet.Message{Topic: "heron/v1/acme/" + topic, Retained: topic == "dev-2/info", Payload: []byte(`{"v":1,"rev":3,"issued_at":"2026-11-20T12:00:00Z","issued_by":"ann"}`)})
	}
	devices := inv.Devices()
	same(t, deviceText(devices[0], fleetNow), `
device       acme/dev-1
state        unknown: it has never said so
last seen    never
own desired  rev 3 by ann, 2026-11-20 12:00:00Z: asks for nothing
reported     nothing yet`)
	devices[1].Health = &message.HealthRecord{State: "ok", UptimeS: 60} // its time cannot be read
	same(t, deviceText(devices[1], fleetNow), `
device     acme/dev-2
state      unknown: it has never said so
last seen  at an unknown time
machine    unknown, unknown, 
reported   nothing yet
health     ok, at an unknown time, up 1m0s 
backlog    0 records, 0 bytes, oldest 0 s`)
}

func TestRolloutTable(t *testing.T) {
	devices := fleetSample(t)
	r := fleet.Rollout{V: 1, Slot: "main", Target: "bottles/1.5.0", State: fleet.Running, At: fleet.Position{Wave: 1, Rev: 3, FirstRev: 2, Since: fleetNow.Add(-10 * time.Minute)},
		Plan: fleet.Plan{Percent: []float64{5, 25, 100}, Wait: message.Duration(30 * time.Minute), MaxFailed: 2, MinConfirmed: 95}}
	r.Counts, _ = r.Count("acme", devices)
	same(t, strings.Join(rolloutLines(plainCanvas(0), "acme", r, devices, fleetNow), "\n"), `
bottles/1.5.0 in slot main of group acme: running
  wave 1  5%    done
  wave 2  25%   [....................]  2 selected, 0 confirmed, 1 pending, 1 failed, 1 offline (of 4 devices), wait 20m0s
  wave 3  100%  waits
  dev-1  refused  refused      [tried] golden/2.png: ok where scratched [31m was expected
  dev-2  pending  fetched 40%`)
}

// On a terminal a drawing takes the place of the last, in no more lines and columns than there are; what cannot be coloured is not.
func TestCanvasRedraws(t *testing.T) {
	var out bytes.Buffer
	c := &canvas{out: &out, live: true, colored: true, size: func() (int, int) { return 12, 5 }}
	for range 2 {
		if err := c.redraw(append([]string{c.fit("a headline that is long")}, c.table([][]cell{{{"a", red}, {"b", plain}}, {{"long", plain}, {"and longer", green}}, {{"3", plain}}, {{"4", plain}}, {{"5", plain}}})...)); err != nil {
			t.Fatal(err)
		}
	}
	once := "a headline …\n\x1b[31ma\x1b[0m     b\nlong  \x1b[32mand l…\x1b[0m\n… 3 lines more\n"
	if want := once + "\x1b[4F\x1b[J" + once; out.String() != want {
		t.Errorf("%q\nwant %q", out.String(), want)
	}
}

func TestFleetFigures(t *testing.T) {
	s := fleet.NewDeliveries()
	for i, e := range []struct{ device, what, target, t string }{
		{"dev-1", "offer", "bottles/1.4.2", "2026-11-01T10:00:00Z"}, {"dev-1", "install", "bottles/1.4.2", "2026-11-01T10:20:00Z"}, {"dev-1", "confirm", "bottles/1.4.2", "2026-11-01T10:35:00Z"},
		{"dev-2", "offer", "bottles/1.4.2", "2026-11-01T10:00:00Z"}, {"dev-2", "refuse", "bottles/1.4.2", "2026-11-01T10:05:00Z"},
		{"dev-1", "offer", "bottles/1.5.0", "2026-11-08T10:00:00Z"}, {"dev-1", "install", "bottles/1.5.0", "2026-11-08T10:01:00Z"}, {"dev-1", "rollback", "bottles/1.5.0", "2026-11-15T10:00:00Z"},
	} {
		rec, _ := json.Marshal(map[string]any{"seq": i + 1, "t": e.t, "who": "fleet", "what": e.what, "target": e.target, "result": "ok"})
		l := fleet.Line{Group: "acme", Device: e.device, Stream: "audit", Epoch: "9c21", Record: rec}
		s.Take(l)
		s.Take(l) // it came twice
	}
	same(t, figuresText(s.Figures()), `
from             2026-11-01 10:00:00Z to 2026-11-15 10:00:00Z, 2 devices, 8 records
changes          3 offered, 2 switched, 1 confirmed, 1 refused before the switch, 1 rolled back
lead time        median 35m0s, p95 35m0s, most 35m0s, of 1 (offered to confirmed, per device)
frequency        0.5 versions a week (1 in all)
failure rate     50.0 % of the switches were taken back
time to restore  median 167h59m0s, p95 167h59m0s, most 167h59m0s, of 1 (switch to the previous model running again)`)
	same(t, figuresText(fleet.NewDeliveries().Figures()), `
from             an unknown time to an unknown time, 0 devices, 0 records
changes          0 offered, 0 switched, 0 confirmed, 0 refused before the switch, 0 rolled back
lead time        unknown (offered to confirmed, per device)
frequency        unknown (0 versions)
failure rate     unknown: nothing was switched
time to restore  unknown (switch to the previous model running again)`)
}

// Each reason for which an epoch does not add up is in its line.
func TestBooksTable(t *testing.T) {
	b := fleet.NewBooks()
	for _, c := range []struct{ device, rec string }{
		{"dev-1", `{"seq":1}`}, {"dev-1", `{"seq":2}`}, {"dev-2", `{"seq":1}`}, {"dev-2", `{"a":1}`}, {"dev-2", `{"seq":"2"}`}, {"dev-3", `{"seq":-1}`}, {"dev-4", `{"seq":1}`}, {"dev-4", `{"seq":3}`}, {"dev-4", `{"seq":5}`}, {"dev-4", `[]`},
	} {
		b.Take(fleet.Line{Group: "acme", Device: c.device, Stream: "event", Epoch: "9c21", Record: []byte(c.rec)})
	}
	var out bytes.Buffer
	if err := (&app{out: &out}).printBooks(b.Rows()); err == nil || err.Error() != "3 of 4 epochs do not add up" {
		t.Error(err)
	}
	same(t, out.String(), `
DEVICE      EPOCH  SEQ  RECORDS  LATE  AGAIN  DIFFER  GAPS  MISSING
acme/dev-1  9c21   1…2  2        0     0      0       0     0        ok
acme/dev-2  9c21   1…1  1        0     0      0       0     0        2 without a sequence number
acme/dev-3  9c21   -    0        0     0      0       0     0        1 without a sequence number
acme/dev-4  9c21   1…5  3        0     0      0       0     2        2…2 4…4 1 without a sequence number`)
}

func TestArguments(t *testing.T) {
	got, err := arguments([]string{"level=debug", "n=7", "big=12345678901234567890", "on=true", "text=7 up", `q="x"`, "empty="})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(got)
	same(t, string(b), `{"big":12345678901234567890,"empty":"","level":"debug","n":7,"on":true,"q":"\"x\"","text":"7 up"}`)
	if _, err := arguments([]string{"level"}); err == nil {
		t.Error("an argument without a value was taken")
	}
}

func TestACLText(t *testing.T) {
	out, _, code := heron(t, "fleet", "acl", "--group", "acme", "dev-7")
	same(t, out, `
user dev-7
topic write heron/v1/acme/dev-7/state
topic write heron/v1/acme/dev-7/info
topic write heron/v1/acme/dev-7/reported
topic write heron/v1/acme/dev-7/t/+
topic write heron/v1/acme/dev-7/h/+
topic write heron/v1/acme/dev-7/res/+/+
topic write heron/v1/acme/dev-7/ha/+
topic read heron/v1/acme/dev-7/desired
topic read heron/v1/acme/dev-7/ack
topic read heron/v1/acme/dev-7/cmd/+/+
topic read heron/v1/acme/_all/desired
topic write homeassistant/device/heron-acme/dev-7/config
topic read homeassistant/status`)
	if code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, errOut, code := heron(t, "fleet", "acl", "--group", "acme", "dev 7"); code != exitUsage || !strings.Contains(errOut, `"dev 7"`) {
		t.Errorf("%d %s", code, errOut)
	}
}

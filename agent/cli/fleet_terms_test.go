package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/sync/fleet"
	"heron/sync/message"
)

// A shadow run or a probation of none can be asked for; what is not said is left to the device.
func TestPushSaysNone(t *testing.T) {
	slow(t)
	p := newPaddock(t, 1)
	documents := make(chan string, 100)
	p.client.Subscribe("heron/v1/acme/_all/desired", 1, func(_ paho.Client, m paho.Message) {
		p.desired("_all", m.Payload())
		documents <- string(m.Payload())
	}).Wait()
	for i, c := range []struct {
		args     []string
		says, no string
	}{
		{nil, `"target":"bottles/0"`, `"shadow"`},
		{[]string{"--shadow", "0"}, `"shadow":"0s"`, `"probation"`},
		{[]string{"--probation", "0s", "--shadow", "90m"}, `"shadow":"1h30m","probation":"0s"`, `""`},
	} {
		target := "bottles/" + string(rune('0'+i))
		if out, errOut, code := p.fleet(append([]string{"push", "--model", target}, c.args...)...); code != exitOK {
			t.Fatalf("%v: %d\n%s%s", c.args, code, out, errOut)
		}
		for doc := ""; !strings.Contains(doc, target); {
			select {
			case doc = <-documents:
			case <-time.After(20 * time.Second):
				t.Fatalf("%v: no document", c.args)
			}
			if strings.Contains(doc, target) && (!strings.Contains(doc, c.says) || strings.Contains(doc, c.no)) {
				t.Errorf("%v: %s", c.args, doc)
			}
		}
	}
	for _, args := range [][]string{{"--shadow", "25h"}, {"--shadow", "-1s"}, {"--probation", "169h"}} {
		if out, errOut, code := p.fleet(append([]string{"push", "--model", "a/1"}, args...)...); code != exitUsage || !strings.Contains(errOut, "as devices take it") {
			t.Errorf("%v: %d\n%s%s", args, code, out, errOut)
		}
	}
}

// What a device waits for is said once, wherever the lines go: a target that is in no repository would else be pending without a word.
func TestPushSaysWhatDevicesWaitFor(t *testing.T) {
	var out, errOut bytes.Buffer
	v := newRolloutView(&app{out: &out, errOut: &errOut}, "acme")
	r := fleet.Rollout{Slot: "main", Target: "b/9", State: fleet.Running, Plan: fleet.Plan{Percent: []float64{100}}, At: fleet.Position{Rev: 3, FirstRev: 3}}
	slot := message.ReportedSlot{Slot: "main", Source: "group", Target: "b/9", Step: message.StepOffered, Error: "not in the repository: target \"b/9\""}
	var herd []fleet.Device
	for _, id := range []string{"dev-1", "dev-2"} {
		herd = append(herd, fleet.Device{Group: "acme", ID: id, State: &message.State{Status: "online"}, Reported: &message.Reported{GroupRev: 3, Slots: []message.ReportedSlot{slot}}})
	}
	v.show(r, nil)
	v.show(r, nil)
	if n := strings.Count(errOut.String(), "no device of group acme has ever said anything"); n != 1 {
		t.Errorf("a group that nobody is in: told %d times", n)
	}
	v.show(r, herd)
	v.show(r, herd)
	if n := strings.Count(out.String(), `dev-1 offered: not in the repository: target "b/9"`); n != 1 || strings.Contains(out.String(), "dev-2") {
		t.Errorf("told %d times:\n%s", n, out.String())
	}
	if p := problems(herd[0]); len(p) != 1 || p[0] != slot.Error {
		t.Errorf("problems: %q", p)
	}
}

func TestWhatToDoAboutAStop(t *testing.T) {
	plan := fleet.Plan{Percent: []float64{5, 100}, MaxFailed: 1}
	for want, r := range map[string]fleet.Rollout{
		"resume --max-failed N goes on": {Plan: plan, Counts: fleet.Counts{Selected: 3, Failed: 2}},
		"another --salt":                {Plan: plan},
		"abort --group acme ends it":    {Plan: plan, At: fleet.Position{Wave: 1}, Counts: fleet.Counts{Selected: 3}},
	} {
		if got := afterStop(r, "acme"); !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

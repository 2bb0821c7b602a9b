package cli

import (
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
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

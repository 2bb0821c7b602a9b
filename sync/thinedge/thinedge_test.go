package thinedge

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The messages, byte for byte, on the documented topics.
func TestMessages(t *testing.T) {
	since := time.Unix(1674739912, 5e8)
	for _, c := range []struct {
		root string
		up   bool
		want string
	}{
		{"te", true, `te/device/main/service/heron {"@type":"service","name":"heron","type":"service"}
te/device/main/service/heron/status/health {"pid":1234,"status":"up","time":1674739912}
`},
		{"site/te", false, `site/te/device/main/service/heron {"@type":"service","name":"heron","type":"service"}
site/te/device/main/service/heron/status/health {"status":"down","time":1674739912}
`},
	} {
		var b strings.Builder
		conf := Config{Root: c.root}
		for i, m := range conf.Messages(c.up, 1234, since) {
			fmt.Fprintf(&b, "%s %s\n", m.Topic, m.Payload)
			if conf.Topics()[i] != m.Topic {
				t.Errorf("%s is not among the topics", m.Topic)
			}
		}
		if b.String() != c.want {
			t.Errorf("got\n%swant\n%s", b.String(), c.want)
		}
	}
}

func TestParseCall(t *testing.T) {
	for line, want := range map[string]Call{
		"list":                                   {Verb: "list"},
		"prepare":                                {Verb: "prepare"},
		"finalize":                               {Verb: "finalize"},
		"install bottles":                        {Verb: "install", Name: "bottles"},
		"install bottles --module-version 1.4.2": {Verb: "install", Name: "bottles", Version: "1.4.2"},
		"install --file /t/f bottles":            {Verb: "install", Name: "bottles", File: "/t/f"},
		"install a/b --module-version=1 --file=/tmp": {Verb: "install", Name: "a/b", Version: "1", File: "/tmp"},
		"remove bottles --module-version 1":          {Verb: "remove", Name: "bottles", Version: "1"},
	} {
		if got, err := ParseCall(strings.Fields(line)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for line, words := range map[string]string{
		"":                  "expected list",
		"list x":            "no arguments",
		"finalize --now":    "no arguments",
		"install":           "name is missing",
		"install a b":       "one module",
		"install a --file":  "needs a value",
		"install a --force": "no option",
		"remove a --file f": "no option",
		"update-list":       "not offered",
		"upgrade":           "no command",
	} {
		if _, err := ParseCall(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestList(t *testing.T) {
	if got := List([]Module{{"heron", "1.2.0"}, {"bottles", ""}, {"a\tb", "1\n2"}}); got != "heron\t1.2.0\nbottles\na b\t1 2\n" {
		t.Errorf("%q", got)
	}
}

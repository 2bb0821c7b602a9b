package desired

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"heron/sync/message"
)

const base = `{"device":{"id":"dev-1"},"cameras":{"front":{"fps":10,"source":"v4l2:/dev/video0"}},"uplink":{"broker":"mqtts://good","compress":"none"},"log":{"level":"info"}}`

// bench is Patches with what is in force.
type bench struct {
	*Patches
	t       *testing.T
	path    string
	inForce string
	applied int
	fail    error
	audit   []string
}

func newBench(t *testing.T, path string) *bench {
	t.Helper()
	b := &bench{t: t, path: path}
	p, err := OpenPatches(Config{Path: path, Base: []byte(base), Audit: func(r message.AuditRecord) { b.audit = append(b.audit, r.Result) },
		Validate: func(s []byte) error {
			if strings.Contains(string(s), "nonsense") {
				return errors.New("log.level: nonsense, expected debug, info, warn or error")
			}
			return nil
		},
		Apply: func(s []byte) error {
			b.applied++
			b.Report() // must not wait for Apply
			if b.fail != nil {
				return b.fail
			}
			b.inForce = string(s)
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	b.Patches = p
	b.inForce = string(p.Effective())
	return b
}

func (b *bench) offer(rev int64, patch string) {
	b.Offer(&Setting{DesiredConfig: message.DesiredConfig{Rev: rev, Patch: json.RawMessage(patch)}, Source: Group})
}

func (b *bench) want(state, inForce string) {
	b.t.Helper()
	if r := b.Report(); r == nil || r.State != state {
		b.t.Errorf("reported %+v, want %s", r, state)
	}
	if !strings.Contains(b.inForce, inForce) {
		b.t.Errorf("in force: %s; want %s within", b.inForce, inForce)
	}
}

// K6: a broker address that does not exist is taken back after ten minutes without contact, and not tried again.
func TestK6PatchThatCutsTheLink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "patches.json")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, path)
		b.offer(1, `{"uplink":{"broker":"mqtts://bad"}}`)
		b.want(message.ConfigProbation, "mqtts://bad")
		began := time.Now()
		heard := began.Add(time.Second) // by the old connection, as it was ended
		for !b.Tick(heard) {
			time.Sleep(time.Second)
			if time.Since(began) > time.Hour {
				t.Fatal("never taken back")
			}
		}
		if d := time.Since(began); d < 10*time.Minute || d > 10*time.Minute+2*time.Second {
			t.Errorf("taken back after %v", d)
		}
		b.want(message.ConfigReverted, "mqtts://good")
		b.offer(1, `{"uplink":{"broker":"mqtts://bad"}}`)
		if b.applied != 2 {
			t.Errorf("applied %d times: the same rev was tried again", b.applied)
		}
		again := newBench(t, path)
		again.want(message.ConfigReverted, "mqtts://good")
		again.offer(2, `{"uplink":{"broker":"mqtts://better"}}`)
		time.Sleep(20 * time.Second)
		if !again.Tick(time.Now()) {
			t.Error("contact did not end the probation")
		}
		again.want(message.ConfigApplied, "mqtts://better")
		newBench(t, path).want(message.ConfigApplied, "mqtts://better")
		if got := strings.Join(again.audit, " "); got != "applied" {
			t.Errorf("audit: %s", got)
		}
	})
}

// K6 with restarts: the ten minutes go on, and three starts are enough.
func TestK6Restarts(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "time.json")
		b := newBench(t, path)
		b.offer(1, `{"uplink":{"broker":"mqtts://bad"}}`)
		for range 7 * 60 {
			time.Sleep(time.Second)
			b.Tick(time.Time{})
		}
		b = newBench(t, path)
		b.want(message.ConfigProbation, "mqtts://bad")
		began := time.Now()
		for !b.Tick(time.Time{}) {
			time.Sleep(time.Second)
		}
		if d := time.Since(began); d > 4*time.Minute {
			t.Errorf("three minutes were left, and %v were given", d)
		}
		b.want(message.ConfigReverted, "mqtts://good")

		path = filepath.Join(dir, "starts.json")
		newBench(t, path).offer(1, `{"uplink":{"broker":"mqtts://bad"}}`)
		newBench(t, path).want(message.ConfigProbation, "mqtts://bad")
		newBench(t, path).want(message.ConfigProbation, "mqtts://bad")
		newBench(t, path).want(message.ConfigReverted, "mqtts://good")
		newBench(t, path).want(message.ConfigReverted, "mqtts://good")
	})
}

func TestPatchesAreMergedOverTheBase(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "patches.json"))
	b.Offer(nil)
	if b.Report() != nil || b.inForce != base {
		t.Errorf("%+v, %s", b.Report(), b.inForce)
	}
	b.offer(1, `{"cameras":{"front":{"fps":5}},"log":{"level":"debug"}}`)
	b.want(message.ConfigApplied, `"fps":5,"source":"v4l2:/dev/video0"`) // at once: the link does not hang on it
	b.offer(2, `{"log":{"level":null}}`)
	b.want(message.ConfigApplied, `"fps":10`) // over the base, not over the patch before
	b.want(message.ConfigApplied, `"log":{}`)
	b.offer(3, `{}`)
	b.want(message.ConfigApplied, `"level":"info"`)
	b.offer(4, `{"log":{"level":"nonsense"}}`)
	b.want(message.ConfigRefused, `"level":"info"`)
	if e := b.Report().Error; !strings.Contains(e, "log.level") {
		t.Errorf("error %q", e)
	}
	b.fail = errors.New("camera front does not take it")
	applied := b.applied
	b.offer(5, `{"cameras":{"front":{"fps":7}}}`)
	b.want(message.ConfigReverted, `"fps":10`)
	b.fail = nil
	b.Tick(time.Time{}) // the way back had failed as well: it is tried until it works
	if b.applied != applied+3 {
		t.Errorf("applied %d times", b.applied-applied)
	}
	b.want(message.ConfigReverted, `"fps":10`)
}

// What is in force is never left to a trial that was superseded by a refused one.
func TestSupersededByRefused(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "patches.json"))
	b.offer(1, `{"uplink":{"broker":"mqtts://bad"}}`)
	b.offer(2, `{"log":{"level":"nonsense"}}`)
	b.want(message.ConfigRefused, "mqtts://good")
}

// Nothing is risked while the way back cannot be written.
func TestPatchWithoutADisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone", "patches.json")
	b := newBench(t, path)
	b.offer(1, `{"uplink":{"broker":"mqtts://bad"}}`)
	b.want(message.ConfigRefused, "mqtts://good")
	if b.applied != 0 {
		t.Error("applied")
	}
	if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	b.offer(1, `{"uplink":{"broker":"mqtts://bad"}}`)
	b.want(message.ConfigProbation, "mqtts://bad")
}

func TestOnlyListedSettings(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "patches.json"))
	for i, patch := range []string{
		`{"device":{"id":"dev-2"}}`, `{"device":null}`, `{"uplink":{"credentials":{"password_file":"/etc/shadow"}}}`, `{"uplink":null}`, `{"uplink":{"broker":{"a":1}}}`,
		`{"cameras":null}`, `{"cameras":[]}`, `{"cameras":{"front":null}}`, `{"cameras":{"front":{"source":"x"}}}`, `{"vision":{"command":"/bin/sh"}}`,
		`{"outbox":{"path":"/etc"}}`, `{"models":[]}`, `{"events":7,"log":{}}`, `{"cameras.front.fps":1}`, `{"log.level":"debug"}`, `{"":1}`, `{"cameras":{"front":{"fps":{"a":1}}}}`,
	} {
		b.offer(int64(i+1), patch)
		if r := b.Report(); r == nil || r.State != message.ConfigRefused || b.inForce != base {
			t.Errorf("%s: %+v, in force %s", patch, r, b.inForce)
		}
	}
	for i, patch := range []string{`{"events":{"default":{"enter":0.7}}}`, `{"events":{"labels":{"a.b":null}}}`, `{"board":{"hot":70}}`} {
		b.offer(int64(i+100), patch)
		if r := b.Report(); r.State != message.ConfigApplied {
			t.Errorf("%s: %+v", patch, r)
		}
	}
}

// The examples of RFC 7386, appendix A.
func TestMergePatch(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`}, {`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`}, {`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`}, {`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`}, {`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`}, {`{"a":"foo"}`, `null`, `null`}, {`{"a":"foo"}`, `"bar"`, `"bar"`}, {`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`}, {`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		if got, err := merge([]byte(c[0]), []byte(c[1])); err != nil || string(got) != c[2] {
			t.Errorf("%s with %s: %s, %v; want %s", c[0], c[1], got, err, c[2])
		}
	}
}

// Of a key that is there twice, nobody knows which is meant.
func TestPatchWithAKeyTwice(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "patches.json"))
	was := b.inForce
	b.offer(1, `{"log":{"level":"debug"},"cameras":{"front":{"fps":5,"fps":6}}}`)
	if r := b.Report(); r == nil || r.State != message.ConfigRefused || r.Error != `"fps" is there twice; leave one of them` || b.inForce != was {
		t.Errorf("%+v, in force %s", r, b.inForce)
	}
	for text, want := range map[string]string{
		`{"a":{"b":1},"c":{"b":1}}`: "", `{"a":[{"b":1},{"b":1}],"b":"a"}`: "", `{"a":{},"a":1}`: "a", `{"a":["x","x"],"b":null,"b":null}`: "b", `{"a":"a"}`: "", `{"a":[[{"x":1,"\u0078":2}]]}`: "x",
	} {
		if got := repeated([]byte(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// Another group counts its patches anew; what the old one set stays until then.
func TestPatchesOfAnotherGroup(t *testing.T) {
	conf := Config{Path: filepath.Join(t.TempDir(), "patches.json"), Of: Address{"acme", "dev-1"}, Base: []byte(base), Validate: func([]byte) error { return nil }, Apply: func([]byte) error { return nil }}
	offer := func(rev int64, level string) (inForce bool) {
		p, err := OpenPatches(conf)
		if err != nil {
			t.Fatal(err)
		}
		p.Offer(&Setting{DesiredConfig: message.DesiredConfig{Rev: rev, Patch: json.RawMessage(`{"log":{"level":"` + level + `"}}`)}, Source: Group})
		return strings.Contains(string(p.Effective()), level)
	}
	if !offer(900, "debug") || offer(2, "warn") {
		t.Error("a rev that does not rise counted, or one that does did not")
	}
	conf.Of.Group = "beta"
	if !offer(2, "warn") || offer(1, "error") {
		t.Error("another group's revs were the old one's")
	}
}

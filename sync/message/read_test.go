package message

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hostile is fault K1: what must be refused, and the words that say where.
var hostile = []struct{ name, doc, want string }{
	{"ten megabytes", `{"v":1,"rev":1,"x":"` + strings.Repeat("a", 10<<20) + `"}`, "at most 131072"},
	{"deep", `{"v":1,"rev":1,"x":` + strings.Repeat("[", 60000) + strings.Repeat("]", 60000) + `}`, "nested deeper"},
	{"deep, never closed", strings.Repeat(`{"a":`, 20000), "nested deeper"},
	{"no object", `[1]`, "not a JSON object"},
	{"nothing", ``, "not a JSON object"},
	{"too long for the link", `too long: 200000 bytes, at most 131059 are taken`, "too long: 200000 bytes, at most 131059 are taken"},
	{"NaN", `{"v":1,"rev":NaN}`, "invalid character"},
	{"not UTF-8", "{\"v\":1,\"rev\":1,\"x\":\"\xff\"}", "UTF-8"},
	{"two documents", `{"v":1,"rev":1}{}`, "after top-level"},
	{"another version", `{"v":2,"rev":1}`, "v: 2"},
	{"no rev", `{"v":1}`, "rev: 0"},
	{"negative rev", `{"v":1,"rev":-4}`, "rev: -4"},
	{"rev too big for JSON", `{"v":1,"rev":9007199254740993}`, "rev: 9007199254740993"},
	{"rev out of range", `{"v":1,"rev":1e400}`, "rev: number 1e400 where a whole number belongs"},
	{"rev a string", `{"v":1,"rev":"17"}`, "rev: string where a whole number belongs"},
	{"models an object", `{"v":1,"rev":1,"models":{}}`, "models: object where a list belongs"},
	{"slot a number", `{"v":1,"rev":1,"models":[{"slot":1}]}`, "models.slot: number where a string belongs"},
	{"percent a string", `{"v":1,"rev":1,"models":[{"slot":"a","target":"b","rollout":{"percent":"5"}}]}`, "models.rollout.percent: string where a number belongs"},
	{"percent of 120", `{"v":1,"rev":1,"models":[{"slot":"a","target":"b","rollout":{"percent":120}}]}`, "models[0].rollout.percent: 120"},
	{"duration", `{"v":1,"rev":1,"models":[{"slot":"a","target":"b","shadow":"10x"}]}`, `models.shadow: "10x" where a duration such as 10m belongs`},
	{"duration a number", `{"v":1,"rev":1,"models":[{"slot":"a","target":"b","shadow":600}]}`, `models.shadow: 600 where a duration`},
	{"time", `{"v":1,"rev":1,"issued_at":"yesterday"}`, `yesterday is not a time`},
	{"slot out of the folder", `{"v":1,"rev":1,"models":[{"slot":"../a","target":"b"}]}`, `models[0].slot: "../a"`},
	{"target out of the folder", `{"v":1,"rev":1,"models":[{"slot":"a","target":"../../etc"}]}`, `models[0].target: "../../etc"`},
	{"target absolute", `{"v":1,"rev":1,"models":[{"slot":"a","target":"/etc"}]}`, `models[0].target`},
	{"one slot twice", `{"v":1,"rev":1,"models":[{"slot":"a","target":"b"},{"slot":"a","target":"c"}]}`, "models[1].slot"},
	{"43,000 models", `{"v":1,"rev":1,"models":[` + strings.Repeat(`{},`, 42000) + `{}]}`, "more than 8192 values"},
	{"too many models", `{"v":1,"rev":1,"models":[` + strings.Repeat(`{},`, 16) + `{}]}`, "at most 16"},
	{"window", `{"v":1,"rev":1,"models":[{"slot":"a","target":"b","rollout":{"window":"22-5"}}]}`, "models[0].rollout.window"},
	{"window of no time", `{"v":1,"rev":1,"models":[{"slot":"a","target":"b","rollout":{"window":"05:00-05:00"}}]}`, "models[0].rollout.window"},
	{"glob", `{"v":1,"rev":1,"models":[{"slot":"a","target":"b","rollout":{"labels":{"site":"["}}}]}`, "models[0].rollout.labels.site"},
	{"patch a string", `{"v":1,"rev":1,"config":{"rev":1,"patch":"x"}}`, "config.patch"},
	{"no patch", `{"v":1,"rev":1,"config":{"rev":1}}`, "config.patch"},
	{"config rev", `{"v":1,"rev":1,"config":{"patch":{}}}`, "config.rev"},
	{"firmware", `{"v":1,"rev":1,"firmware":{"target":""}}`, "firmware.target"},
}

func TestK1HostileDesired(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseDesired([]byte(c.doc))
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 300 {
				t.Errorf("%v; want %q within", err, c.want)
			}
		})
	}
}

// The slowest of the refusals, and the biggest document that is read, within the bounds of fault K1.
func TestK1IsQuickAndSmall(t *testing.T) {
	wide := []byte(`{"v":1,"rev":1,"models":[` + strings.TrimSuffix(strings.Repeat(`{},`, 43000), ",") + `]}`)
	keys := []byte(`{"v":1,"rev":1,"x":{` + strings.TrimSuffix(strings.Repeat(`"\u0061":[0],`, 9000), ",") + `}}`)
	most := []byte(`{"v":1,"rev":1,"models":[` + strings.Repeat(`{},`, maxValues-3) + `{}]}`)
	docs := [][]byte{wide, keys, most}
	for _, c := range hostile {
		docs = append(docs, []byte(c.doc))
	}
	for _, doc := range docs {
		best := time.Hour // of ten: the machine may be busy
		for range 10 {
			began := time.Now()
			_, _ = ParseDesired(doc)
			best = min(best, time.Since(began))
		}
		if best > 10*time.Millisecond && !raceEnabled {
			t.Errorf("%d bytes: %v", len(doc), best)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = ParseDesired(doc)
		runtime.ReadMemStats(&after)
		const bound = 4 << 20
		if got := after.TotalAlloc - before.TotalAlloc; got > bound {
			t.Errorf("%d bytes: %d allocated", len(doc), got)
		}
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	d, err := ParseDesired([]byte(`{"v":1,"rev":2,"colour":{"a":[1]},"models":[{"slot":"main","target":"bottles/1","wings":2}]}`))
	if err != nil || d.Rev != 2 || len(d.Models) != 1 || d.Models[0].Slot != "main" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestCommandsAreReadStrictly(t *testing.T) {
	const good = `{"v":1,"id":"01J","expires_at":"2026-11-20T13:00:00Z","args":{"a":1}}`
	if c, err := ParseCommand([]byte(good)); err != nil || c.ID != "01J" || string(c.Args) != `{"a":1}` {
		t.Errorf("%+v, %v", c, err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"v":1`, `"v":3`, "v: 3"}, {`"01J"`, `"a/b"`, "id:"}, {`"01J"`, `""`, "id:"}, {`"01J"`, `7`, "id: number where a string belongs"},
		{`{"a":1}`, `[1]`, "args"}, {`"2026-11-20T13:00:00Z"`, `null`, "expires_at"}, {`"2026-11-20T13:00:00Z"`, `"soon"`, `soon is not a time`},
	} {
		if _, err := ParseCommand([]byte(strings.Replace(good, c.from, c.to, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q within", c.to, err, c.want)
		}
	}
}

func TestDocumentsAreReadAsWritten(t *testing.T) {
	read := map[string]func([]byte) (any, error){
		"desired":  func(b []byte) (any, error) { return ParseDesired(b) },
		"reported": func(b []byte) (any, error) { return ParseReported(b) },
		"cmd":      func(b []byte) (any, error) { return ParseCommand(b) },
		"res":      func(b []byte) (any, error) { return ParseAnswer(b) },
	}
	for name, parse := range read {
		b, err := json.Marshal(documents()[name])
		if err != nil {
			t.Fatal(err)
		}
		got, err := parse(b)
		if err != nil || !reflect.DeepEqual(got, documents()[name]) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, documents()[name])
		}
	}
}

// What the schema refuses in a desired document or a command, the reader refuses as well, where it matters on a device.
func FuzzDocuments(f *testing.F) {
	for _, name := range []string{"desired", "reported", "cmd", "res"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, c := range hostile {
		if len(c.doc) < 4096 {
			f.Add([]byte(c.doc))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if d, err := ParseDesired(in); err == nil {
			again(t, in, d, ParseDesired)
			for _, m := range d.Models {
				if !IsSlot(m.Slot) || !IsTarget(m.Target) || strings.Contains(m.Target, "..") && strings.Contains(m.Target, "/..") {
					t.Fatalf("%+v of %q", m, in)
				}
			}
		}
		if c, err := ParseCommand(in); err == nil {
			again(t, in, c, ParseCommand)
		}
		_, _ = ParseReported(in)
		_, _ = ParseAnswer(in)
	})
}

// again: what was read can be written, and is read the same.
func again[T any](t *testing.T, in []byte, v T, parse func([]byte) (T, error)) {
	out, err := json.Marshal(v)
	if err != nil {
		t.Skip() // a time that RFC 3339 cannot say
	}
	w, err := parse(out)
	if err != nil {
		t.Fatalf("%v\nin  %q\nout %q", err, in, out)
	}
	back, _ := json.Marshal(w)
	if !bytes.Equal(out, back) {
		t.Fatalf("%s, then %s", out, back)
	}
}

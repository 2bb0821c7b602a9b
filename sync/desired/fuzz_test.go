package desired

import (
	"encoding/json"
	"reflect"
	"testing"
)

// Whatever a patch says: if it is allowed, what is not on the list is as it was.
func FuzzPatchStaysWithinTheList(f *testing.F) {
	for _, s := range []string{`{}`, `{"log":{"level":"debug"}}`, `{"cameras":{"front":{"fps":5}}}`, `{"device":{"id":"x"}}`, `{"cameras":null}`, `{"uplink":{"broker":null,"credentials":{}}}`, `{"events":{"a":[1,{"b":null}]}}`, `{"cameras":{"front":{}}}`, `{"cameras":{}}`, `{"device":{}}`, `{"uplink":{"broker":"a","broker":{"b":1}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		if !json.Valid(patch) || checkAllowed(patch, Changeable()) != nil {
			return
		}
		out, err := merge([]byte(base), patch)
		if err != nil {
			t.Fatalf("%v: %q", err, patch)
		}
		before, after := rest(t, []byte(base)), rest(t, out)
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%q changed\n%v\n%v", patch, before, after)
		}
	})
}

// rest is the settings without what a patch may change.
func rest(t *testing.T, settings []byte) map[string]any {
	var v map[string]any
	if err := json.Unmarshal(settings, &v); err != nil {
		t.Fatalf("%v: %q", err, settings)
	}
	for _, top := range []string{"events", "log", "vision", "board"} {
		delete(v, top)
	}
	if u, ok := v["uplink"].(map[string]any); ok {
		for _, k := range []string{"broker", "results", "compress", "keepalive", "backfill"} {
			delete(u, k)
		}
	}
	cams, _ := v["cameras"].(map[string]any)
	for name, c := range cams {
		m, ok := c.(map[string]any)
		if !ok {
			continue
		}
		if delete(m, "fps"); len(m) == 0 && name != "front" {
			delete(cams, name) // a camera that is not there: for Validate to refuse
		}
	}
	return v
}

package desired

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Changeable are the settings that a patch may change, by their path: * stands for one level, ** at the end for all below.
// Cameras are named rather than counted. Nothing here names the device, its credentials, its folders, or a program to run.
func Changeable() []string {
	return []string{
		"cameras.*.fps", "events.**", "log.level",
		"uplink.broker", "uplink.results", "uplink.compress", "uplink.keepalive", "uplink.backfill",
		"vision.inference", "vision.load", "vision.max_memory", "vision.engine_retry",
		"board.adapt", "board.hot",
	}
}

// MergePatch is RFC 7386: objects are merged member by member, null removes, everything else replaces.
func MergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = nil
	}
	out := maps.Clone(t)
	if out == nil {
		out = map[string]any{}
	}
	for key, v := range p {
		if v == nil {
			delete(out, key)
			continue
		}
		out[key] = MergePatch(out[key], v)
	}
	return out
}

// merge applies a patch to a document, both as JSON. Numbers keep their digits.
func merge(base, patch []byte) ([]byte, error) {
	b, err := parse(base)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	p, err := parse(patch)
	if err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	return json.Marshal(MergePatch(b, p))
}

func parse(b []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// paths lists what a patch sets or removes, each by its path, sorted.
func paths(patch []byte) ([]string, error) {
	v, err := parse(patch)
	if err != nil {
		return nil, err
	}
	var out []string
	var walk func(at []string, v any)
	walk = func(at []string, v any) {
		m, ok := v.(map[string]any)
		if !ok || len(m) == 0 && len(at) > 0 {
			out = append(out, strings.Join(at, "."))
			return
		}
		for key, below := range m {
			walk(append(slices.Clip(at), strings.ReplaceAll(key, ".", "\u2024")), below) // a dot within a key must not pass for a level
		}
	}
	walk(nil, v)
	slices.Sort(out)
	return out, nil
}

// repeated is the first key that an object has twice; empty: none. Readers differ in which of the two counts, so neither does.
func repeated(text []byte) string {
	type object struct {
		keys  map[string]bool // nil: an array
		value bool            // what comes next belongs to a key
	}
	var open []object
	d := json.NewDecoder(bytes.NewReader(text))
	for {
		t, err := d.Token()
		if err != nil {
			return "" // the end; what is wrong otherwise is told by parse
		}
		if end, ok := t.(json.Delim); ok && (end == '}' || end == ']') {
			open = open[:len(open)-1]
			continue
		}
		if top := len(open) - 1; top >= 0 && open[top].keys != nil {
			key, ok := t.(string)
			if o := &open[top]; !o.value && ok {
				if o.keys[key] {
					return key
				}
				o.keys[key], o.value = true, true
				continue
			}
			open[top].value = false
		}
		switch t {
		case json.Delim('{'):
			open = append(open, object{keys: map[string]bool{}})
		case json.Delim('['):
			open = append(open, object{})
		}
	}
}

// checkAllowed names the first path that no pattern allows.
func checkAllowed(patch []byte, patterns []string) error {
	changed, err := paths(patch)
	if err != nil {
		return err
	}
	if key := repeated(patch); key != "" {
		return fmt.Errorf("%.100q is there twice; leave one of them", key)
	}
	for _, p := range changed {
		if !slices.ContainsFunc(patterns, func(pattern string) bool { return allows(pattern, p) }) {
			return fmt.Errorf("%s: not a setting that can be changed from afar; it can be changed in the device's own configuration", p)
		}
	}
	return nil
}

func allows(pattern, p string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(p, ".")
	for i, w := range want {
		switch {
		case w == "**":
			return len(have) > i
		case i >= len(have) || w != "*" && w != have[i] || have[i] == "":
			return false
		}
	}
	return len(want) == len(have)
}

// touchesLink says whether a patch changes what the link hangs on.
func touchesLink(patch []byte) bool {
	changed, err := paths(patch)
	return err != nil || slices.ContainsFunc(changed, func(p string) bool { return strings.HasPrefix(p, "uplink.") })
}

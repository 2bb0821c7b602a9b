package inference

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestParseChoice(t *testing.T) {
	for _, c := range []struct{ entry, engine, device string }{
		{"onnx", "onnx", ""},
		{"openvino-gpu", "openvino-gpu", ""},
		{"edgetpu", "edgetpu", ""},
		{"edgetpu:usb:2-1", "edgetpu", "usb:2-1"},
		{"edgetpu:usb:2-1.4.2", "edgetpu", "usb:2-1.4.2"},
		{"edgetpu:usb:12-10", "edgetpu", "usb:12-10"},
		{"edgetpu:pci:0", "edgetpu", "pci:0"},
		{"edgetpu:pci:12", "edgetpu", "pci:12"},
	} {
		engine, device, err := ParseChoice(c.entry)
		if err != nil || engine != c.engine || device != c.device || Choice(engine, device) != c.entry {
			t.Errorf("%s is %q on %q, %v, and written %q", c.entry, engine, device, err, Choice(engine, device))
		}
	}
	for entry, next := range map[string]string{
		"":                     "or auto",
		":usb:2-1":             "or auto",
		"usb:2-1":              "write edgetpu:usb:2-1",
		"pci:0":                "write edgetpu:pci:0",
		"onnx:cpu":             "write onnx alone",
		"tflite:usb:2-1":       "write tflite alone",
		"openvino:GPU.1":       "write openvino alone",
		"auto:usb:2-1":         "write auto alone",
		"edgetpu:":             "edgetpu:usb:2-1",
		"edgetpu:any":          "edgetpu:usb:2-1",
		"edgetpu:usb":          "edgetpu:usb:2-1",
		"edgetpu:usb:1":        "edgetpu:usb:2-1",
		"edgetpu:usb:2-1.":     "edgetpu:usb:2-1",
		"edgetpu:usb:2-1:1.0":  "edgetpu:usb:2-1",
		"edgetpu:usb:0-1":      "edgetpu:usb:2-1",
		"edgetpu:usb:2-01":     "edgetpu:usb:2-1",
		"edgetpu:usb:2-1 ":     "edgetpu:usb:2-1",
		"edgetpu:usb:2-1\n":    "edgetpu:usb:2-1",
		"edgetpu:pci:apex_0":   "edgetpu:pci:0",
		"edgetpu:pci:-1":       "edgetpu:pci:0",
		"edgetpu:pci:00":       "edgetpu:pci:0",
		"edgetpu:/dev/apex_0":  "edgetpu:pci:0",
		"edgetpu:usb:../../..": "edgetpu:usb:2-1",
	} {
		_, _, err := ParseChoice(entry)
		r := (*Refusal)(nil)
		if !errors.As(err, &r) || r.Code != CodeEngine || !strings.Contains(r.NextStep, next) || entry != "" && !strings.Contains(r.What, strings.TrimSpace(entry)) {
			t.Errorf("%q: %v; want a next step %q", entry, err, next)
		}
	}
}

func TestOrderOfChoices(t *testing.T) {
	_, err := ReadBundle(bundleDir(t, nil, nil), []string{"a:usb:2-1", "b"})
	if r := (*Refusal)(nil); !errors.As(err, &r) || r.Code != CodeEngine || !strings.Contains(r.What, "has no devices") {
		t.Errorf("ended with %v", err)
	}
	if got := Choice("onnx", "cpu") + Choice("edgetpu", "any") + Choice("myriad", "usb:1-1"); got != "onnxedgetpumyriad" {
		t.Error(got)
	}
}

// TestDevicesOfOneEngineAreTriedApart: each with its name, and one that is to be avoided says nothing of the other.
func TestDevicesOfOneEngineAreTriedApart(t *testing.T) {
	dir := bundleDir(t, func(m map[string]any) {
		m["engines"] = []map[string]any{{"engine": "edgetpu", "file": "m.a"}, {"engine": "a", "file": "m.a"}}
	}, nil)
	b, err := ReadBundle(dir, []string{"edgetpu:usb:2-1", "edgetpu:usb:2-2", "edgetpu:pci:0", "a"})
	if err != nil {
		t.Fatal(err)
	}
	open, _ := fakes(bright)
	var asked, tried []string
	stick := func(ctx context.Context, m Model) (Engine, error) {
		if asked = append(asked, m.Spec.Device); m.Spec.Device == "usb:2-2" {
			return nil, Unavailable("plug it in", "nothing is there")
		}
		return open(ctx, m)
	}
	s, err := OpenSlot(t.Context(), b, map[string]Opener{"edgetpu": stick, "a": open}, Opening{Threads: 3,
		Avoid: map[string]string{"edgetpu:usb:2-1": "it was lost"}, Trying: func(choice string) { tried = append(tried, choice) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := strings.Join(asked, " "); got != "usb:2-2 pci:0" || strings.Join(tried, " ") != "edgetpu:usb:2-2 edgetpu:pci:0" || s.Spec().Choice() != "edgetpu:pci:0" {
		t.Errorf("asked for %s, told %v, runs on %s", got, tried, s.Spec().Choice())
	}
	if k := s.Skipped(); len(k) != 2 || k[0].Engine != "edgetpu:usb:2-1" || k[0].Code != CodeAvoided || k[1].Engine != "edgetpu:usb:2-2" || k[1].Code != CodeUnavailable {
		t.Errorf("%+v", k)
	}
}

package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"heron/agent/status"
	"heron/inference"
	"heron/vision"
)

const camera1 = "cameras: [{name: a, source: \"testcard:\"}]\n"

func TestEngineOrder(t *testing.T) {
	for text, want := range map[string]string{
		"auto":                      "",
		"[auto]":                    "",
		"edgetpu":                   "edgetpu",
		"[tensorrt, cuda, onnx]":    "tensorrt cuda onnx",
		"[myriad, scripted]":        "myriad scripted",
		"edgetpu:usb:2-1":           "edgetpu:usb:2-1",
		"\"edgetpu:pci:0\"":         "edgetpu:pci:0",
		"[edgetpu:usb:2-1, tflite]": "edgetpu:usb:2-1 tflite",
		"[edgetpu:usb:2-1, edgetpu:usb:2-1.4, onnx]": "edgetpu:usb:2-1 edgetpu:usb:2-1.4 onnx",
		"[\"edgetpu:pci:0\", 'edgetpu:pci:1']":       "edgetpu:pci:0 edgetpu:pci:1",
		"[openvino-gpu, openvino]":                   "openvino-gpu openvino",
	} {
		for _, form := range []string{"models: [{bundle: /b, engine: %s}]\n", "models:\n  - {bundle: /b, engine: %s, cameras: [a]}\n", "models:\n  - bundle: /b\n    engine: %s\n"} {
			c, err := Load(write(t, camera1+fmt.Sprintf(form, text)), nil)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if got := strings.Join(c.Models[0].Engine, " "); got != want || !slices.Equal(c.Models[0].vision("/d").Engines, c.Models[0].Engine) {
				t.Errorf(form+" is %q, want %q", text, got, want)
			}
			again, err := c.Effective()
			if err != nil {
				t.Fatal(err)
			}
			if c, err = Load(write(t, string(again)), nil); err != nil || strings.Join(c.Models[0].Engine, " ") != want {
				t.Errorf("%s does not survive being printed: %v\n%s", text, err, again)
			}
		}
	}
}

func TestBadEngineOrder(t *testing.T) {
	for _, c := range []struct{ text, path, next string }{
		{"edgetpu:usb", "models[0].engine: ", "edgetpu:usb:2-1"},
		{"edgetpu:2-1", "models[0].engine: ", "as heron accel list names it"},
		{"[tflite, edgetpu:usb:two]", "models[0].engine[1]: ", "edgetpu:usb:2-1"},
		{"[edgetpu:pci:apex_0, tflite]", "models[0].engine[0]: ", "edgetpu:pci:0"},
		{"usb:2-1", "models[0].engine: ", "write edgetpu:usb:2-1"},
		{"[onnx:usb:2-1, tflite]", "models[0].engine[0]: ", "write onnx alone"},
		{"openvino:GPU.1", "models[0].engine: ", "write openvino alone"},
		{"[edgetpu:usb:2-1, edgetpu:usb:2-1]", "models[0].engine[1]: ", "twice"},
		{"edgtpu", "models[0].engine: \"edgtpu\"", "expected auto, or out of onnx, cuda, tensorrt, tflite, edgetpu, openvino, openvino-gpu, openvino-npu, myriad, scripted"},
		{"[edgetpu, tflite, ONNX]", "models[0].engine[2]: \"ONNX\"", "onnx"},
		{"[abacus:usb:2-1, onnx]", "models[0].engine[0]: ", "abacus"},
		{"[onnx, auto]", "models[0].engine[1]: \"auto\"", "expected auto alone"},
		{"[\"\", tflite]", "models[0].engine[0]: ", "auto"},
		{"[[edgetpu]]", "", "a list of names such as"},
		{"{edgetpu: usb:2-1}", "", "a list of names such as"},
		{"[{edgetpu: usb:2-1, onnx: cpu}]", "", "a list of names such as"},
	} {
		for _, form := range []string{"models:\n  - bundle: /b\n    engine: %s\n", "models: [{bundle: /b, engine: %s}]\n"} {
			_, err := Load(write(t, camera1+fmt.Sprintf(form, c.text)), nil)
			bad := &ConfigError{}
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.next) || strings.Contains(err.Error(), "\n") || c.path != "" && bad.Line < 2 {
				t.Errorf("%s: %v (line %d); want %q and %q", c.text, err, bad.Line, c.path, c.next)
			}
		}
	}
}

// TestEnginesOfSeveralDevices: one line a device, in use where it is; one that was plugged in since the last look has a line, too.
func TestEnginesOfSeveralDevices(t *testing.T) {
	a := &Agent{engines: []vision.EngineReport{{Engine: "tflite", Device: "cpu", Usable: true}, {Engine: "edgetpu", Device: "usb:2-1", Usable: true}, {Engine: "edgetpu", Device: "usb:2-2", Usable: true}}}
	slots := []vision.SlotStats{{Slot: "one", Engine: "edgetpu", Device: "usb:2-2"}, {Slot: "two", Engine: "tflite", Device: "CPU"}, {Slot: "three", Engine: "edgetpu", Device: "pci:0"}, {Slot: "loading"}}
	var got []string
	for _, e := range a.engineViews(vision.ClientStats{Slots: slots}) {
		got = append(got, fmt.Sprint(inference.Choice(e.Engine, e.Device), " ", e.InUse))
	}
	if want := []string{"tflite true", "edgetpu:usb:2-1 false", "edgetpu:usb:2-2 true", "edgetpu:pci:0 true"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	a.engines = nil
	if got := a.engineViews(vision.ClientStats{Slots: slots[1:2]}); len(got) != 1 || got[0] != (status.Engine{Engine: "tflite", Device: "CPU", Present: true, Usable: true, InUse: true}) {
		t.Errorf("before the first look: %+v", got)
	}
}

// In the moment in which a stick is lost, nothing is said to run on it instead.
func TestFallbackFromAnyStick(t *testing.T) {
	f := facts{models: []Model{{Slot: "main", Engine: EngineOrder{"edgetpu", "tflite"}}},
		vision: vision.ClientStats{Slots: []vision.SlotStats{{Slot: "main", Engine: "edgetpu", Device: "usb:2-1"}},
			Standby: []vision.Standby{{Slot: "main", Engine: "edgetpu", Reason: "unplugged"}}}}
	if r := assessEngines(f); len(r) != 1 || r[0].Text != "model slot main not on edgetpu: unplugged" {
		t.Errorf("%+v", r)
	}
}

// TestFallbackToTheOtherStick is told with both names.
func TestFallbackToTheOtherStick(t *testing.T) {
	f := facts{models: []Model{{Slot: "main", Engine: EngineOrder{"edgetpu:usb:2-1", "edgetpu:usb:2-2"}}},
		vision: vision.ClientStats{Slots: []vision.SlotStats{{Slot: "main", Engine: "edgetpu", Device: "usb:2-2"}},
			Standby: []vision.Standby{{Slot: "main", Engine: "edgetpu:usb:2-1", Reason: "no Edge TPU is at usb:2-1", NextStep: "plug it in"}}}}
	r := assessEngines(f)
	if len(r) != 1 || r[0].Text != "model slot main runs on edgetpu:usb:2-2, not on edgetpu:usb:2-1: no Edge TPU is at usb:2-1" || r[0].Camera != "main/edgetpu:usb:2-1" {
		t.Errorf("%+v", r)
	}
}

package agent

import (
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"heron/agent/status"
	"heron/sync/message"
)

func TestHomeAssistantSeesWhereAModelIs(t *testing.T) {
	s := status.Snapshot{State: "ok", Models: []status.Model{{Slot: "main", Name: "bottles", Version: "1.4.1", Engine: "tflite"}},
		Cameras: []status.Camera{{Name: "a", Last: &status.Last{Top: []status.Score{{Label: "ok", Score: 0.9}}}}, {Name: "b"}}}
	for name, c := range map[string]struct {
		rep     *message.Reported
		latest  string
		busy    bool
		percent int
		err     string
	}{
		"nothing is reported": {nil, "1.4.1", false, 0, ""},
		"another slot":        {&message.Reported{Slots: []message.ReportedSlot{{Slot: "other", Target: "x/9", Step: message.StepFetched}}}, "1.4.1", false, 0, ""},
		"waiting":             {&message.Reported{Slots: []message.ReportedSlot{{Slot: "main", Target: "bottles/1.4.2", Step: message.StepWaiting}}}, "1.4.2", false, 0, ""},
		"fetching":            {&message.Reported{Slots: []message.ReportedSlot{{Slot: "main", Target: "bottles/1.4.2", Step: message.StepReserved, Percent: 40}}}, "1.4.2", true, 40, ""},
		"probation":           {&message.Reported{Slots: []message.ReportedSlot{{Slot: "main", Target: "bottles/1.4.2", Step: message.StepProbation}}}, "1.4.2", true, 0, ""},
		"refused":             {&message.Reported{Slots: []message.ReportedSlot{{Slot: "main", Target: "bottles/1.4.2", Step: message.StepRefused, Percent: 40, Error: "too slow"}}}, "1.4.2", false, 0, "too slow"},
		"confirmed":           {&message.Reported{Slots: []message.ReportedSlot{{Slot: "main", Target: "bottles/1.4.1", Step: message.StepConfirmed}}}, "1.4.1", false, 0, ""},
	} {
		h := homeSnapshot(s, c.rep)
		m, percent := h.Slots[0], 0
		if m.Percent != nil {
			percent = *m.Percent
		}
		if m.Installed != "1.4.1" || m.Latest != c.latest || m.InProgress != c.busy || percent != c.percent || m.Error != c.err {
			t.Errorf("%s: %+v", name, m)
		}
		if h.Cameras[0].Label != "ok" || *h.Cameras[0].Score != 0.9 || h.Cameras[1].Score != nil {
			t.Errorf("%s: %+v", name, h.Cameras)
		}
	}
}

// What was put to the broker is known to the next process, whatever its configuration, until a long enough connection has taken it away.
func TestAdaptersRememberWhatTheyLeft(t *testing.T) {
	dir := t.TempDir()
	build := func(home, thin bool, camera string) *adapters {
		t.Helper()
		a := &Agent{log: slog.New(slog.DiscardHandler), conf: Config{Cameras: []Camera{{Name: camera}}, Uplink: Uplink{Broker: "mqtt://h"}, Device: Device{Group: "g", ID: "d"},
			Outbox: Outbox{Path: filepath.Join(dir, "outbox.db")}, Adapters: Adapters{HomeAssistant: HomeAssistant{Enabled: home}, ThinEdge: ThinEdge{Enabled: thin}}}}
		a.conf.Defaults()
		a.buildAdapters()
		return a.adapters
	}
	deleted := func(f *adapters) (topics []string) {
		for _, d := range f.documents() {
			if len(d.Payload) == 0 {
				if !d.Absolute || !d.Retained {
					t.Errorf("%+v deletes nothing", d)
				}
				topics = append(topics, d.Topic)
			}
		}
		slices.Sort(topics)
		return topics
	}
	if f := build(false, false, "a"); f != nil || f.documents() != nil || f.subscriptions() != nil {
		t.Error("no adapter was ever on, and there is one")
	}
	if f := build(true, true, "a"); len(deleted(f)) != 0 || len(f.subscriptions()) != 1 {
		t.Errorf("the first: deletes %q", deleted(f))
	}
	f := build(true, false, "b")
	if got := deleted(f); !slices.Equal(got, []string{"heron/v1/g/d/ha/camera-a", "te/device/main/service/heron", "te/device/main/service/heron/status/health"}) {
		t.Errorf("another camera, thin-edge.io off: deletes %q", got)
	}
	var doc struct{ Cmps map[string]map[string]any }
	if err := json.Unmarshal(f.home.Discovery(f.has).Payload, &doc); err != nil || len(doc.Cmps["result-a"]) != 1 || len(doc.Cmps["result-b"]) < 5 {
		t.Errorf("%v: %v, %v", err, doc.Cmps["result-a"], doc.Cmps["result-b"])
	}
	f = build(false, false, "b")
	if got := deleted(f); len(got) != 6 {
		t.Errorf("all off: deletes %q", got)
	}
	f.write(&Agent{log: slog.New(slog.DiscardHandler)}, f.now) // as at the end of a process that was online for a while
	if f := build(false, false, "b"); f != nil && len(deleted(f)) != 0 {
		t.Errorf("all is deleted, and is deleted again: %q", deleted(f))
	}
}

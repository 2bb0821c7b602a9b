package agent

import (
	"testing"
	"time"

	"heron/vision"
)

// What a kill leaves open is told as over by the next run, or goes on as the same alarm.
func TestAlarmsOfTheRunBefore(t *testing.T) {
	began := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	front := reason{Code: "camera-failing", Camera: "front", Text: "camera front: unplugged", Since: began}
	link := reason{Code: "link-down", Since: began.Add(time.Minute)}
	killed := newLedger()
	for _, r := range []reason{front, link} {
		if since, tell := killed.begin(r); !tell || !since.Equal(r.Since) {
			t.Errorf("%s: %v %v", r.Code, since, tell)
		}
	}
	killed.keep()
	l, running := newLedger(), vision.ClientStats{State: "running"}
	if err := l.load(<-killed.save); err != nil {
		t.Fatal(err)
	}
	if due := l.due(carried-1, running, nil); len(due) != 0 {
		t.Errorf("over before cameras can have opened: %+v", due)
	}
	again := reason{Code: "camera-failing", Camera: "front", Text: "camera front: still", Since: began.Add(time.Hour)}
	if since, tell := l.begin(again); tell || !since.Equal(began) {
		t.Errorf("told once more, or since another time: %v %v", since, tell)
	}
	if due := l.due(carried, running, nil); len(due) != 1 || due[0].Code != "link-down" {
		t.Errorf("%+v", due)
	}
	for _, r := range []reason{front, link} {
		if told, ok := l.end(r); !ok || !told.Since.Equal(r.Since) {
			t.Errorf("%s: %+v %v", r.Code, told, ok)
		}
	}
	l.keep()
	if b := <-l.save; string(b) != "[]" {
		t.Errorf("%s", b)
	}
	if l.keep(); len(l.save) != 0 {
		t.Error("written again though nothing changed")
	}
	if due := l.due(carried, running, nil); len(due) != 0 {
		t.Errorf("%+v", due)
	}
	if err := l.load([]byte("[{")); err == nil || len(l.open)+len(l.before) != 0 {
		t.Errorf("%v %+v", err, l)
	}
}

// Each replacement of heron-vision is told; that is over when it runs and the last has been a while ago.
func TestReplacementsAreTold(t *testing.T) {
	l := newLedger()
	replaced := reason{Code: codeReplaced}
	l.begin(replaced)
	for _, c := range []struct {
		state string
		hold  []reason
		over  int
	}{{"running", []reason{replaced}, 0}, {"starting", nil, 0}, {"crash-loop", []reason{{Code: "vision-crash-loop"}}, 0}, {"running", nil, 1}} {
		if due := l.due(time.Hour, vision.ClientStats{State: c.state}, c.hold); len(due) != c.over {
			t.Errorf("%s: %+v", c.state, due)
		}
	}
	if told, ok := l.end(replaced); !ok || told.Code != codeReplaced {
		t.Errorf("%+v %v", told, ok)
	}
	if due := l.due(time.Hour, vision.ClientStats{State: "running"}, nil); len(due) != 0 {
		t.Errorf("over twice: %+v", due)
	}
}

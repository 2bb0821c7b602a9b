package agent

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"heron/sync/outbox"
	"heron/sync/uplink"
	"heron/vision"
)

// healthy is a device that does its job.
func healthy(now time.Time) facts {
	return facts{
		now: now, started: now.Add(-time.Hour), linked: true,
		cameras: []Camera{{Name: "front", Source: "rtsp://u:secret@cam/1", Stall: 5 * time.Second}},
		models:  []Model{{Slot: "main", Cameras: []string{"front"}}},
		vision:  vision.ClientStats{State: "running", Since: now.Add(-time.Hour), Cameras: []vision.CameraStats{{Name: "front", State: "running", FrameAge: 0.1}}},
		outbox:  outbox.Stats{State: "ok"},
		uplink:  uplink.Stats{State: "online", Since: now.Add(-time.Hour)},
	}
}

func TestAssess(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		change func(*facts)
		state  string
		codes  []string
	}{
		{"all is well", func(*facts) {}, stateOK, nil},
		{"camera reopening", func(f *facts) {
			f.vision.Cameras[0] = vision.CameraStats{Name: "front", State: "reopening", FrameAge: 1, LastError: "unplugged"}
		}, stateFailed, []string{"camera-failing"}},
		{"camera opened anew", func(f *facts) { f.reopened = map[string]time.Time{"front": now.Add(-time.Second)} }, stateDegraded, []string{"camera-reopened"}},
		{"camera comes and goes", func(f *facts) {
			f.reopened, f.relapses = map[string]time.Time{"front": now.Add(-time.Second)}, map[string]int{"front": 3}
		}, stateDegraded, []string{"camera-failing"}},
		{"camera came and went", func(f *facts) {
			f.reopened, f.relapses = map[string]time.Time{"front": now.Add(-grace)}, map[string]int{"front": 3}
		}, stateOK, nil},
		{"facts of a picture from before", func(f *facts) {
			f.unfit, f.vision.Cameras[0] = map[string][]string{"front": {"frozen"}}, vision.CameraStats{Name: "front", State: "reopening", FrameAge: 6, LastError: "unplugged"}
		}, stateFailed, []string{"camera-failing"}},
		{"camera stale", func(f *facts) { f.vision.Cameras[0].FrameAge = 6 }, stateFailed, []string{"camera-stale"}},
		{"covered", func(f *facts) { f.unfit = map[string][]string{"front": {"covered"}} }, stateDegraded, []string{"camera-covered"}},
		{"crash loop", func(f *facts) { f.vision.State = "crash-loop" }, stateFailed, []string{"vision-crash-loop"}},
		{"starting", func(f *facts) { f.vision.State, f.vision.Since = "starting", now.Add(-4*time.Second) }, stateFailed, []string{"vision-not-running"}},
		{"just replaced", func(f *facts) { f.vision.Restarts, f.vision.LastAt = 1, now.Add(-time.Second) }, stateDegraded, []string{"vision-replaced"}},
		{"replaced long ago", func(f *facts) { f.vision.Restarts, f.vision.LastAt = 1, now.Add(-time.Hour) }, stateOK, nil},
		{"model refused", func(f *facts) { f.vision.Refusals = []vision.Refused{{Slot: "main", Reason: "digest"}} }, stateFailed, []string{"model-refused"}},
		{"disk fails", func(f *facts) { f.outbox.State, f.outbox.Reason = "memory", "no space" }, stateDegraded, []string{"disk-failing"}},
		{"outbox damaged", func(f *facts) { f.outbox.Quarantined, f.damagedAt = 1, now.Add(-time.Minute) }, stateDegraded, []string{"outbox-damaged"}},
		{"outbox damaged yesterday", func(f *facts) { f.outbox.Quarantined, f.damagedAt = 1, now.Add(-24*time.Hour) }, stateOK, nil},
		{"full just now", func(f *facts) { f.outbox.Dropped, f.fullAt = map[string]uint64{"full": 3}, now.Add(-time.Minute) }, stateDegraded, []string{"outbox-full"}},
		{"full yesterday", func(f *facts) { f.outbox.Dropped, f.fullAt = map[string]uint64{"full": 3}, now.Add(-24*time.Hour) }, stateOK, nil},
		{"link away a moment", func(f *facts) { f.uplink = uplink.Stats{State: "offline", Since: now.Add(-time.Second)} }, stateOK, nil},
		{"link away", func(f *facts) { f.uplink = uplink.Stats{State: "offline", Since: now.Add(-time.Minute)} }, stateDegraded, []string{"link-down"}},
		{"refused by the broker", func(f *facts) { f.uplink = uplink.Stats{State: "refused", Since: now} }, stateDegraded, []string{"link-refused"}},
		{"expired metadata", func(f *facts) { f.stale = "expired: timestamp on 2026-01-01" }, stateDegraded, []string{"repository-expired"}},
		{"no broker configured", func(f *facts) { f.linked, f.uplink = false, uplink.Stats{} }, stateOK, nil},
		{"sources ended", func(f *facts) { f.vision.State, f.vision.Cameras[0].State = "ended", "ended" }, stateOK, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := healthy(now)
			c.change(&f)
			state, reasons := assess(f)
			var codes []string
			for _, r := range reasons {
				codes = append(codes, r.Code)
				if strings.HasSuffix(r.Text, ": ") || strings.HasSuffix(r.Text, "; ") {
					t.Errorf("%s ends in the middle: %q", r.Code, r.Text)
				}
				if r.Text == "" && r.Code != "vision-replaced" {
					t.Errorf("%s says nothing", r.Code)
				}
			}
			if state != c.state || !slices.Equal(codes, c.codes) {
				t.Errorf("got %s %v, want %s %v", state, codes, c.state, c.codes)
			}
		})
	}
}

// What to do about a broker that is refused, or refuses, is what the uplink knows of the cause.
func TestNextStepOfTheLink(t *testing.T) {
	for _, c := range []struct{ knows, want string }{
		{"name the broker's authority with uplink.credentials.ca", "name the broker's authority with uplink.credentials.ca"},
		{"", "check uplink.credentials and the broker's access list"},
	} {
		f := healthy(time.Now())
		f.uplink = uplink.Stats{State: "refused", Reason: "it is not accepted", NextStep: c.knows}
		if _, r := assess(f); len(r) != 1 || r[0].NextStep != c.want {
			t.Errorf("%+v, want %q", r, c.want)
		}
	}
}

func TestWatchKeepsSinceAndTellsChanges(t *testing.T) {
	var w watch
	t0 := time.Unix(1000, 0)
	began, over, changed := w.update(t0, stateDegraded, []reason{{Code: "a"}, {Code: "b", Camera: "x"}})
	if len(began) != 2 || len(over) != 0 || !changed {
		t.Fatalf("first: %v %v %v", began, over, changed)
	}
	began, over, changed = w.update(t0.Add(time.Second), stateDegraded, []reason{{Code: "b", Camera: "x"}, {Code: "b", Camera: "y"}})
	if len(began) != 1 || began[0].Camera != "y" || len(over) != 1 || over[0].Code != "a" || !changed {
		t.Fatalf("second: %v %v %v", began, over, changed)
	}
	if !w.reasons[0].Since.Equal(t0) {
		t.Errorf("since is %v, want the first time", w.reasons[0].Since)
	}
	if _, _, changed = w.update(t0.Add(2*time.Second), stateDegraded, []reason{{Code: "b", Camera: "x"}, {Code: "b", Camera: "y"}}); changed {
		t.Error("nothing changed")
	}
}

// A camera that gives a frame and is silent again is failing from the third time on, and not back and failing in turns; one that cannot be
// opened for a while and is back has come back once.
func TestRelapses(t *testing.T) {
	t0 := time.Unix(1000, 0)
	var v view
	for i := range 4 {
		v.count.Read++
		if v.reopen(t0.Add(time.Duration(i) * 6 * time.Second)); v.relapses != i+1 {
			t.Errorf("%d relapses after %d", v.relapses, i+1)
		}
	}
	v.count.Read++
	v.reopen(t0.Add(18*time.Second + grace))
	for i := range 20 { // the server is away
		v.reopen(t0.Add(20*time.Second + grace + time.Duration(i)*2*time.Second))
	}
	if v.relapses != 1 {
		t.Errorf("%d relapses of one", v.relapses)
	}
}

// A process that loads five models is told to be loading once.
func TestChangesOfVisionAreLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	a := &Agent{log: slog.New(slog.NewTextHandler(&log, nil))}
	told := a.visionChanges()
	for _, s := range []vision.ClientStats{{State: "starting"}, {State: "loading", PID: 7}, {State: "loading", PID: 7}, {State: "running", PID: 7}, {State: "running", PID: 7},
		{State: "replacing"}, {State: "loading", PID: 8}, {State: "running", PID: 8}} {
		told(s)
	}
	if n := strings.Count(log.String(), "\n"); n != 6 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}

// Nobody is told that nothing was lost where that cannot be known.
func TestWhatADamagedOutboxLost(t *testing.T) {
	now := time.Now()
	f := healthy(now)
	f.outbox.Quarantined, f.damagedAt, f.outbox.Salvaged = 1, now, 3
	for _, c := range []struct {
		uncounted bool
		want      string
	}{{false, "3 records were brought over, 0 lost"}, {true, "3 records were brought over, how many were lost cannot be told"}} {
		f.outbox.Uncounted = c.uncounted
		if _, r := assess(f); len(r) != 1 || !strings.HasSuffix(r[0].Text, c.want) {
			t.Errorf("%+v", r)
		}
	}
}

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/agent/status"
)

// patient is until with more patience: a rate goes up again after half a minute of quiet.
func (f field) patient(t *testing.T, what string, ok func(*status.Snapshot) bool) *status.Snapshot {
	t.Helper()
	var s *status.Snapshot
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if s = f.snapshot(); s != nil && ok(s) {
			return s
		}
	}
	j, _ := json.Marshal(s)
	t.Fatalf("%s: not within 3 min; the page says %s", what, j)
	return nil
}

func told(s *status.Snapshot, code string) *status.Reason {
	for i := range s.Reasons {
		if s.Reasons[i].Code == code {
			return &s.Reasons[i]
		}
	}
	return nil
}

// The whole service on a board whose firmware says 0xE0008: within 5 s it classifies half as often and says why; later it comes back.
func TestFault_R5_ServiceOnAThrottledBoard(t *testing.T) {
	slow(t)
	t.Parallel()
	sys := t.TempDir()
	f := newField(t, nobody, "testcard:?width=64&height=48&fps=50")
	board := func(name, text string) { field{dir: sys}.write(t, name, text) }
	const word = "devices/platform/soc/soc:firmware/get_throttled"
	board(word, "0\n")
	board("class/thermal/thermal_zone0/type", "cpu-thermal\n")
	board("class/thermal/thermal_zone0/temp", "61234\n")
	f.env = []string{"HERON_SYSFS=" + sys}
	svc := f.start(t)
	s := f.until(t, "classifies", classifying)
	if s.Board.Hottest == nil || *s.Board.Hottest != 61.234 || s.Board.Throttled == nil || *s.Board.Throttled || s.Cameras[0].FPSNow != 20 || s.Cameras[0].FPSWanted != 20 {
		t.Errorf("before: %+v, camera %+v", s.Board, s.Cameras[0])
	}
	board(word, "0xE0008\n")
	began := time.Now()
	s = f.until(t, "the rate is halved", func(s *status.Snapshot) bool { return s.Cameras[0].FPSNow == 10 })
	t.Logf("halved after %v", time.Since(began).Round(time.Millisecond))
	if r := told(s, "slowed-down"); r == nil || !strings.HasPrefix(r.Text, "front: 10 of 20 fps since ") || r.NextStep == "" || told(s, "throttled") == nil || s.State != "degraded" {
		t.Errorf("reasons %+v", s.Reasons)
	}
	f.until(t, "as many results", func(s *status.Snapshot) bool { return s.Cameras[0].FPS < 12 })
	_, body := get(t, f.page, "/metrics")
	for _, want := range []string{`heron_board_throttled 1`, `heron_board_under_voltage 0`, `heron_board_temperature_celsius{zone="cpu-thermal"} 61.234`, `heron_camera_target_fps{camera="front"} 10`, `heron_reason{code="slowed-down"} 1`} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	if _, body := get(t, f.page, "/"); !strings.Contains(body, "10 of 20 fps") || !strings.Contains(body, "61 °C cpu-thermal · throttled") {
		t.Error("the page does not say it")
	}
	board(word, "0xE0000\n")
	s = f.patient(t, "back to the full rate", func(s *status.Snapshot) bool { return s.Cameras[0].FPSNow == 20 })
	if told(s, "slowed-down") != nil {
		t.Errorf("reasons %+v", s.Reasons)
	}
	time.Sleep(2 * time.Second) // the page judges anew for each look, the records once a second
	if code := svc.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	out, _, _ := heron(t, "outbox", "export", "--config", f.conf)
	for _, want := range []string{`"code":"slowed-down"`, `"cleared":true`, `"temp_c":61.2,"throttled":true,"under_voltage":false`} {
		if !strings.Contains(out, want) {
			t.Errorf("the records lack %s", want)
		}
	}
}

// Inference takes four times as long for a while.
func TestFault_A6_ServiceWithSlowInference(t *testing.T) {
	slow(t)
	t.Parallel()
	f := newField(t, nobody, "testcard:?width=64&height=48&fps=50")
	if err := os.WriteFile(filepath.Join(f.dir, "bundle/answers.json"), []byte(`{"answers":[["dark",0.9],["middle",0.95],["bright",0.92]],"latency_ms":15,"slow":{"from":200,"to":300,"times":4}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start(t)
	s := f.until(t, "the rate comes down", func(s *status.Snapshot) bool {
		return len(s.Cameras) == 1 && s.Cameras[0].FPSNow < 20 && s.Cameras[0].FPSWanted == 20
	})
	if r := told(s, "slowed-down"); r == nil || !strings.Contains(r.Text, " ms instead of ") {
		t.Errorf("reasons %+v", s.Reasons)
	}
	f.patient(t, "every frame that is due is classified in time", func(s *status.Snapshot) bool {
		c := s.Cameras[0]
		return c.FPSNow < 20 && c.FPS > 0.7*c.FPSNow && c.FPS < 1.3*c.FPSNow && c.Last != nil && c.Last.AgeMS < 1000/c.FPSNow
	})
	f.patient(t, "back to the full rate", func(s *status.Snapshot) bool { return s.Cameras[0].FPSNow == 20 && told(s, "slowed-down") == nil })
}

package status

import (
	"strings"
	"testing"
	"time"
)

func ptr[T any](v T) *T { return &v }

// hotBoard throttles; it does not say anything about its supply.
func hotBoard() Board {
	return Board{Zones: []Zone{{"cpu-thermal", 84.2}, {"gpu", 61}}, Hottest: ptr(84.2), CPU: ptr(84.2), Throttled: ptr(true), Why: "soft temperature limit", Since: noon, HotFrom: 80, Adapts: true}
}

func TestBoardInOneLine(t *testing.T) {
	for _, c := range []struct {
		board   Board
		want    string
		trouble bool
	}{
		{Board{}, "tells nothing", false},
		{Board{HotFrom: 80}, "tells nothing", false},
		{Board{Zones: []Zone{{"x86_pkg_temp", 61.4}}, Hottest: ptr(61.4), HotFrom: 80}, "61 °C x86_pkg_temp", false},
		{Board{Zones: []Zone{{"cpu", 80}}, Hottest: ptr(80.0), HotFrom: 80, Throttled: ptr(false), UnderVoltage: ptr(false)}, "80 °C cpu · not throttled", true},
		{Board{Throttled: ptr(false), UnderVoltage: ptr(true)}, "not throttled · under-voltage", true},
		{hotBoard(), "84 °C cpu-thermal · throttled", true},
		{Board{Problem: "a sensor has not answered for 3s"}, "a sensor has not answered for 3s", true},
	} {
		if got := boardText(c.board); got != c.want || inTrouble(c.board) != c.trouble {
			t.Errorf("%+v: %q, trouble %v", c.board, got, inTrouble(c.board))
		}
	}
}

func TestPageAndStatusTellWhatIsSlowed(t *testing.T) {
	d := &device{}
	s := serve(t, d)
	snap := working(noon)
	snap.Board = hotBoard()
	snap.Cameras[0].FPSWanted, snap.Cameras[0].FPSNow, snap.Cameras[0].SlowedSince, snap.Cameras[0].SlowedBy = 10, 2.5, noon.Add(-time.Minute), "the board is at 84 °C (cpu-thermal)"
	d.set(snap)
	_, page, _ := ask(t, s, "GET", "/")
	_, api, _ := ask(t, s, "GET", "/api/v1/status")
	for _, want := range []string{"2.5 of 10 fps", `<dd class="bad">84 °C cpu-thermal · throttled</dd>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, want := range []string{`"hottest_c":84.2`, `"throttled":true`, `{"zone":"cpu-thermal","c":84.2}`, `"fps_wanted":10`, `"fps_now":2.5`} {
		if !strings.Contains(strings.ReplaceAll(strings.ReplaceAll(api, " ", ""), "\n", ""), want) {
			t.Errorf("the status lacks %s", want)
		}
	}
	if strings.Contains(api, "under_voltage") {
		t.Error("what is unknown is told")
	}
	d.set(working(noon))
	if _, page, _ := ask(t, s, "GET", "/"); strings.Contains(page, "of 0 fps") || !strings.Contains(page, "tells nothing") {
		t.Error("a board that tells nothing")
	}
}

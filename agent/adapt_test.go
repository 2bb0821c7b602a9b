package agent

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"heron/agent/board"
	"heron/inference"
	"heron/vision"
)

// bench is an agent whose board is a folder, whose clock a test holds and whose orders it keeps.
type bench struct {
	*Agent
	sys   string
	now   time.Time
	read  uint64
	lat   float64 // ms
	paced map[string]float64
}

func newBench(t *testing.T, adapt bool) *bench {
	t.Helper()
	fps := 10.0
	b := &bench{sys: t.TempDir(), now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), lat: 30}
	conf := Config{Board: Board{Adapt: &adapt, Hot: 80}, Cameras: []Camera{{Name: "front", FPS: &fps, Stall: 5 * time.Second}}, Models: []Model{{Slot: "main", Cameras: []string{"front"}}}}
	b.Agent = &Agent{conf: conf, views: map[string]*view{"front": {}}, slots: map[string]*slotView{"main": {}}}
	b.fit = adapter{reader: board.New(board.Config{Sysfs: b.sys, Root: t.TempDir()}), governor: board.NewGovernor(80, adapt),
		pace: func(m map[string]float64) { b.paced = m }, busy: map[string]*busy{}, rates: map[string]*rate{}}
	return b
}

func (b *bench) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(b.sys, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fps is the rate that the camera is given.
func (b *bench) fps() float64 {
	if fps, ok := b.paced["front"]; ok {
		return fps
	}
	return 10
}

// pass lets seconds go by: as many frames as the order allows are classified, as far as they fit into the time.
func (b *bench) pass(t *testing.T, seconds int) {
	t.Helper()
	for range seconds {
		b.now = b.now.Add(time.Second)
		b.read += 25
		for range int(min(b.fps(), 1000/b.lat)) {
			b.fit.saw(vision.Observation{Camera: "front", Slot: "main", Engine: "scripted", LatMS: b.lat, Top: []inference.Score{{Label: "ok", Score: 1}}})
		}
		b.fitOnce(b.now, b.fit.reader.Read(t.Context(), b.now), []vision.CameraStats{{Name: "front", State: "running", Read: b.read, Live: true}})
	}
}

// reasons are what health tells of it, by code.
func (b *bench) reasons() map[string]reason {
	out := map[string]reason{}
	for _, r := range assessBoard(facts{troubles: b.fit.troubles, orders: b.fit.orders}) {
		out[r.Code] = r
	}
	return out
}

func (b *bench) codes() string { return strings.Join(slices.Sorted(maps.Keys(b.reasons())), " ") }

const firmware = "devices/platform/soc/soc:firmware/get_throttled"

func TestFault_R5_ThrottledBoardHalvesTheRateAndComesBack(t *testing.T) {
	b := newBench(t, true)
	b.write(t, firmware, "0\n")
	b.pass(t, 20)
	if b.fps() != 10 || b.codes() != "" {
		t.Fatalf("a healthy board: %v, %s", b.paced, b.codes())
	}
	b.write(t, firmware, "0xE0008\n")
	b.pass(t, 5)
	if b.fps() != 5 || b.codes() != "slowed-down throttled" {
		t.Errorf("after 5 s: %v, %s", b.paced, b.codes())
	}
	if r := b.reasons()["slowed-down"]; r.Camera != "front" || !strings.HasPrefix(r.Text, "front: 5 of 10 fps since 08:00:2") || !strings.Contains(r.Text, "soft temperature limit") || r.NextStep == "" {
		t.Errorf("%+v", r)
	}
	b.write(t, firmware, "0xE0000\n") // has been, and is no more
	b.pass(t, 29)
	if b.fps() != 5 {
		t.Errorf("it came back at once: %v", b.fps())
	}
	b.pass(t, 5)
	if b.fps() != 10 || b.codes() != "" {
		t.Errorf("after half a minute: %v, %s", b.paced, b.codes())
	}
}

func TestFault_A6_SlowInferenceBringsTheRateDownSoThatFramesAreClassifiedInTime(t *testing.T) {
	b := newBench(t, true)
	b.pass(t, 20)
	b.lat *= 4 // 120 ms: of 10 frames a second two would be dropped
	b.pass(t, 5)
	if b.fps() != 5 || b.fps()*b.lat > 1000 {
		t.Errorf("after 5 s: %v", b.paced)
	}
	if r := b.reasons()["slowed-down"]; !strings.Contains(r.Text, "classifying takes 120 ms instead of 30 ms") {
		t.Errorf("%+v", r)
	}
	b.pass(t, 300)
	if b.fps() != 5 {
		t.Errorf("it went on to %v", b.paced)
	}
	b.lat /= 4
	b.pass(t, 33)
	if b.fps() != 10 || b.codes() != "" {
		t.Errorf("after the heat: %v, %s", b.paced, b.codes())
	}
}

func TestBoardIsToldButNothingSlowedWithoutAdapt(t *testing.T) {
	b := newBench(t, false)
	b.write(t, firmware, "0x50005\n")
	b.write(t, "class/thermal/thermal_zone0/type", "cpu-thermal")
	b.write(t, "class/thermal/thermal_zone0/temp", "84200")
	b.pass(t, 20)
	if b.fps() != 10 || b.codes() != "hot throttled under-voltage" {
		t.Errorf("%v, %s", b.paced, b.codes())
	}
	if v := b.boardView(); v.Throttled == nil || !*v.Throttled || v.UnderVoltage == nil || !*v.UnderVoltage || *v.Hottest != 84.2 || *v.CPU != 84.2 || v.Since.IsZero() || v.Adapts {
		t.Errorf("%+v", v)
	}
}

func TestUnknownBoardIsUnknown(t *testing.T) {
	b := newBench(t, true)
	b.pass(t, 5)
	if v := b.boardView(); v.Throttled != nil || v.UnderVoltage != nil || v.Hottest != nil || v.CPU != nil || len(v.Zones) != 0 || b.codes() != "" {
		t.Errorf("%+v %s", v, b.codes())
	}
}

func TestBoardSettingsAreChecked(t *testing.T) {
	for hot, want := range map[float64]bool{30: true, 80: true, 120: true, 29: false, 121: false, -1: false} {
		c := Config{Board: Board{Hot: hot}}
		if err := c.checkBoard(); (err == nil) != want || err != nil && !strings.Contains(err.Error(), "board.hot") {
			t.Errorf("%v: %v", hot, err)
		}
	}
}

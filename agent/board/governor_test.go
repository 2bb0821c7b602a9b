package board

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func yes() *bool { b := true; return &b }
func no() *bool  { b := false; return &b }

// ride is a Governor with a load that a test changes between seconds.
type ride struct {
	*Governor
	now      time.Time
	load     Load
	orders   []Order
	troubles []Trouble
}

func newRide(adapt bool, fps float64) *ride {
	return &ride{Governor: NewGovernor(80, adapt), now: noon, load: Load{
		Cameras: []CameraLoad{{Name: "front", Slot: "main", FPS: fps, Rate: 30, Live: true}},
		Slots:   []SlotLoad{{Slot: "main", Engine: "onnx", Latency: 30 * time.Millisecond}},
	}}
}

// pass lets seconds go by and returns the camera's rate.
func (r *ride) pass(seconds int) float64 {
	for range seconds {
		r.now = r.now.Add(time.Second)
		r.orders, r.troubles = r.Step(r.now, r.load)
	}
	if len(r.orders) == 0 {
		return -1
	}
	return r.orders[0].FPS
}

func (r *ride) codes() (out string) {
	for _, t := range r.troubles {
		out += t.Code + " "
	}
	return strings.TrimSpace(out)
}

func TestGovernorSlowsForWhatTheBoardSuffers(t *testing.T) {
	starved, fine := 0.95, 0.1
	for _, c := range []struct {
		name  string
		state State
		codes string
		fps   float64
	}{
		{"nothing is known", State{}, "", 10},
		{"all is well", State{Zones: []Zone{{"cpu", 60}}, Throttle: Throttle{Throttled: no(), UnderVoltage: no()}, Starved: &fine}, "", 10},
		{"hot", State{Zones: []Zone{{"cpu", 80}}}, "hot", 5},
		{"nearly hot", State{Zones: []Zone{{"cpu", 79.9}}}, "", 10},
		{"throttled", State{Throttle: Throttle{Throttled: yes(), Why: "soft temperature limit"}}, "throttled", 5},
		{"weak power", State{Throttle: Throttle{UnderVoltage: yes()}}, "under-voltage", 5},
		{"no CPU", State{Starved: &starved}, "cpu-quota", 5},
		{"all at once", State{Zones: []Zone{{"cpu", 99}}, Throttle: Throttle{Throttled: yes(), UnderVoltage: yes()}}, "hot throttled under-voltage", 5},
	} {
		r := newRide(true, 10)
		r.pass(20)
		r.load.Board = c.state
		if fps := r.pass(3); fps != c.fps || r.codes() != c.codes {
			t.Errorf("%s: %v frames a second, %q; want %v, %q", c.name, fps, r.codes(), c.fps, c.codes)
		}
		if o := r.orders[0]; o.Slowed() != (c.fps < 10) || o.Slowed() && (o.Why == "" || strings.Join(o.Codes, " ") != c.codes) {
			t.Errorf("%s: %+v", c.name, o)
		}
		r = newRide(false, 10)
		r.load.Board = c.state
		if fps := r.pass(300); fps != 10 || r.codes() != c.codes {
			t.Errorf("%s, told only: %v, %q", c.name, fps, r.codes())
		}
	}
}

func TestGovernorLeavesHeatFiveDegreesLower(t *testing.T) {
	r := newRide(true, 10)
	at := func(c float64) { r.load.Board.Zones = []Zone{{"cpu", c}} }
	at(81)
	r.pass(3)
	for _, c := range []struct{ temp, fps float64 }{{76, 2.5}, {75.1, 2.5}} { // a second step after 30 s
		if at(c.temp); r.pass(20) != c.fps && c.temp < 76 {
			t.Errorf("at %v °C: %+v", c.temp, r.orders)
		}
	}
	before := r.orders[0].FPS
	at(75)
	if fps := r.pass(31); fps != before*2 {
		t.Errorf("half a minute at 75 °C: %v after %v", fps, before)
	}
	if fps := r.pass(31); fps != 10 || r.codes() != "" {
		t.Errorf("a minute at 75 °C: %v %q", fps, r.codes())
	}
}

func TestGovernorRates(t *testing.T) {
	for _, c := range []struct {
		name         string
		camera       CameraLoad
		first, floor float64
	}{
		{"as configured", CameraLoad{FPS: 10, Rate: 30, Live: true}, 5, 0.5},
		{"every frame", CameraLoad{FPS: 0, Rate: 24, Live: true}, 12, 0.5},
		{"a camera slower than configured", CameraLoad{FPS: 30, Rate: 8, Live: true}, 4, 0.5},
		{"slow by configuration", CameraLoad{FPS: 0.2, Rate: 30, Live: true}, 0.2, 0.2},
		{"one a second", CameraLoad{FPS: 1, Rate: 30, Live: true}, 0.5, 0.5},
		{"rate not known yet", CameraLoad{FPS: 0, Live: true}, 0, 0},
		{"pictures", CameraLoad{FPS: 10, Rate: 30}, -1, -1},
	} {
		r := newRide(true, 0)
		c.camera.Name, c.camera.Slot = "front", "main"
		r.load.Cameras[0] = c.camera
		r.pass(2)
		r.load.Board.Throttled = yes()
		if fps := r.pass(3); fps != c.first {
			t.Errorf("%s: first %v, want %v", c.name, fps, c.first)
		}
		if fps := r.pass(1000); fps != c.floor {
			t.Errorf("%s: at last %v, want %v", c.name, fps, c.floor)
		}
	}
}

func TestFault_A6_LatencyTimesFourBringsTheRateDownAndBack(t *testing.T) {
	r := newRide(true, 10)
	r.pass(60)
	r.load.Slots[0].Latency = 120 * time.Millisecond // 10 a second would take 1.2 s of each
	if fps := r.pass(3); fps != 5 || !strings.Contains(r.orders[0].Why, "120 ms instead of 30 ms") {
		t.Errorf("after 3 s: %+v", r.orders)
	}
	if fps := r.pass(3600); fps != 5 {
		t.Errorf("5 a second keep it busy for 0.6 of its time, which it can bear: %v", fps)
	}
	r.load.Slots[0].Latency = 30 * time.Millisecond
	if fps := r.pass(10); fps != 5 || r.orders[0].Why != "recovering: classifying took 120 ms instead of 30 ms" {
		t.Errorf("10 s after: %+v", r.orders) // "takes 30 ms instead of 30 ms" would be no reason
	}
	if fps := r.pass(22); fps != 10 || r.orders[0].Slowed() {
		t.Errorf("half a minute after: %+v", r.orders)
	}
}

func TestGovernorLeavesAloneWhatWasSlowFromTheStart(t *testing.T) {
	r := newRide(true, 10)
	r.load.Slots[0].Latency = 400 * time.Millisecond
	if fps := r.pass(600); fps != 10 || r.codes() != "" {
		t.Errorf("%v %q", fps, r.codes())
	}
	r = newRide(true, 10)
	r.pass(60)
	r.load.Slots[0] = SlotLoad{Slot: "main", Engine: "tflite", Latency: 400 * time.Millisecond} // fell back: another normal
	if fps := r.pass(600); fps != 10 {
		t.Errorf("another engine: %v", fps)
	}
	r = newRide(true, 10)
	r.load.Slots[0].Latency = 2 * time.Millisecond
	r.pass(60)
	r.load.Slots[0].Latency = 12 * time.Millisecond // six times, and harmless
	if fps := r.pass(60); fps != 10 {
		t.Errorf("slower but idle: %v", fps)
	}
}

func TestGovernorTellsSlowInferenceWithoutActing(t *testing.T) {
	r := newRide(false, 10)
	r.pass(60)
	r.load.Slots[0].Latency = 120 * time.Millisecond
	if fps := r.pass(10); fps != 10 || r.codes() != CodeSlow {
		t.Errorf("%v %q", fps, r.codes())
	}
}

// One camera of two cannot be slowed by the other's model.
func TestGovernorSlowsOnlyTheCamerasOfTheSlowSlot(t *testing.T) {
	r := newRide(true, 10)
	r.load.Cameras = append(r.load.Cameras, CameraLoad{Name: "back", Slot: "other", FPS: 10, Rate: 30, Live: true})
	r.load.Slots = append(r.load.Slots, SlotLoad{Slot: "other", Engine: "onnx", Latency: 30 * time.Millisecond})
	r.pass(60)
	r.load.Slots[1].Latency = 150 * time.Millisecond
	r.pass(10)
	if r.orders[0].FPS != 10 || r.orders[1].FPS >= 10 {
		t.Errorf("%+v", r.orders)
	}
}

// A blink of a trouble is told as one, not as twenty.
func TestGovernorTellsABlinkingTroubleOnce(t *testing.T) {
	r := newRide(true, 10)
	var since time.Time
	for i := range 60 {
		r.load.Board.UnderVoltage = no()
		if i%9 == 0 {
			r.load.Board.UnderVoltage = yes()
		}
		r.pass(1)
		if len(r.troubles) != 1 || i > 0 && r.troubles[0].Since != since {
			t.Fatalf("second %d: %+v", i, r.troubles)
		}
		if text := r.troubles[0].Text; strings.Count(text, justPassed) != min(i%9, 1) {
			t.Fatalf("second %d: %q", i, text)
		}
		since = r.troubles[0].Since
	}
	r.load.Board.UnderVoltage = no()
	if r.pass(31); len(r.troubles) != 0 {
		t.Errorf("never over: %+v", r.troubles)
	}
}

// Whatever it is told, rates stay between the floor and what is wanted, and the same story gives the same orders.
func TestGovernorIsBoundedAndDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type second struct {
			Temp, Latency, Rate float64
			Throttled, Known    bool
			Step                int
		}
		story := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) second {
			return second{rapid.Float64Range(-50, 140).Draw(t, "temp"), rapid.Float64Range(0, 3).Draw(t, "latency"), rapid.Float64Range(0, 120).Draw(t, "rate"),
				rapid.Bool().Draw(t, "throttled"), rapid.Bool().Draw(t, "known"), rapid.IntRange(-5, 90).Draw(t, "step")}
		}), 1, 120).Draw(t, "story")
		fps := rapid.SampledFrom([]float64{0, 0.1, 1, 10, 240}).Draw(t, "fps")
		tell := func() (all [][]Order) {
			r := newRide(true, fps)
			for _, s := range story {
				r.now = r.now.Add(time.Duration(s.Step) * time.Second)
				r.load.Slots[0].Latency = time.Duration(s.Latency * float64(time.Second))
				r.load.Cameras[0].Rate = s.Rate
				r.load.Board = State{}
				if s.Known {
					r.load.Board = State{Zones: []Zone{{"cpu", s.Temp}}, Throttle: Throttle{Throttled: &s.Throttled}}
				}
				orders, _ := r.Step(r.now, r.load)
				o := orders[0]
				if o.FPS > o.Wanted || o.FPS < min(o.Wanted, leastFPS) || o.Slowed() != (o.FPS < o.Wanted) || o.Slowed() && o.Why == "" {
					t.Fatalf("%+v", o)
				}
				all = append(all, orders)
			}
			return all
		}
		if a, b := tell(), tell(); !reflect.DeepEqual(a, b) {
			t.Fatal("two answers to one story")
		}
	})
}

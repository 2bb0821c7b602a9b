package events

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"heron/inference"
	"heron/sync/message"
	"heron/vision"
)

var start = time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC)

// stamp is the moment ms after the start, an hour after boot.
func stamp(ms int64) message.Stamp {
	return message.Stamp{T: start.Add(time.Duration(ms) * time.Millisecond), Mono: time.Hour + time.Duration(ms)*time.Millisecond}
}

// seen is an observation made ms after the start; top alternates labels and scores.
func seen(ms int64, top ...any) vision.Observation {
	at := stamp(ms)
	o := vision.Observation{Camera: "front", Slot: "main", Model: "m@1#a", Engine: "scripted", At: at.T, MonoMS: at.Mono.Milliseconds(), LatMS: 3}
	for i := 0; i < len(top); i += 2 {
		o.Top = append(o.Top, inference.Score{Label: top[i].(string), Score: top[i+1].(float64)})
	}
	return o
}

func with(o vision.Observation, change func(*vision.Observation)) vision.Observation {
	change(&o)
	return o
}

func fact(f string) func(*vision.Observation) {
	return func(o *vision.Observation) { o.Facts = []string{f} }
}

// play steps through the observations, 100 ms apart unless they say otherwise, and returns what came out in short form.
func play(t *testing.T, tr *Tracker, obs ...vision.Observation) string {
	t.Helper()
	var out []string
	for _, o := range obs {
		for _, e := range tr.Step(message.Stamp{T: o.At, Mono: time.Duration(o.MonoMS) * time.Millisecond}, o) {
			out = append(out, short(e))
		}
	}
	return strings.Join(out, " ")
}

func short(e message.EventRecord) string {
	return fmt.Sprintf("%s:%s@%d", e.State, e.Label, (e.Mono - time.Hour).Milliseconds())
}

func TestTracker(t *testing.T) {
	yes, half, no := 0.9, 0.7, 0.3
	never := []any{inference.Unknown, 0.4, "a", 0.4}
	cases := []struct {
		name string
		cfg  func(*Config)
		obs  []vision.Observation
		want string
	}{
		{"one frame is not enough", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", half)}, ""},
		{"two frames in a row enter", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, "a", yes)}, "enter:a@100"},
		{"two frames that are not in a row do not", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", half), seen(200, "a", yes)}, ""},
		{"between exit and enter it stays", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, "a", half), seen(300, "a", half)}, "enter:a@100"},
		{"exactly enter enters, exactly exit stays", nil, []vision.Observation{seen(0, "a", 0.8), seen(100, "a", 0.8), seen(200, "a", 0.6), seen(300, "a", 0.6)}, "enter:a@100"},
		{"one frame under exit is not enough", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, "a", no), seen(300, "a", half), seen(400, "a", no)}, "enter:a@100"},
		{"two under exit leave", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, "a", no), seen(300, "a", no)}, "enter:a@100 exit:a@300"},
		{"unknown leaves and is never entered", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, never...), seen(300, never...), seen(400, never...)}, "enter:a@100 exit:a@300"},
		{"unknown with certainty is not entered", nil, []vision.Observation{seen(0, "unknown", yes), seen(100, "unknown", yes), seen(200, "unknown", yes)}, ""},
		{"the label may be second to unknown and stay", func(c *Config) { c.Default.Exit = 0.35 },
			[]vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, never...), seen(300, never...)}, "enter:a@100"},
		{"another label takes over", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, "b", yes, "a", 0.7), seen(300, "b", yes, "a", 0.7)}, "enter:a@100 exit:a@300 enter:b@300"},
		{"cooldown", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, "b", yes), seen(300, "b", yes), seen(5000, "a", yes), seen(5100, "a", yes)},
			"enter:a@100 exit:a@300 enter:b@300 exit:b@5100"},
		{"after cooldown it enters while it lasts", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, "a", no), seen(300, "a", no), seen(10000, "a", yes), seen(10100, "a", yes), seen(10299, "a", yes), seen(10300, "a", yes)},
			"enter:a@100 exit:a@300 enter:a@10300"},
		{"ignored labels never enter, but end another", func(c *Config) { on := true; c.Labels = map[string]Override{"empty": {Ignore: &on}} },
			[]vision.Observation{seen(0, "a", yes), seen(100, "a", yes), seen(200, "empty", yes), seen(300, "empty", yes), seen(400, "empty", yes)}, "enter:a@100 exit:a@300"},
		{"a label's own rule", func(c *Config) { e, d := 0.95, 1; c.Labels = map[string]Override{"b": {Enter: &e, Dwell: &d}} },
			[]vision.Observation{seen(0, "b", yes), seen(100, "b", yes), seen(200, "b", 0.96)}, "enter:b@200"},
		{"covered frames neither enter nor leave nor break the row", nil, []vision.Observation{
			seen(0, "a", yes), with(seen(100, "a", yes), fact("covered")), with(seen(200, "b", yes), fact("black")), seen(300), seen(400, "a", yes),
			with(seen(500, "b", yes), fact("covered")), with(seen(600), fact("black")), seen(700), with(seen(800, "b", yes), func(o *vision.Observation) { o.Error = "no" })},
			"enter:a@400"},
		{"a blurred frame with an answer counts", nil, []vision.Observation{with(seen(0, "a", yes), fact("blurred")), with(seen(100, "a", yes), fact("blurred"))}, "enter:a@100"},
		{"absence of fit frames leaves", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), with(seen(30_100), fact("covered")), with(seen(30_101), fact("covered"))}, "enter:a@100 exit:a@30101"},
		{"a row does not outlast absence", nil, []vision.Observation{seen(0, "a", yes), seen(30_001, "a", yes)}, ""},
		{"still every ten minutes", func(c *Config) { c.Default.Dwell = 1 }, func() (o []vision.Observation) {
			for m := int64(0); m <= 21*60_000; m += 20_000 {
				o = append(o, seen(m, "a", yes))
			}
			return o
		}(), "enter:a@0 still:a@600000 still:a@1200000"},
		{"another model leaves", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), with(seen(200, "a", yes), func(o *vision.Observation) { o.Model = "m@2#b" })}, "enter:a@100 exit:a@200"},
		{"another engine does not", nil, []vision.Observation{seen(0, "a", yes), seen(100, "a", yes), with(seen(200, "a", yes), func(o *vision.Observation) { o.Engine = "onnx" })}, "enter:a@100"},
		{"two cameras do not disturb each other", nil, []vision.Observation{seen(0, "a", yes), with(seen(50, "b", yes), func(o *vision.Observation) { o.Camera = "back" }), seen(100, "a", yes), with(seen(150, "b", yes), func(o *vision.Observation) { o.Camera = "back" })}, "enter:a@100 enter:b@150"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			tr, err := NewTracker(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got := play(t, tr, c.obs...); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestEventsSayHowLongAndFromWhat(t *testing.T) {
	tr := tracker(t)
	var all []message.EventRecord
	for _, o := range []vision.Observation{seen(0, "a", 0.9), seen(100, "a", 0.95), seen(200, "a", 0.3), seen(300, "a", 0.2)} {
		all = append(all, tr.Step(stamp(0), o)...)
	}
	want := []message.EventRecord{
		{Stamp: stamp(100), Camera: "front", Label: "a", State: Enter, Score: 0.95, DwellMS: 100, Frames: 2, Engine: "scripted", Model: "m@1#a"},
		{Stamp: stamp(300), Camera: "front", Label: "a", State: Exit, Score: 0.2, DwellMS: 300, Frames: 4, Engine: "scripted", Model: "m@1#a"},
	}
	if fmt.Sprint(all) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", all, want)
	}
}

func TestCooldownIsCountedOnceARow(t *testing.T) {
	tr := tracker(t)
	got := play(t, tr, seen(0, "a", 0.9), seen(100, "a", 0.9), seen(200, "b", 0.9), seen(300, "b", 0.9),
		seen(400, "a", 0.9), seen(500, "a", 0.9), seen(600, "a", 0.9), seen(700, "a", 0.9), // held once
		seen(800, "a", 0.1), seen(900, "a", 0.9), seen(1000, "a", 0.9)) // and again
	if want := "enter:a@100 exit:a@300 enter:b@300 exit:b@500"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if s := tr.Stats(); s.Suppressed != 2 || s.Entered != 2 || s.Exited != 2 {
		t.Errorf("%+v", s)
	}
}

func TestTickLeavesLabelsOfSilentCameras(t *testing.T) {
	tr := tracker(t)
	play(t, tr, seen(0, "a", 0.9), seen(100, "a", 0.9))
	if out := tr.Tick(stamp(30_100)); out != nil {
		t.Errorf("left after exactly 30 s: %v", out)
	}
	out := tr.Tick(stamp(30_101))
	if len(out) != 1 || short(out[0]) != "exit:a@30101" {
		t.Errorf("got %v", out)
	}
	if out := tr.Tick(stamp(60_000)); out != nil {
		t.Errorf("left twice: %v", out)
	}
}

func TestCloseLeavesEverything(t *testing.T) {
	tr := tracker(t)
	back := func(o *vision.Observation) { o.Camera = "back" }
	play(t, tr, seen(0, "a", 0.9), with(seen(50, "b", 0.9), back), seen(100, "a", 0.9), with(seen(150, "b", 0.9), back))
	out := tr.Close(stamp(200))
	if len(out) != 2 || short(out[0]) != "exit:b@200" || short(out[1]) != "exit:a@200" {
		t.Errorf("got %v", out)
	}
	if out := tr.Close(stamp(300)); out != nil {
		t.Errorf("left twice: %v", out)
	}
}

// V7: timestamps backward or jumping.
func TestFault_V7_ClockJumpResetsTheStream(t *testing.T) {
	hour := time.Hour.Milliseconds()
	for name, after := range map[string]int64{"backwards": -5000, "far ahead": 100 + hour + 1} {
		t.Run(name, func(t *testing.T) {
			tr := tracker(t)
			got := play(t, tr, seen(0, "a", 0.9), seen(100, "a", 0.9), seen(after, "a", 0.9), seen(after+100, "a", 0.9))
			// The cooldown is forgotten, too: what was measured on the old clock means nothing on the new.
			if want := fmt.Sprintf("enter:a@100 exit:a@100 enter:a@%d", after+100); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if n := tr.Stats().ClockJumps; n != 1 {
				t.Errorf("%d jumps counted", n)
			}
		})
	}
}

// The camera's own timestamps jumped; our clock did not. What was seen before is another piece of the stream.
func TestFault_V7_JumpOfTheCamerasOwnClockResetsTheStream(t *testing.T) {
	tr := tracker(t)
	jumped := func(o *vision.Observation) { o.Jumped = true }
	unfit := func(o *vision.Observation) { o.Jumped, o.Top, o.Facts = true, nil, []string{"black"} }
	got := play(t, tr, with(seen(0, "a", 0.9), jumped), seen(100, "a", 0.9), seen(200, "a", 0.9), with(seen(300, "a", 0.9), jumped), seen(400, "a", 0.9),
		with(seen(500, "a", 0.9), unfit), seen(600, "a", 0.9), seen(700, "a", 0.9))
	if want := "enter:a@100 exit:a@200 enter:a@400 exit:a@400 enter:a@700"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := tr.Stats().ClockJumps; n != 2 {
		t.Errorf("%d jumps counted, want 2: the first frame has nothing before it", n)
	}
}

// C1, C2: the wall clock steps, the clock since boot does not: only the stamps change.
func TestFault_C1_WallClockStepChangesNoInterval(t *testing.T) {
	tr := tracker(t)
	back := func(o *vision.Observation) { o.At = o.At.Add(-10 * 365 * 24 * time.Hour) }
	got := play(t, tr, seen(0, "a", 0.9), with(seen(100, "a", 0.9), back), with(seen(200, "a", 0.1), back), seen(300, "a", 0.1))
	if want := "enter:a@100 exit:a@300"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := tr.Stats().ClockJumps; n != 0 {
		t.Errorf("%d jumps counted", n)
	}
}

func TestObservationWithoutCaptureTimeIsStampedNow(t *testing.T) {
	tr := tracker(t)
	var out []message.EventRecord
	for ms := int64(0); ms < 300; ms += 100 {
		out = append(out, tr.Step(stamp(ms), vision.Observation{Camera: "c", Top: []inference.Score{{Label: "a", Score: 1}}})...)
	}
	if len(out) != 1 || out[0].Stamp != stamp(100) {
		t.Errorf("got %v", out)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	tr := tracker(t)
	for i := range 2 * maxStreams {
		tr.Step(stamp(0), with(seen(0, "a", 0.9), func(o *vision.Observation) { o.Camera = fmt.Sprint(i) }))
	}
	if s := tr.Stats(); len(tr.streams) != maxStreams || s.Refused != maxStreams {
		t.Errorf("%d streams, %d refused", len(tr.streams), s.Refused)
	}
}

func TestCooldownsAreBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Default.Dwell, cfg.Default.Cooldown = 1, 24*time.Hour
	tr, err := NewTracker(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(3 * maxCooldowns) {
		tr.Step(stamp(i), seen(i, fmt.Sprint("label", i), 0.9))
	}
	if n := len(tr.streams[streamKey{"front", "main"}].cooling); n > maxCooldowns {
		t.Errorf("%d labels remembered", n)
	}
}

func tracker(t testing.TB) *Tracker {
	t.Helper()
	tr, err := NewTracker(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

package vision

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// at is a moment of a made-up run.
func at(d time.Duration) time.Time {
	return time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC).Add(d)
}

// ran is a session that was ready at 1 s and saw observations for so long.
func ran(d time.Duration) *session {
	s := &session{readyAt: at(time.Second), firstObs: at(time.Second), lastObs: at(time.Second + d), lastBeat: at(time.Second + d),
		slots: map[string]*slotProgress{"main": {}}, fresh: map[string]time.Time{"front": at(time.Second)}}
	s.beat.Cameras = []CameraStats{{Name: "front", State: "running"}}
	return s
}

func testPace() pace { return pace{500 * time.Millisecond, time.Minute, time.Minute} }

func TestWaitsBetweenProcesses(t *testing.T) {
	h := newHistory(testPace())
	exit := &loss{cause: CauseExit}
	want := []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute}
	for i, w := range want {
		if d := h.add(exit, ran(time.Second), at(3*time.Second)); d != w {
			t.Errorf("loss %d: wait %v, want %v", i+1, d, w)
		}
	}
	if d := h.add(exit, ran(10*time.Second), at(12*time.Second)); d != 0 {
		t.Errorf("after a healthy run: wait %v, want none", d)
	}
	if d := h.add(exit, nil, at(0)); d != 500*time.Millisecond {
		t.Errorf("after a start that failed: wait %v", d)
	}
	if d := h.add(exit, ran(0), at(62*time.Second)); d != 0 {
		t.Errorf("after a quiet minute without cameras: wait %v, want none", d)
	}
}

func TestSilenceIsGivenMoreTimeEachTime(t *testing.T) {
	h := newHistory(testPace())
	for _, w := range []time.Duration{1, 2, 4, 8, 8, 8} {
		if d := h.beatTimeout(time.Second); d != w*time.Second {
			t.Errorf("%v, want %v", d, w*time.Second)
		}
		h.add(&loss{cause: CauseBeat}, ran(0), at(time.Second))
	}
	if d := h.beatTimeout(20 * time.Second); d != 20*time.Second {
		t.Errorf("a longer one that was configured: %v", d)
	}
	h.add(&loss{cause: CauseExit}, ran(time.Minute), at(time.Minute))
	if d := h.beatTimeout(time.Second); d != time.Second {
		t.Errorf("after a healthy run: %v", d)
	}
}

func TestStallsOfOneCameraBackOffAlone(t *testing.T) {
	h := newHistory(testPace())
	stall := &loss{cause: CauseStall, camera: "back"}
	for _, w := range []time.Duration{5, 10, 20, 40, 80, 160, 300, 300} {
		if d := h.stallTimeout("back", 5*time.Second); d != w*time.Second {
			t.Errorf("%v, want %v", d, w*time.Second)
		}
		if d := h.add(stall, ran(time.Minute), at(time.Minute)); d != 0 {
			t.Errorf("the others wait %v", d)
		}
	}
	if d := h.stallTimeout("front", 5*time.Second); d != 5*time.Second {
		t.Errorf("another camera: %v", d)
	}
	h.stalls["front"] = 3
	h.add(stall, ran(time.Minute), at(time.Minute))
	if d := h.stallTimeout("front", 5*time.Second); d != 5*time.Second {
		t.Errorf("frames came for a minute: %v", d)
	}
}

func TestModelsThatTakeProcessesDownAreHeldBack(t *testing.T) {
	for _, c := range []struct {
		l       loss
		strikes int
		code    string
	}{
		{loss{cause: CauseExit, slot: "main", loading: true}, 2, "crashed"},
		{loss{cause: CauseLoad, slot: "main", loading: true}, 2, "hung"},
		{loss{cause: CauseMemory, slot: "main"}, 3, "memory"},
		{loss{cause: CauseInference, slot: "main"}, 3, "hung"},
	} {
		h := newHistory(testPace())
		for i := range c.strikes {
			if past := h.slots["main"]; past != nil && past.held != nil {
				t.Fatalf("%+v: held back after %d", c.l, i)
			}
			h.add(&c.l, ran(time.Second), at(0))
		}
		s := h.slots["main"]
		if s.held == nil || s.held.Code != c.code || !strings.HasSuffix(s.held.NextStep, "; this one is tried again every 1m0s") || s.wait != time.Minute || h.failures != 1 {
			t.Errorf("%+v: %+v", c.l, s)
		}
		h.add(&c.l, ran(time.Second), at(0))
		if s.wait != 2*time.Minute {
			t.Errorf("tried again after %v", s.wait)
		}
		good := ran(0)
		good.slots["main"] = &slotProgress{firstObs: at(0), lastObs: at(11 * time.Second)}
		h.add(&loss{cause: CauseExit}, good, at(12*time.Second))
		if h.slots["main"] != nil {
			t.Error("a good run does not clear it")
		}
	}
}

// watched is a session as the watcher sees it.
func watched(t *testing.T) *session {
	t.Helper()
	c, err := NewClient(ClientConfig{Socket: "/none", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Config: Config{
		Cameras: []CameraConfig{{Name: "front", Source: "x", Slot: "main", FPS: 1}}, Slots: []SlotConfig{{Slot: "main"}}}})
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(c, nil, nil)
	s.hello, s.lastBeat, s.progress, s.begun = true, at(0), at(0), at(0)
	return s
}

func TestVerdicts(t *testing.T) {
	running := func(m CameraStats) func(*session) {
		return func(s *session) {
			m.Name = "front"
			s.beat.Cameras = []CameraStats{m}
		}
	}
	for _, c := range []struct {
		name string
		set  func(*session)
		now  time.Duration
		want string // cause; empty: all is well
	}{
		{"all is well", func(*session) {}, 900 * time.Millisecond, ""},
		{"no beat", func(*session) {}, 1100 * time.Millisecond, CauseBeat},
		{"heron itself takes its time", func(s *session) { s.delivering = true }, time.Minute, ""},
		{"no hello yet", func(s *session) { s.hello = false }, 19 * time.Second, ""},
		{"no hello", func(s *session) { s.hello = false }, 21 * time.Second, CauseHello},
		{"loading", func(s *session) { s.loading, s.lastBeat = "main", at(19*time.Second) }, 19 * time.Second, ""},
		{"loading hangs", func(s *session) { s.loading, s.lastBeat = "main", at(21*time.Second) }, 21 * time.Second, CauseLoad},
		{"inference", func(s *session) { s.beat.Slots = []SlotStats{{Slot: "main", Running: 4.9}} }, 0, ""},
		{"inference hangs", func(s *session) { s.beat.Slots = []SlotStats{{Slot: "main", Running: 5.1}} }, 0, CauseInference},
		{"memory", func(s *session) { s.beat.RSS = 1<<30 + 1 }, 0, CauseMemory},
		{"read", running(CameraStats{State: "running", Reading: 4.9, FrameAge: 4.9}), 0, ""},
		{"read hangs", running(CameraStats{State: "running", Reading: 5.1, FrameAge: 5.1}), 0, CauseStall},
		{"opening takes its time", running(CameraStats{State: "opening", Reading: 14, FrameAge: -1}), 0, ""},
		{"opening hangs", running(CameraStats{State: "opening", Reading: 16, FrameAge: -1}), 0, CauseStall},
		{"failing for an hour is no reason", running(CameraStats{State: "reopening", FrameAge: 3600, Errors: 360}), 0, ""},
		{"a file at its end is no reason", running(CameraStats{State: "ended", FrameAge: 3600}), 0, ""},
		{"old frames", running(CameraStats{State: "running", FrameAge: 13}), 0, ""},
		{"wedged", running(CameraStats{State: "running", FrameAge: 15}), 0, CauseStall},
	} {
		s := watched(t)
		c.set(s)
		l := s.verdict(at(c.now), newHistory(testPace()))
		if got := cause(l); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if l != nil && !strings.HasPrefix(l.reason, "heron-vision") {
			t.Errorf("%s: reason %q", c.name, l.reason)
		}
	}
}

func cause(l *loss) string {
	if l == nil {
		return ""
	}
	return l.cause
}

// A candidate answers for its process, but not for what the model or the engine of another slot is known to have done.
func TestCandidatesAreBlamedForTheirOwn(t *testing.T) {
	for name, c := range map[string]struct {
		l      loss
		blamed bool
	}{
		"nothing is known":             {loss{cause: CauseExit}, true},
		"its own":                      {loss{cause: CauseInference, candidate: "main"}, true},
		"another candidate":            {loss{cause: CauseInference, candidate: "lid"}, false},
		"killed from outside":          {loss{cause: CauseExit, outside: true}, false},
		"its slot's engine":            {loss{cause: CauseEngine, slot: "main", engine: "edgetpu"}, true},
		"another slot's engine":        {loss{cause: CauseEngine, slot: "lid", engine: "myriad"}, false},
		"another slot's model loading": {loss{cause: CauseExit, slot: "lid", loading: true, engine: "myriad"}, false},
		"memory, another slot at work": {loss{cause: CauseMemory, slot: "lid"}, true},
		"a camera":                     {loss{cause: CauseStall, camera: "front"}, false},
	} {
		client := &Client{candidates: map[string]*contender{"main": {}}}
		if got := client.loseCandidates(&c.l); got != c.blamed || client.candidates["main"].blamed != c.blamed || client.candidates["main"].lost == "" && c.l.reason != "" {
			t.Errorf("%s: blamed %v", name, got)
		}
	}
}

// heron was stopped or starved for a minute: what heron-vision said meanwhile lies unread in the socket.
func TestForgiveMovesTheDeadlines(t *testing.T) {
	s := watched(t)
	s.loading = "main"
	s.forgive(time.Minute)
	if l := s.verdict(at(time.Minute+900*time.Millisecond), newHistory(testPace())); l != nil {
		t.Errorf("%+v", l)
	}
}

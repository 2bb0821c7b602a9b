package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ran runs the demo for a few seconds with a fake agent; change prepares the agent once it knows what the camera shows.
func ran(t *testing.T, change func(*fakeAgent, *stage)) (Summary, error) {
	t.Helper()
	a := &fakeAgent{answer: func() string { return "" }}
	var out bytes.Buffer
	o := Options{For: 3900 * time.Millisecond, Out: &out, Seed: 3, NewAgent: func(w Wiring) (Agent, error) { a.wiring = w; return a, nil }}
	s, err := setUp(o, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.log.Close()
	change(a, s)
	s.wait = 2 * time.Second
	a.until = time.Now().Add(o.For)
	m, err := s.run(t.Context())
	if err == nil && (strings.Count(out.String(), "\n") < 3 || strings.Count(out.String(), "the page is at "+a.View().Page+"\n") != 1) {
		t.Errorf("hardly a line, or no address: %q", out.String())
	}
	return m, err
}

func honest(a *fakeAgent, s *stage) {
	a.answer = func() string { return s.camera.Now().Class.String() }
}

func TestGoodRun(t *testing.T) {
	t.Parallel()
	m, err := ran(t, honest)
	if err != nil {
		t.Fatal(err)
	}
	if !m.OK || m.Lost != 0 || m.Live == 0 || m.Late == 0 || m.Away != 1 || m.Judged == 0 || m.Right != m.Judged {
		t.Errorf("%+v", m)
	}
}

func TestLossIsSeen(t *testing.T) {
	t.Parallel()
	m, err := ran(t, func(a *fakeAgent, s *stage) { honest(a, s); a.lose = 10 })
	if err != nil {
		t.Fatal(err)
	}
	if m.OK || m.Lost != 1 {
		t.Errorf("one result was thrown away: %+v", m)
	}
}

func TestWrongAnswersAreSeen(t *testing.T) {
	t.Parallel()
	m, err := ran(t, func(a *fakeAgent, _ *stage) { a.answer = func() string { return "no_label" } })
	if err != nil {
		t.Fatal(err)
	}
	if m.OK || m.Right >= m.Judged || m.Lost != 0 {
		t.Errorf("everything is no_label: %+v", m)
	}
}

func TestSilenceIsSeen(t *testing.T) {
	t.Parallel()
	m, err := ran(t, func(*fakeAgent, *stage) {})
	if err != nil {
		t.Fatal(err)
	}
	if m.OK || len(m.Problems) != 1 || m.Problems[0] != "nothing was classified" {
		t.Errorf("%+v", m)
	}
}

func TestAgentThatEndsEndsTheDemo(t *testing.T) {
	t.Parallel()
	broken := errors.New("port in use")
	for _, change := range []func(*fakeAgent, *stage){
		func(a *fakeAgent, _ *stage) { a.fail = broken },
		func(a *fakeAgent, _ *stage) { a.panics = true },
		func(a *fakeAgent, s *stage) { a.fail = context.Canceled },
	} {
		began := time.Now()
		if m, err := ran(t, change); err == nil {
			t.Errorf("no error: %+v", m)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("noticed after %v", took)
		}
	}
}

func TestBadRunKeepsItsLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := &fakeAgent{answer: func() string { return "" }}
	m, err := Run(t.Context(), Options{For: 300 * time.Millisecond, Out: &out, JSON: true, NewAgent: func(w Wiring) (Agent, error) { a.wiring = w; return a, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.Log); err != nil {
		t.Errorf("a bad run must leave its log: %v", err)
	}
	os.RemoveAll(filepath.Dir(m.Log))
	if m.OK || strings.Count(out.String(), "\n") != 1 || !strings.HasPrefix(out.String(), "{") {
		t.Errorf("%+v, printed %q", m, out.String())
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	ran(t, func(a *fakeAgent, s *stage) {
		for range 2 {
			if err := s.press(t.Context(), keyCover); err != nil || !s.camera.Covered() {
				t.Errorf("c: %v", err)
			}
			s.press(t.Context(), keyCover)
		}
		if err := s.press(t.Context(), keyBroker); err != nil || s.broker.Up() {
			t.Errorf("b: %v", err)
		}
		if err := s.press(t.Context(), keyBroker); err != nil || !s.broker.Up() {
			t.Errorf("b again: %v", err)
		}
		if err := s.press(t.Context(), keyKill); err != nil || a.View().Restarts != 1 {
			t.Errorf("k: %v", err)
		}
		a.fail = errors.New("that is all")
	})
}

package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pseudoTerminal opens a terminal and its far end, from which everything that is shown is collected.
func pseudoTerminal(t *testing.T) (terminal, far *os.File, shown func() string) {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { far.Close() })
	n, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(far.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { terminal.Close() })
	var mu sync.Mutex
	var all bytes.Buffer
	go func() { // ends when the terminal is closed
		b := make([]byte, 4096)
		for {
			n, err := far.Read(b)
			mu.Lock()
			all.Write(b[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return terminal, far, func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("never: %s", what)
			return
		}
	}
}

func attributes(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	a, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *a
}

// inTerminal runs the demo in a terminal, does something there, and checks that the terminal is given back as it was.
func inTerminal(t *testing.T, a *fakeAgent, act func(s *stage, press func(string), shown func() string, cancel func())) error {
	t.Helper()
	terminal, far, shown := pseudoTerminal(t)
	before := attributes(t, terminal)
	o := Options{Interactive: true, In: terminal, Out: terminal, NewAgent: func(w Wiring) (Agent, error) { a.wiring = w; return a, nil }}
	s, err := setUp(o, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.log.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { _, err := s.run(ctx); done <- err }()
	act(s, func(keys string) { far.WriteString(keys) }, shown, cancel)
	select {
	case err = <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the demo did not end")
	}
	if after := attributes(t, terminal); after != before {
		t.Errorf("terminal was %+v, is %+v", before, after)
	}
	eventually(t, "the cursor comes back", func() bool { return strings.HasSuffix(strings.TrimSpace(shown()), "\x1b[?25h") })
	return err
}

func TestTerminalKeys(t *testing.T) {
	t.Parallel()
	a := &fakeAgent{answer: func() string { return "ok" }}
	err := inTerminal(t, a, func(s *stage, press func(string), shown func() string, _ func()) {
		eventually(t, "something is drawn", func() bool { return strings.Contains(shown(), "take the broker away") })
		press("b")
		eventually(t, "b takes the broker away", func() bool { return strings.Contains(shown(), "bring the broker back") })
		press("c")
		eventually(t, "c covers the camera", s.camera.Covered)
		press("k?x")
		eventually(t, "k kills heron-vision", func() bool { return a.View().Restarts == 1 })
		press("q")
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTerminalIsGivenBack(t *testing.T) {
	t.Parallel()
	t.Run("ctrl-c", func(t *testing.T) {
		a := &fakeAgent{answer: func() string { return "ok" }}
		if err := inTerminal(t, a, func(_ *stage, press func(string), shown func() string, _ func()) {
			eventually(t, "something is drawn", func() bool { return strings.Contains(shown(), "quit") }) // before, it would be a signal
			press("\x03")
		}); err != nil {
			t.Error(err)
		}
	})
	t.Run("signal", func(t *testing.T) {
		a := &fakeAgent{answer: func() string { return "ok" }}
		if err := inTerminal(t, a, func(_ *stage, _ func(string), _ func() string, cancel func()) { cancel() }); err != nil {
			t.Error(err)
		}
	})
	t.Run("failure", func(t *testing.T) {
		a := &fakeAgent{answer: func() string { return "ok" }, fail: errors.New("broken")}
		if err := inTerminal(t, a, func(*stage, func(string), func() string, func()) {}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("panic", func(t *testing.T) {
		a := &fakeAgent{answer: func() string { return "ok" }, panics: true}
		if err := inTerminal(t, a, func(*stage, func(string), func() string, func()) {}); err == nil {
			t.Error("no error")
		}
	})
}

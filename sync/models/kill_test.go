package models

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary, started again with childEnv set to "scenario|point|n|dir", is a device that kills itself when it comes to that point for the n-th
// time. It says each point that it passes, and at the end how the last wish ended.
const childEnv = "HERON_MODELS_TEST_CHILD"

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		os.Exit(childMain(strings.SplitN(arg, "|", 4)))
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // most of them wait for the disk
		panic(err)
	}
	os.Exit(m.Run())
}

// scenarios are what a device is asked for after v1 has been confirmed, and how that must end.
func scenarios() map[string]struct {
	target string
	end    Step
	active string
} {
	return map[string]struct {
		target string
		end    Step
		active string
	}{
		"good":    {"v2/1", StepConfirmed, "v2/1"},
		"refused": {"trial-nan/1", StepRefused, "v1/1"},
		"back":    {"live-nan/1", StepRolledBack, "v1/1"},
	}
}

// child is what T is elsewhere.
type child struct{ testing.TB }

func (child) Helper()                   {}
func (child) Error(a ...any)            { fmt.Println("wrong", fmt.Sprint(a...)) }
func (child) Errorf(f string, a ...any) { fmt.Println("wrong", fmt.Sprintf(f, a...)) }
func (child) Fatalf(f string, a ...any) { fmt.Println("wrong", fmt.Sprintf(f, a...)); os.Exit(1) }
func (child) Fatal(a ...any)            { fmt.Println("wrong", fmt.Sprint(a...)); os.Exit(1) }
func (child) TempDir() string {
	d, err := os.MkdirTemp(os.Getenv("TMPDIR"), "child")
	if err != nil {
		panic(err)
	}
	return d
}

func childMain(arg []string) int {
	scenario, point, dir := scenarios()[arg[0]], arg[1], arg[3]
	var nth int
	fmt.Sscan(arg[2], &nth)
	armed := dir + "/armed"
	w := newWorld(child{}, "trial-nan", "live-nan")
	fast := func(m *Manager) {
		m.pace = pace{tick: 5 * time.Millisecond, healthy: 30 * time.Millisecond, save: 40 * time.Millisecond, patience: 100 * time.Millisecond,
			retryMin: 5 * time.Millisecond, retryMax: 50 * time.Millisecond}
		m.point = func(p string) {
			fmt.Println("point", p)
			if _, err := os.Stat(armed); err == nil && p == point {
				if nth--; nth == 0 {
					_ = unix.Kill(os.Getpid(), unix.SIGKILL)
					select {}
				}
			}
		}
	}
	d := w.start(w.config(dir), fast)
	fmt.Println("booted", d.state().Active.Target)
	d.well()
	if _, err := os.Stat(armed); err != nil {
		_ = d.Offer("main", Wish{Target: "v1/1", Rev: 1})
		d.until("v1", 10*time.Second, func(s SlotState) bool { return s.Counts.Confirmed > 0 })
	}
	fmt.Println("settled")
	if err := os.WriteFile(armed, nil, 0o644); err != nil {
		d.w.t.Fatal(err)
	}
	_ = d.Offer("main", Wish{Target: scenario.target, Rev: 2, Shadow: 30 * time.Millisecond, Probation: 3 * time.Second})
	w.mu.Lock()
	w.hurry = 60
	w.mu.Unlock()
	s := d.until("the end", 20*time.Second, func(s SlotState) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return s.Target == "" && s.Probation == 0 && s.Last.Target == scenario.target && w.live["main"].Digest == s.Active.Digest
	})
	d.well()
	fmt.Println("end", s.Last.Step, s.Active.Target, s.Last.Reason)
	d.stop()
	return 0
}

type life struct {
	points, wrong []string
	end           string
	killed        bool
	text          string
}

func live(t *testing.T, scenario, point string, nth int, dir string) (l life) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d|%s", childEnv, scenario, point, nth, dir), "TMPDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	settled := false
	for sc := bufio.NewScanner(out); sc.Scan(); {
		l.text += sc.Text() + "\n"
		switch word, rest, _ := strings.Cut(sc.Text(), " "); word {
		case "point":
			if settled {
				l.points = append(l.points, rest)
			}
		case "wrong":
			l.wrong = append(l.wrong, rest)
		case "end":
			l.end = rest
		case "settled":
			settled = true
		}
	}
	timer.Stop()
	err = cmd.Wait()
	l.killed = err != nil && strings.Contains(err.Error(), "killed")
	return l
}

// TestFault_U1_KillAtEachStep: SIGKILL before and after each journalled step, of a good model, one that is refused and one that goes back.
// The next life comes to the same end, and what ran in between was whole and verified. Killed twice at the same point, too.
func TestFault_U1_KillAtEachStep(t *testing.T) {
	if testing.Short() {
		t.Skip("many processes: not with -short")
	}
	var mu sync.Mutex
	seen, lives := map[string]bool{}, 0
	t.Run("kills", func(t *testing.T) {
		for scenario, want := range scenarios() {
			first := live(t, scenario, "", 0, t.TempDir())
			if first.end == "" || len(first.wrong) > 0 {
				t.Fatalf("without a kill: %s", first.text)
			}
			slices.Sort(first.points)
			for i, point := range slices.Compact(first.points) {
				if i%6 != 0 && os.Getenv("HERON_SLOW") == "" { // all of them: make test does
					continue
				}
				t.Run(scenario+"/"+point, func(t *testing.T) {
					t.Parallel()
					dir := t.TempDir()
					kills := 0
					var l life
					for range 3 {
						l = live(t, scenario, point, 1, dir)
						if len(l.wrong) > 0 {
							t.Fatalf("%s", l.text)
						}
						if !l.killed {
							break
						}
						kills++
					}
					if l.killed {
						l = live(t, scenario, "", 0, dir)
					}
					got := strings.Fields(l.end + " ? ?")
					crashed := strings.Contains(l.text, "started 3 times") // that is the promise, after three kills on probation
					struck := strings.Contains(l.end, "began ")            // likewise: a trial that ends with the device each time
					if kills == 0 || len(l.wrong) > 0 || !(got[0] == string(want.end) && got[1] == want.active) && !(kills >= 2 && (crashed || struck) && got[1] == "v1/1") {
						t.Errorf("%d kills, ended %q; want %s with %s live\n%s", kills, l.end, want.end, want.active, l.text)
					}
					mu.Lock()
					seen[point] = true
					lives += kills
					mu.Unlock()
				})
			}
		}
	})
	if len(seen) < 24 && os.Getenv("HERON_SLOW") != "" {
		t.Errorf("only %d points", len(seen))
	}
	t.Logf("%d points, %d kills", len(seen), lives)
}

package vision_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"heron/inference/scripted"
	"heron/vision"
)

// acceptor starts one heron-vision a connection, as systemd does with Accept=yes: it keeps no copy of the connection.
type acceptor struct {
	t    testing.TB
	l    *net.UnixListener
	wg   sync.WaitGroup
	mu   sync.Mutex
	pids []int
}

func accept(t testing.TB, mode string) (*acceptor, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vision.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	a := &acceptor{t: t, l: l}
	a.wg.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			a.start(c, mode)
		}
	})
	t.Cleanup(func() {
		l.Close()
		a.wg.Wait()
	})
	return a, path
}

func (a *acceptor) start(c *net.UnixConn, mode string) {
	defer c.Close()
	f, err := c.File()
	if err != nil {
		a.t.Error(err)
		return
	}
	defer f.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HERON_VISION_TEST="+mode)
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	a.wg.Go(func() {
		runtime.LockOSThread() // the child goes with the thread that starts it, and other tests end theirs
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	})
	if err := <-started; err != nil {
		a.t.Error(err)
		return
	}
	a.mu.Lock()
	a.pids = append(a.pids, cmd.Process.Pid)
	a.mu.Unlock()
}

func TestConnectedToASocketOneProcessAConnection(t *testing.T) {
	t.Parallel()
	a, path := accept(t, "serve")
	e := look(t, vision.ClientConfig{Socket: path, Config: vision.Config{Cameras: []vision.CameraConfig{card(50)},
		Slots: []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}}}})
	e.flows(5)
	pid := e.Stats().PID
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	s := e.until("a loss", func(s vision.ClientStats) bool { return s.Restarts == 1 })
	if s.LastCause != vision.CauseExit || !strings.Contains(s.LastReason, fmt.Sprintf("heron-vision (pid %d) closed the connection", pid)) {
		t.Errorf("stats: %+v", s)
	}
	e.flows(5)
	e.stop()
	e.until("the end", func(s vision.ClientStats) bool { return s.State == vision.StateStopped })
	a.l.Close()
	a.wg.Wait() // the processes go by themselves: their connections have ended
	if len(a.pids) != 2 {
		t.Errorf("%d processes were started, want 2; stats: %+v", len(a.pids), e.Stats())
	}
}

// A process that hangs in a native call goes when its connection is closed, though nobody may kill it.
func TestHangingProcessGoesWithItsConnection(t *testing.T) {
	t.Parallel()
	a, path := accept(t, "serve")
	e := look(t, vision.ClientConfig{Socket: path, InferenceTimeout: 500 * time.Millisecond, Config: vision.Config{Cameras: []vision.CameraConfig{card(50)},
		Slots: []vision.SlotConfig{{Slot: "main", Bundle: bundle(t, "native", scripted.Script{HangEvery: 10})}}}})
	e.until("a loss", func(s vision.ClientStats) bool { return s.ByCause[vision.CauseInference] == 1 })
	e.flows(3)
	a.mu.Lock()
	defer a.mu.Unlock()
	for end := time.Now().Add(patience); alive(a.pids[0]); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is still there")
		}
	}
}

// Over MaxConnections systemd lets connect() succeed and closes at once.
func TestSocketThatClosesAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vision.sock")
	l, err := net.Listen("unix", path)
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	e := look(t, vision.ClientConfig{Socket: path})
	s := e.until("a crash loop", func(s vision.ClientStats) bool { return s.State == vision.StateCrashLoop })
	if !strings.Contains(s.LastReason, "before saying hello") || s.RetryIn == 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestSocketThatIsNotThere(t *testing.T) {
	t.Parallel()
	e := look(t, vision.ClientConfig{Socket: filepath.Join(t.TempDir(), "none.sock")})
	s := e.until("a loss", func(s vision.ClientStats) bool { return s.Restarts > 0 })
	if s.LastCause != vision.CauseStart || !strings.Contains(s.LastReason, "is heron-vision.socket active?") {
		t.Errorf("stats: %+v", s)
	}
}

func TestHundredCrashesLeaveNothingBehind(t *testing.T) { // not parallel: it counts descriptors
	if testing.Short() {
		t.Skip("100 processes")
	}
	cmd, env := self("exit-later")
	c, err := vision.NewClient(vision.ClientConfig{Command: cmd, Env: env, Log: quiet(), Config: vision.Config{
		Cameras: []vision.CameraConfig{{Name: "front", Source: "stub:", Slot: "main"}}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: "-"}}}})
	must(t, err)
	c.SetWaits(time.Millisecond, time.Millisecond, time.Minute)
	before := len(descriptors(t))
	e := run(t, c)
	e.until("100 losses", func(s vision.ClientStats) bool { return s.Restarts >= 100 })
	e.stop()
	s := e.until("the end", func(s vision.ClientStats) bool { return s.State == vision.StateStopped })
	if s.ByCause[vision.CauseExit] != s.Restarts {
		t.Errorf("causes: %v of %d", s.ByCause, s.Restarts)
	}
	if after := descriptors(t); len(after) > before+2 { // the test's own poller may have come meanwhile
		t.Errorf("%d descriptors before, %d after: %v", before, len(after), after)
	}
	if kids := children(t); len(kids) > 0 {
		t.Errorf("children left: %v", kids)
	}
}

func descriptors(t *testing.T) []string {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	var out []string
	for _, d := range list {
		to, _ := os.Readlink("/proc/self/fd/" + d.Name()) // the folder's own descriptor is gone by now
		out = append(out, d.Name()+" "+to)
	}
	return out
}

// children are this process's, zombies too.
func children(t *testing.T) []string {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	must(t, err)
	var out []string
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			t.Skipf("this kernel does not list children: %v", err)
		}
		out = append(out, strings.Fields(string(b))...)
	}
	return out
}

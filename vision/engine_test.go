package vision_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/scripted"
	"heron/vision"
)

// openStick is the engine "stick": scripted, on a device that a file (HERON_STICK) makes come, go, hang, abort and answer rubbish;
// and "edgetpu", on one of several (HERON_STICK, a dot and its port).
func openStick(ctx context.Context, m inference.Model) (inference.Engine, error) {
	s := &stick{info: inference.Info{Engine: m.Spec.Engine, Device: cmp.Or(m.Spec.Device, "usb:1-1")}}
	does := s.does()
	if _, err := os.Stat(filepath.Join(os.Getenv("HERON_SYSFS"), "bus/usb/devices", strings.TrimPrefix(s.info.Device, "usb:"))); err != nil && s.info.Engine == "edgetpu" {
		does = "absent"
	}
	switch does {
	case "absent", "gone":
		r := inference.Refuse(inference.CodeUnavailable, "plug one in", "no stick is attached")
		r.Err = inference.ErrUnavailable
		return nil, r
	case "load-abort":
		abort("stick: cannot open")
	case "load-hang":
		select {}
	}
	var err error
	s.Engine, err = scripted.Open(ctx, m)
	return s, err
}

type stick struct {
	inference.Engine
	info inference.Info
	runs int
	kept [][]byte
}

func (s *stick) does() string {
	path := os.Getenv("HERON_STICK")
	if s.info.Engine == "edgetpu" {
		path += "." + strings.TrimPrefix(s.info.Device, "usb:")
	}
	b, _ := os.ReadFile(path)
	return string(b)
}

func (s *stick) Info() inference.Info { return s.info }

func (s *stick) Run(ctx context.Context) error {
	s.runs++
	does := s.does()
	switch does {
	case "gone":
		return errors.New("the device was unplugged")
	case "hang":
		select {}
	case "abort":
		abort("stick: assertion failed")
	case "brown-out":
		return errors.New("transfer failed")
	case "leak":
		s.kept = append(s.kept, bytes.Repeat([]byte{1}, 16<<20))
	case "abort-later":
		if s.runs > 30 {
			abort("stick: assertion failed after a while")
		}
	}
	err := s.Engine.Run(ctx)
	if out := s.Output().F32; does == "rubbish" {
		for i := range out {
			out[i] = float32(math.Mod(float64(i)*0.618+0.3, 1))
		}
	}
	return err
}

// port is where a stick is plugged in: what it does, and what sysfs shows.
type port struct {
	t           testing.TB
	file, sysfs string
	at          string // the port, where there are several; it is the end of the file's name, too
	number      int
}

func newPort(t testing.TB) *port {
	p := &port{t: t, file: filepath.Join(t.TempDir(), "does"), sysfs: t.TempDir()}
	p.plug()
	return p
}

func (p *port) env() []string { return []string{"HERON_STICK=" + p.file, "HERON_SYSFS=" + p.sysfs} }

func (p *port) does(what string) {
	p.t.Helper()
	file := strings.TrimSuffix(p.file+"."+p.at, ".")
	must(p.t, os.WriteFile(file+".new", []byte(what), 0o600))
	must(p.t, os.Rename(file+".new", file))
}

func (p *port) plug() {
	p.t.Helper()
	p.number++
	dir := filepath.Join(p.sysfs, "bus/usb/devices", cmp.Or(p.at, "1-1"))
	must(p.t, os.MkdirAll(dir, 0o700))
	must(p.t, os.WriteFile(filepath.Join(dir, "devnum"), []byte(strconv.Itoa(p.number)), 0o600))
	p.does("ok")
}

func (p *port) pull(what string) {
	p.t.Helper()
	p.does(what)
	must(p.t, os.RemoveAll(filepath.Join(p.sysfs, "bus/usb/devices", cmp.Or(p.at, "1-1"))))
}

// twoEngines is a bundle for the stick and, after it, the scripted engine.
func twoEngines(t testing.TB, first ...string) string {
	t.Helper()
	dir := bundle(t, "scripted", scripted.Script{})
	path := filepath.Join(dir, "manifest.json")
	b, err := os.ReadFile(path)
	must(t, err)
	var m inference.Manifest
	must(t, json.Unmarshal(b, &m))
	for i := len(first) - 1; i >= 0; i-- {
		m.Engines = append([]inference.EngineEntry{{Engine: first[i], File: "answers.json"}}, m.Engines...)
	}
	b, err = json.Marshal(m)
	must(t, err)
	must(t, os.WriteFile(path, b, 0o600))
	return dir
}

// onStick runs a Client on a card and a model that prefers the stick.
func onStick(t testing.TB, p *port, retry time.Duration) *eyes {
	t.Helper()
	cmd, env := self("serve")
	return look(t, vision.ClientConfig{Command: cmd, Env: append(env, p.env()...), EngineRetry: retry,
		Config: vision.Config{Cameras: []vision.CameraConfig{card(25)}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: twoEngines(t, "stick")}}}})
}

// engine waits until observations come from an engine, and says how long that took.
func (e *eyes) engine(name string) time.Duration {
	e.t.Helper()
	t0 := time.Now()
	for time.Since(t0) < patience {
		e.mu.Lock()
		n := len(e.obs)
		ok := n > 0 && e.obs[n-1].Engine == name && e.obs[n-1].Error == ""
		e.mu.Unlock()
		if ok {
			return time.Since(t0)
		}
		time.Sleep(5 * time.Millisecond)
	}
	e.t.Fatalf("no observation from engine %q; stats %+v", name, e.Stats())
	return 0
}

func TestFault_A_EngineFallsBackAndReturns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ fault, row, cause string }{
		{"gone", "A1", vision.CauseEngine}, {"hang", "A4", vision.CauseInference}, {"abort", "A5", vision.CauseExit}, {"rubbish", "M3", vision.CauseEngine},
	} {
		t.Run(c.row+"_"+c.fault, func(t *testing.T) {
			p := newPort(t)
			e := onStick(t, p, 200*time.Millisecond)
			e.engine("stick")
			p.pull(c.fault)
			took := e.engine("scripted")
			s := e.until("a note of the loss", func(s vision.ClientStats) bool { return len(s.Standby) == 1 })
			if b := s.Standby[0]; b.Engine != "stick" || !b.Lost || b.Code != c.cause || b.Slot != "main" || b.Reason == "" || s.Fallbacks != 1 || s.ByCause[c.cause] != 1 || s.Restarts != 1 {
				t.Errorf("stats %+v", s)
			}
			p.does("absent")
			p.plug()
			back := e.engine("stick")
			s = e.until("no standby", func(s vision.ClientStats) bool { return len(s.Standby) == 0 })
			if s.Returns != 1 || s.Restarts != 1 || s.State != vision.StateRunning {
				t.Errorf("stats %+v", s)
			}
			t.Logf("%s: results from the next engine after %.2f s, from the stick again %.2f s after it was plugged in", c.fault, took.Seconds(), back.Seconds())
			e.wrongs(c.fault != "rubbish")
		})
	}
}

// M3: a stick that goes on answering rubbish stays out of use though no golden picture is there to judge it by: it has to answer as it did. One that is
// in order again comes back by itself, and so does one that was plugged in.
func TestFault_M3_RubbishStaysOutWithoutGoldenPictures(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	e := onStick(t, p, 100*time.Millisecond)
	e.engine("stick")
	p.does("rubbish")
	e.engine("scripted")
	tried := func(s vision.ClientStats) bool {
		return len(s.Standby) == 1 && s.Standby[0].Code == inference.CodeGolden
	}
	s := e.until("a trial that failed", tried)
	for began := time.Now(); time.Since(began) < 2*time.Second && s.Returns == 0; s = e.Stats() {
		time.Sleep(10 * time.Millisecond)
	}
	if s.Returns != 0 || !tried(s) || !strings.Contains(s.Standby[0].Reason, "answers otherwise than when it was started") {
		t.Errorf("stats %+v", s)
	}
	p.does("ok")
	e.engine("stick")
	p.does("rubbish")
	e.engine("scripted")
	p.plug() // another one, perhaps
	e.engine("stick")
	e.wrongs(false)
}

// wrongs counts answers that nobody should have got: none while the engine only fails, a second's worth at most while it answers rubbish.
func (e *eyes) wrongs(none bool) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	wrong := 0
	for _, o := range e.obs {
		if len(o.Top) > 0 && o.Top[0].Score != 0.9 && math.Abs(o.Top[0].Score-0.8) > 1e-6 && math.Abs(o.Top[0].Score-0.9) > 1e-6 {
			wrong++
		}
	}
	if none && wrong > 0 {
		e.t.Errorf("%d of %d observations carry an answer that no engine gave", wrong, len(e.obs))
	}
	e.t.Logf("%d observations, %d of them rubbish", len(e.obs), wrong)
}

func TestFault_A3_EngineThatIsNotThereAtStartIsTakenWhenItComes(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	p.pull("absent")
	e := onStick(t, p, time.Minute)
	e.engine("scripted")
	s := e.until("a standby", func(s vision.ClientStats) bool { return len(s.Standby) == 1 })
	if b := s.Standby[0]; b.Lost || b.Code != inference.CodeUnavailable || b.Reason != "no stick is attached" || b.NextStep != "plug one in" || s.Fallbacks != 0 {
		t.Errorf("standby %+v", b)
	}
	p.plug()
	t.Logf("in use %.2f s after it was plugged in", e.engine("stick").Seconds())
	if s := e.Stats(); s.Restarts != 0 || s.Returns != 1 {
		t.Errorf("stats %+v", s)
	}
}

// A driver that leaks costs its process again and again, and never the model, which another engine can run.
func TestFault_M6_EngineThatLeaksIsLeftForTheNext(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	cmd, env := self("serve")
	e := look(t, vision.ClientConfig{Command: cmd, Env: append(env, p.env()...), EngineRetry: 200 * time.Millisecond, MaxMemory: 300 << 20, InferenceTimeout: 30 * time.Second, BeatTimeout: 30 * time.Second,
		Config: vision.Config{Cameras: []vision.CameraConfig{card(25)}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: twoEngines(t, "stick")}}}})
	e.engine("stick")
	for leaks := 1; leaks <= 4; leaks++ {
		p.does("leak")
		e.engine("scripted")
		s := e.until("a note of the loss", func(s vision.ClientStats) bool { return s.Fallbacks == uint64(leaks) && len(s.Standby) == 1 })
		if b := s.Standby[0]; !b.Lost || b.Code != vision.CauseMemory || !strings.Contains(b.Reason, "more than the 300 MiB allowed") || len(s.Refusals) != 0 || s.State == vision.StateRefused {
			t.Fatalf("after %d leaks: %+v", leaks, s)
		}
		p.does("ok")
		e.engine("stick")
	}
	e.wrongs(true)
}

// A stick that fails in its first run at the start, for want of power, say, is tried again like one that is not there.
func TestFault_A3_EngineThatFailsAtStartIsTakenWhenItWorks(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	p.does("brown-out")
	e := onStick(t, p, 100*time.Millisecond)
	e.engine("scripted")
	s := e.until("a standby", func(s vision.ClientStats) bool { return len(s.Standby) == 1 })
	if b := s.Standby[0]; b.Code != inference.CodeUnavailable || !strings.Contains(b.Reason, "transfer failed") || b.NextStep == "" || b.RetryIn < 0 {
		t.Errorf("standby %+v", b)
	}
	p.does("ok")
	e.engine("stick")
}

// An engine that kills or hangs the process while it loads is passed over at once; the others need not wait for it.
func TestFault_A5_EngineThatKillsTheProcessAtLoad(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"load-abort", "load-hang"} {
		t.Run(how, func(t *testing.T) {
			p := newPort(t)
			p.does(how)
			cmd, env := self("serve")
			e := look(t, vision.ClientConfig{Command: cmd, Env: append(env, p.env()...), EngineRetry: 200 * time.Millisecond, LoadTimeout: 2 * time.Second,
				Config: vision.Config{Cameras: []vision.CameraConfig{card(25)}, Slots: []vision.SlotConfig{{Slot: "main", Bundle: twoEngines(t, "stick")}}}})
			e.engine("scripted")
			if s := e.Stats(); s.Restarts != 1 || s.Fallbacks != 1 || s.State != vision.StateRunning {
				t.Errorf("stats %+v", s)
			}
			p.does("ok")
			e.engine("stick")
		})
	}
}

func TestEngineCyclesLeaveNothingBehind(t *testing.T) {
	n := 6
	if os.Getenv("HERON_TORTURE") != "" {
		n = 100
	}
	p := newPort(t)
	e := onStick(t, p, 20*time.Millisecond)
	faults := []string{"gone", "abort", "rubbish", "gone", "hang"}
	var goroutines, files int
	for i := range n {
		e.engine("stick")
		time.Sleep(150 * time.Millisecond) // longer than what counts as flapping
		if i == 2 {
			goroutines, files = runtime.NumGoroutine(), openFiles(t)
		}
		p.pull(faults[i%len(faults)])
		e.engine("scripted")
		p.does("absent")
		p.plug()
	}
	e.engine("stick")
	s := e.until("quiet", func(s vision.ClientStats) bool { return len(s.Standby) == 0 })
	if s.Fallbacks != uint64(n) || s.Returns != uint64(n) || s.Restarts != uint64(n) {
		t.Errorf("stats after %d cycles: %+v", n, s)
	}
	time.Sleep(200 * time.Millisecond)
	if g, f := runtime.NumGoroutine(), openFiles(t); g > goroutines+3 || f > files+3 {
		t.Errorf("after %d cycles %d goroutines and %d descriptors, early on %d and %d", n, g, f, goroutines, files)
	}
}

func openFiles(t testing.TB) int {
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}

func TestLookAtEngines(t *testing.T) {
	cmd, env := self("serve")
	list, err := vision.Look(t.Context(), vision.ClientConfig{Command: cmd, Env: env, Log: quiet()})
	if err != nil || len(list) != 1 || list[0].Engine != "scripted" {
		t.Errorf("%+v, %v", list, err)
	}
	cmd, env = self("exit")
	if list, err := vision.Look(t.Context(), vision.ClientConfig{Command: cmd, Env: append(env, "HERON_VISION_ONCE="), Log: quiet()}); err == nil {
		t.Errorf("%+v from a program that ends at once", list)
	} else {
		t.Log(err)
	}
}

func TestTry(t *testing.T) {
	cmd, env := self("serve")
	cfg := vision.ClientConfig{Command: cmd, Env: env, Log: quiet()}
	if s, err := vision.Try(t.Context(), cfg, vision.SlotConfig{Slot: "main", Bundle: bundle(t, "scripted", scripted.Script{})}); err != nil || s.Slots == nil && s.State != vision.StateRunning {
		t.Errorf("%+v, %v", s, err)
	}
	_, err := vision.Try(t.Context(), cfg, vision.SlotConfig{Slot: "main", Bundle: t.TempDir()})
	if r := (*inference.Refusal)(nil); !errors.As(err, &r) {
		t.Errorf("an empty folder: %v", err)
	}
	_, err = vision.Try(t.Context(), cfg, vision.SlotConfig{Slot: "main", Bundle: bundle(t, "native", scripted.Script{FailEvery: 1})})
	if err == nil {
		t.Error("a model that kills the process was fine")
	}
	t.Log(err)
}

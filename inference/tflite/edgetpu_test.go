//go:build cgo && linux

package tflite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/enginetest"
)

// coral is the double of libedgetpu with one stick in sysfs.
type coral struct {
	t                   *testing.T
	lib, control, asked string
}

// plug builds the double under a path of its own, so that no answer of an earlier test is known, and plugs a stick in.
func plug(t *testing.T, flags ...string) *coral {
	t.Helper()
	library(t)
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to build the double of libedgetpu")
	}
	dir := t.TempDir()
	c := &coral{t: t, lib: filepath.Join(dir, "libedgetpu.so.1"), control: filepath.Join(dir, "control"), asked: filepath.Join(dir, "asked")}
	args := append([]string{"-shared", "-fPIC", "-O1", "-o", c.lib, "testdata/edgetpu.c"}, flags...)
	if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or every child takes a second to end
	t.Setenv(pluginEnv, c.lib)
	t.Setenv("HERON_DOUBLE", c.control)
	t.Setenv("HERON_DOUBLE_ASKED", c.asked)
	t.Setenv("HERON_DOUBLE_SEES", "/sys/bus/usb/devices/2-1")
	t.Setenv(sysfsEnv, tree(t, stick("2-1", "18d1", "9302", "5")))
	c.does("ok")
	return c
}

// does changes what the double does from its next step on.
func (c *coral) does(what string) {
	c.t.Helper()
	if err := os.WriteFile(c.control+".new", []byte(what), 0o644); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(c.control+".new", c.control); err != nil {
		c.t.Fatal(err)
	}
}

func tpuModel(t inference.DType) inference.Model {
	s := spec(t, t)
	return modelOf("m_edgetpu.tflite", s, compiled(s))
}

func (c *coral) open() inference.Engine {
	c.t.Helper()
	e, err := OpenEdgeTPU(c.t.Context(), tpuModel(inference.Uint8))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { e.Close() })
	return e
}

// refuses wants the engine to be unavailable, for a reason.
func (c *coral) refuses(says string) {
	c.t.Helper()
	e, err := OpenEdgeTPU(c.t.Context(), tpuModel(inference.Uint8))
	if err == nil {
		e.Close()
		c.t.Fatal("opened")
	}
	enginetest.CheckRefusal(c.t, err, inference.CodeUnavailable)
	if !errors.Is(err, inference.ErrUnavailable) || !strings.Contains(err.Error(), says) {
		c.t.Errorf("says %q; want %q", err, says)
	}
}

func TestEdgeTPUSuite(t *testing.T) {
	plug(t)
	s := spec(inference.Uint8, inference.Uint8)
	enginetest.Run(t, enginetest.Suite{Engine: "edgetpu", Open: OpenEdgeTPU,
		Good: []enginetest.Case{{Name: "uint8", Model: tpuModel(inference.Uint8)}, {Name: "float32", Model: tpuModel(inference.Float32)}},
		Refused: []enginetest.Case{
			{Name: "not compiled", Model: modelOf("m.tflite", s, classifier(s)), Code: inference.CodeFormat},
		}})
}

func TestEdgeTPUAsASlot(t *testing.T) {
	c := plug(t)
	for _, m := range []inference.Model{tpuModel(inference.Uint8), tpuModel(inference.Float32)} {
		enginetest.Accelerator{Engine: "edgetpu", Open: OpenEdgeTPU, Model: m, Does: c.does, Ok: "ok", Slow: "slow 180", Rubbish: []string{"rubbish"}, Gone: "gone"}.Run(t)
	}
}

func TestEdgeTPURealModel(t *testing.T) {
	plug(t)
	e, err := OpenEdgeTPU(t.Context(), real(t, "mobilenet_v1_0.25_128_quant_edgetpu.tflite"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if i := e.Info(); !strings.Contains(i.Version, "libedgetpu double") {
		t.Errorf("%+v", i)
	}
}

// TestA1Unplug: the run in which the device goes fails with its words; with the device back, a new engine works.
func TestA1Unplug(t *testing.T) {
	c := plug(t)
	e := c.open()
	c.does("gone")
	if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "unplugged") {
		t.Errorf("ended with %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	t.Setenv(sysfsEnv, t.TempDir())
	c.refuses("no Edge TPU is attached")
	t.Setenv(sysfsEnv, tree(t, stick("2-1", "18d1", "9302", "6")))
	c.does("ok")
	if err := c.open().Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestA2Busy(t *testing.T) {
	c := plug(t)
	c.does("busy")
	c.refuses("the Edge TPU cannot be opened")
	c.does("ok") // the other process has ended: nothing of it is remembered
	c.open()
}

// TestA3NoDelegate: no library, one that is none, one that kills the child; each has its own words, and plugging in anew asks again.
func TestA3NoDelegate(t *testing.T) {
	c := plug(t)
	t.Setenv(pluginEnv, "/no/such/libedgetpu.so.1")
	c.refuses("libedgetpu is not at /no/such")
	t.Setenv(pluginEnv, os.Getenv(libraryEnv))
	c.refuses("no function tflite_plugin_create_delegate")
	t.Setenv(pluginEnv, c.lib)
	c.does("abort-open")
	c.refuses("libedgetpu killed the process")
	c.does("ok")
	c.refuses("libedgetpu killed the process") // kept
	t.Setenv(sysfsEnv, tree(t, stick("2-1", "18d1", "9302", "9")))
	c.open()
}

// TestA4Hang: a device that hangs in the trial costs the trial; one that hangs later costs the process, which can be killed, and the next one works.
func TestA4Hang(t *testing.T) {
	c := plug(t)
	c.does("hang")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := OpenEdgeTPU(ctx, tpuModel(inference.Uint8)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
	c.does("ok")
	child := c.worker()
	c.does("hang")
	child.step()
	time.Sleep(100 * time.Millisecond)
	t0 := time.Now()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Error("it ended by itself")
	}
	t.Logf("killed in %v", time.Since(t0))
	c.does("ok")
	if err := c.open().Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestA5Abort: an abort in the trial costs the trial; a later one ends the process with a status.
func TestA5Abort(t *testing.T) {
	c := plug(t)
	c.does("abort")
	c.refuses("libedgetpu killed the process")
	t.Setenv(sysfsEnv, tree(t, stick("2-1", "18d1", "9302", "7")))
	c.does("ok")
	child := c.worker()
	c.does("abort")
	child.step()
	if err := child.Wait(); err == nil {
		t.Error("the process outlived an abort")
	}
}

// worker is a process with an open engine, which infers at each line it reads.
type worker struct {
	*exec.Cmd
	t  *testing.T
	in io.Writer
}

func (c *coral) worker() *worker {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), os.Args[0], workFlag)
	cmd.Env = append(os.Environ(), "GOTRACEBACK=none")
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		c.t.Fatalf("the worker says %q, %v", line, err)
	}
	return &worker{cmd, c.t, in}
}

func (w *worker) step() {
	w.t.Helper()
	if _, err := fmt.Fprintln(w.in, "run"); err != nil {
		w.t.Fatal(err)
	}
}

// work is the worker's main.
func work() int {
	e, err := OpenEdgeTPU(context.Background(), tpuModel(inference.Uint8))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		if err := e.Run(context.Background()); err != nil {
			return 1
		}
	}
	return 0
}

// TestMismatchedPair: a libedgetpu built for TensorFlow Lite 2.9 never gets into this process. What it does to the child depends on what lies
// where its structures end: it dies, or TensorFlow Lite does not know what the operator is.
func TestMismatchedPair(t *testing.T) {
	c := plug(t, "-DOLD")
	if v, _ := Version(); !strings.HasPrefix(v, "2.18") {
		t.Skip("this TensorFlow Lite is " + v)
	}
	c.refuses("")
}

func TestRubbish(t *testing.T) {
	c := plug(t)
	m := tpuModel(inference.Float32)
	b, err := inference.ReadBundle(enginetest.Folder(t, "edgetpu", m), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := inference.OpenSlot(t.Context(), b, map[string]inference.Opener{"edgetpu": OpenEdgeTPU}, inference.Opening{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c.does("rubbish")
	_, err = s.Classify(t.Context(), []byte{1, 2, 3}, 1, 1, 3)
	enginetest.CheckRefusal(t, err, inference.CodeNotFinite)
}

func TestSlowDeviceIsWaitedFor(t *testing.T) {
	c := plug(t)
	e := c.open()
	c.does("slow")
	t0 := time.Now()
	if err := e.Run(t.Context()); err != nil || time.Since(t0) < 40*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(t0))
	}
}

// second plugs another stick in, which libedgetpu lists first.
func (c *coral) second() {
	files := stick("2-1", "18d1", "9302", "5")
	maps.Copy(files, stick("2-2", "18d1", "9302", "6"))
	c.t.Setenv(sysfsEnv, tree(c.t, files))
	c.t.Setenv("HERON_DOUBLE_SEES", "/sys/bus/usb/devices/2-2\n/dev/apex_0\n/sys/bus/usb/devices/2-1\n")
}

// on opens an engine on a device and wants libedgetpu to be asked in its own words.
func (c *coral) on(device, runsOn, asks string) inference.Engine {
	c.t.Helper()
	m := tpuModel(inference.Uint8)
	m.Spec.Device = device
	e, err := OpenEdgeTPU(c.t.Context(), m)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { e.Close() })
	got, err := os.ReadFile(c.asked)
	if err != nil || string(got) != "device="+asks+"\n" || e.Info().Device != runsOn {
		c.t.Errorf("%q asks for %q, %v, and runs on %+v; want %s, %s", device, got, err, e.Info(), asks, runsOn)
	}
	return e
}

// TestSeveralSticks: a stick is asked for by its port, whatever its place in libedgetpu's list; without a name, the one that is free.
func TestSeveralSticks(t *testing.T) {
	c := plug(t)
	c.second()
	c.on("usb:2-1", "usb:2-1", "usb:1").Close()
	one := c.on("usb:2-2", "usb:2-2", "usb:0")
	two := c.on("", "usb:2-1", "usb:1")
	c.does("ok")
	must(t, os.WriteFile(c.control+".2-2", []byte("gone"), 0o644))
	if err := one.Run(t.Context()); err == nil {
		t.Error("the stick that was pulled answers")
	}
	if err := two.Run(t.Context()); err != nil {
		t.Errorf("the other stick: %v", err)
	}
	one.Close()
	must(t, os.Remove(c.control+".2-2"))
	shared := c.on("usb:2-1", "usb:2-1", "usb:1") // two models on one stick, in one process
	if err := errors.Join(shared.Run(t.Context()), two.Run(t.Context())); err != nil {
		t.Error(err)
	}
	m := tpuModel(inference.Uint8)
	m.Spec.Device = "usb:3-9"
	_, err := OpenEdgeTPU(t.Context(), m)
	enginetest.CheckRefusal(t, err, inference.CodeUnavailable)
	if !strings.Contains(err.Error(), "no Edge TPU is at usb:3-9; there is usb:2-1, usb:2-2") {
		t.Error(err)
	}
}

// TestA2StickOfAnotherProcess: one that another process has is passed over where any will do, and refused where it is named.
func TestA2StickOfAnotherProcess(t *testing.T) {
	c := plug(t)
	c.second()
	child := c.worker() // takes the first
	c.on("", "usb:2-2", "usb:0").Close()
	m := tpuModel(inference.Uint8)
	m.Spec.Device = "usb:2-1"
	_, err := OpenEdgeTPU(t.Context(), m)
	enginetest.CheckRefusal(t, err, inference.CodeUnavailable)
	must(t, os.WriteFile(c.control+".2-2", []byte("busy"), 0o644))
	c.refuses("none of 2 Edge TPUs can be had: usb:2-1: ")
	must(t, child.Process.Kill())
	_ = child.Wait() // killed
	c.on("", "usb:2-1", "usb:1")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReportWithADevice(t *testing.T) {
	c := plug(t)
	r := Report(t.Context())[1]
	if !r.Present || !r.Usable || r.Device != "usb:2-1" || !strings.Contains(r.Version, "double") {
		t.Errorf("%+v", r)
	}
	c.second()
	two := Report(t.Context())[1:]
	if len(two) != 2 || two[0].Device != "usb:2-1" || two[1].Device != "usb:2-2" || !two[0].Usable || !two[1].Usable {
		t.Errorf("%+v", two)
	}
	t.Setenv(pluginEnv, c.lib+".gone")
	if r := Report(t.Context())[1]; !r.Present || r.Usable || !strings.Contains(r.Reason, "libedgetpu is not at") || r.NextStep == "" {
		t.Errorf("%+v", r)
	}
}

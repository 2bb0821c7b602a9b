//go:build cgo && linux

package openvino

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/enginetest"
)

// machine is a folder that holds a double of OpenVINO 2022.3.1, and a /sys and /dev of its own.
type machine struct{ dir string }

// newMachine compiles testdata/double.c; without a C compiler the test is skipped. A stick is plugged in.
func newMachine(t testing.TB) machine {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("needs gcc for the double of libopenvino_c: ", err)
	}
	m := machine{t.TempDir()}
	out, err := exec.Command(gcc, "-shared", "-fPIC", "-O1", "-o", m.library(), "testdata/double.c", "-ldl").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.plug(t, "1-2", 4, stickUnbooted)
	return m
}

func (m machine) library() string { return filepath.Join(m.dir, "libopenvino_c.so") }

func (m machine) write(t testing.TB, path, content string) {
	t.Helper()
	path = filepath.Join(m.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := path + ".tmp" // whoever reads sees all of it or nothing
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// does says how the stick behaves from now on; see testdata/double.c.
func (m machine) does(t testing.TB, behaviour string) {
	t.Helper()
	m.write(t, "behaviour", behaviour+"\n")
}

func (m machine) plug(t testing.TB, port string, number int, product string) {
	t.Helper()
	for name, v := range map[string]string{"idVendor": movidius, "idProduct": product, "busnum": "1", "devnum": fmt.Sprint(number)} {
		m.write(t, filepath.Join("sys/bus/usb/devices", port, name), v+"\n")
	}
	m.write(t, fmt.Sprintf("dev/bus/usb/001/%03d", number), "")
}

func (m machine) unplug(t testing.TB, port string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(m.dir, "sys/bus/usb/devices", port)); err != nil {
		t.Fatal(err)
	}
}

func (m machine) runtime() *Runtime {
	return New(Config{Getenv: env(map[string]string{library2022Env: m.library()}), Sysfs: m.dir + "/sys", Dev: m.dir + "/dev", Executable: m.dir + "/none"})
}

// stickModel needs no second file, and the double can read it.
func stickModel() inference.Model {
	s := spec("NCHW", inference.Float32, inference.Float32)
	x := `<net name="stick" version="11"><layers><layer id="0" name="input" type="Parameter" version="opset1"><data shape="1,3,4,6" element_type="f32"/></layer>` +
		`<layer id="1" name="scores_out" type="Result" version="opset1"><input><port id="0"><dim>1</dim><dim>3</dim></port></input></layer></layers></net>`
	return inference.Model{File: "m.xml", Bytes: []byte(x), Spec: s}
}

// TestStickSuite: the contract, on the double, whose numbers for the element types are those of 2022.
func TestStickSuite(t *testing.T) {
	m := newMachine(t)
	labels, bytes8 := stickModel(), stickModel()
	labels.Spec.Labels = append(labels.Spec.Labels, "more")
	bytes8.Spec.Input.DType = inference.Uint8
	enginetest.Run(t, enginetest.Suite{Engine: Myriad, Open: m.runtime().Openers()[Myriad],
		Good:    []enginetest.Case{{Name: "float32", Model: stickModel()}},
		Refused: []enginetest.Case{{Name: "labels", Model: labels, Code: inference.CodeLabels}, {Name: "uint8", Model: bytes8, Code: inference.CodeContract}}})
}

func TestStickAsASlot(t *testing.T) {
	m := newMachine(t)
	enginetest.Accelerator{Engine: Myriad, Open: m.runtime().Openers()[Myriad], Model: stickModel(), Does: func(b string) { m.does(t, b) },
		Ok: "ok", Slow: "slow 180", Rubbish: []string{"nan", "wrong"}, Gone: "absent"}.Run(t)
}

// report is what is said about the stick.
func (m machine) report(t *testing.T, r *Runtime) inference.Status {
	t.Helper()
	for _, d := range r.Report(t.Context()) {
		if d.Engine == Myriad {
			t.Log(d)
			return d
		}
	}
	t.Fatal("nothing is said about the stick")
	return inference.Status{}
}

// A1 and A7: unplugged while it infers: the run fails, the device is lost; plugged in again, elsewhere and under another number, it works.
func TestFault_A1_A7_StickUnpluggedWhileItInfers(t *testing.T) {
	m := newMachine(t)
	r := m.runtime()
	e, err := r.Openers()[Myriad](t.Context(), stickModel())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.does(t, "slow 300")
	ended := make(chan error)
	go func() { ended <- e.Run(t.Context()) }()
	time.Sleep(100 * time.Millisecond)
	m.does(t, "absent")
	m.unplug(t, "1-2")
	lost(t, <-ended)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if d := m.report(t, r); d.Present || d.Usable || !strings.Contains(d.Reason, "no Neural Compute Stick") {
		t.Errorf("%+v", d)
	}
	_, err = r.Openers()[Myriad](t.Context(), stickModel())
	lost(t, err)
	m.does(t, "ok")
	m.plug(t, "1-3", 9, stickBooted)
	if d := m.report(t, r); !d.Present || !d.Usable || d.Version != "2022.3.1" {
		t.Errorf("%+v", d)
	}
	works(t, r)
}

// lost wants a refusal that callers can branch on.
func lost(t *testing.T, err error) {
	t.Helper()
	enginetest.CheckRefusal(t, err, inference.CodeUnavailable)
	if !errors.Is(err, inference.ErrUnavailable) {
		t.Errorf("%v does not wrap ErrUnavailable", err)
	}
}

func works(t *testing.T, r *Runtime) {
	t.Helper()
	e, err := r.Openers()[Myriad](t.Context(), stickModel())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// A2: held by another process.
func TestFault_A2_StickBusy(t *testing.T) {
	m := newMachine(t)
	m.does(t, "busy")
	r := m.runtime()
	node, err := os.Open(r.Sticks()[0].Node)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	_, err = r.Openers()[Myriad](t.Context(), stickModel())
	lost(t, err)
	if !strings.Contains(err.Error(), fmt.Sprintf("(process %d); end the program that holds the stick", os.Getpid())) {
		t.Error(err)
	}
	m.does(t, "ok")
	works(t, r)
}

// A3: no library, no stick, a node that may not be opened, a stick that does not start, a library that does not know it: each has its own words.
func TestFault_A3_StickCannotBeUsed(t *testing.T) {
	m := newMachine(t)
	for name, c := range map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"no library":    {func(c *Config) { c.Getenv = env(nil) }, "HERON_OPENVINO_2022_LIB names none"},
		"wrong path":    {func(c *Config) { c.Getenv = env(map[string]string{library2022Env: "/nowhere/x.so"}) }, "OpenVINO is not at /nowhere/x.so"},
		"no stick":      {func(c *Config) { c.Sysfs = m.dir + "/none" }, "no Neural Compute Stick is on the USB"},
		"no node":       {func(c *Config) { c.Dev = m.dir + "/none" }, "the stick in port 1-2 may not be used"},
		"all of it":     {func(*Config) {}, ""},
		"does not boot": {func(*Config) { m.does(t, "absent") }, "Can not init Myriad device"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := m.runtime().conf
			m.does(t, "ok")
			c.spoil(&conf)
			r := New(conf)
			d := m.report(t, r)
			_, err := r.Openers()[Myriad](t.Context(), stickModel())
			if c.want == "" {
				if !d.Usable || err != nil {
					t.Errorf("%+v, %v", d, err)
				}
				return
			}
			if d.Usable || !strings.Contains(d.Reason, c.want) || d.NextStep == "" {
				t.Errorf("%+v; want %q", d, c.want)
			}
			lost(t, err)
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("opens with %v; want %q", err, c.want)
			}
		})
	}
}

// A4 and A5: a run that hangs heeds no context, and an abort takes the process along. Both cost one process, and the next one works.
func TestFault_A4_A5_StickHangsAndAborts(t *testing.T) {
	m := newMachine(t)
	m.does(t, "ok")
	hangs := startChild(t, m)
	hangs.answers(t)
	m.does(t, "hang")
	hangs.silent(t)
	if err := hangs.kill(); err == nil || err.(*exec.ExitError).Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v", err)
	}
	m.does(t, "ok")
	aborts := startChild(t, m)
	aborts.answers(t)
	m.does(t, "abort")
	if err := aborts.wait(t); err == nil {
		t.Error("the abort went unseen")
	}
	m.does(t, "ok")
	again := startChild(t, m)
	again.answers(t)
	_ = again.kill() // ends by the kill
}

// Rubbish is caught where answers are read, or by a golden picture; a slow stick is only slow.
func TestFault_M3_StickAnswersRubbish(t *testing.T) {
	m := newMachine(t)
	b, err := inference.ReadBundle(enginetest.Folder(t, Myriad, stickModel()), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := inference.OpenSlot(t.Context(), b, m.runtime().Openers(), inference.Opening{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pix := []byte{10, 200, 30}
	r, err := s.Classify(t.Context(), pix, 1, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	golden := inference.Golden{Top1: r.Top[0].Label, Score: r.Top[0].Score, Tolerance: 0.01}
	if err := s.CheckGolden(t.Context(), golden, pix, 1, 1, 3); err != nil {
		t.Error(err)
	}
	m.does(t, "wrong")
	enginetest.CheckRefusal(t, s.CheckGolden(t.Context(), golden, pix, 1, 1, 3), inference.CodeGolden)
	m.does(t, "nan")
	if _, err := s.Classify(t.Context(), pix, 1, 1, 3); !strings.Contains(fmt.Sprint(err), "NaN") {
		t.Error(err)
	}
	m.does(t, "slow 50")
	if r, err := s.Classify(t.Context(), pix, 1, 1, 3); err != nil || r.LatMS < 50 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A hundred times lost and back: no descriptor and no thread more.
func TestFault_A1_HundredCycles(t *testing.T) {
	m := newMachine(t)
	r := m.runtime()
	var fds, threads int
	for i := range 100 {
		e, err := r.Openers()[Myriad](t.Context(), stickModel())
		if err != nil {
			t.Fatal(err)
		}
		m.does(t, "absent")
		lost(t, e.Run(t.Context()))
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = r.Openers()[Myriad](t.Context(), stickModel())
		lost(t, err)
		m.does(t, "ok")
		if i == 20 {
			fds, threads = entries(t, "fd"), entries(t, "task")
		}
	}
	runtime.GC()
	if got := entries(t, "fd"); got > fds {
		t.Errorf("%d descriptors, %d after 20 cycles", got, fds)
	}
	if got := entries(t, "task"); got > threads+4 { // Go starts one now and then
		t.Errorf("%d threads, %d after 20 cycles", got, threads)
	}
}

func entries(t *testing.T, what string) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/" + what)
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// TestReportEndsWithItsContext: a driver that hangs is reported, not waited for.
func TestReportEndsWithItsContext(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := m.runtime()
	r.mu.Lock() // as if a library were being opened for ever
	defer r.mu.Unlock()
	for _, d := range r.Report(ctx) {
		if d.Usable || d.Reason == "" || d.NextStep == "" {
			t.Errorf("%+v", d)
		}
	}
}

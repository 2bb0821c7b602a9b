package cli

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"heron/agent/status"
)

// coral is a device whose sticks are the double of libedgetpu (inference/tflite/testdata): the real TensorFlow Lite, the real heron-vision.
type coral struct {
	field
	t              *testing.T
	control, sysfs string
	program        string // heron-vision
	number         int
}

// newCoral makes a device with one camera and one model that runs on a stick, in any of these ports, or on the CPU.
func newCoral(t *testing.T, ports ...string) *coral {
	t.Helper()
	slow(t)
	t.Parallel()
	root, err := filepath.Abs("../..")
	must(t, err)
	program := filepath.Join(root, "bin/heron-vision")
	if out, err := exec.Command(program, "--version").CombinedOutput(); err != nil {
		t.Skipf("needs bin/heron-vision (make build): %v %s", err, out)
	}
	data := filepath.Join(root, "../shared/testdata")
	if d := os.Getenv("HERON_TESTDATA"); d != "" {
		data = d
	}
	if _, err := os.Stat(data); err != nil {
		t.Skip("needs the test data: ", err)
	}
	lib, err := filepath.Glob(filepath.Join(root, "bin/lib/*tensorflowlite*.so*"))
	if err != nil || len(lib) == 0 {
		t.Skip("needs TensorFlow Lite in bin/lib (make build)")
	}
	c := &coral{field: newField(t, nobody, "testcard:"), t: t, program: program}
	c.control, c.sysfs = filepath.Join(c.dir, "does"), filepath.Join(c.dir, "sys")
	double := filepath.Join(c.dir, "libedgetpu.so.1")
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-o", double, filepath.Join(root, "inference/tflite/testdata/edgetpu.c")).CombinedOutput(); err != nil {
		t.Skipf("needs gcc for the double of libedgetpu: %v %s", err, out)
	}
	for _, name := range []string{"mobilenet_v1_0.25_128_quant.tflite", "mobilenet_v1_0.25_128_quant_edgetpu.tflite", "imagenet_labels.txt"} {
		b, err := os.ReadFile(filepath.Join(data, "models", name))
		must(t, err)
		c.write(t, "coral/"+name, string(b))
	}
	c.write(t, "coral/manifest.json", `{"v":1,"name":"imagenet","version":"1.0.0","labels":"imagenet_labels.txt",
		"engines":[{"engine":"edgetpu","file":"mobilenet_v1_0.25_128_quant_edgetpu.tflite"},{"engine":"tflite","file":"mobilenet_v1_0.25_128_quant.tflite"}],
		"input":{"width":128,"height":128,"layout":"NHWC","dtype":"uint8"},"output":{"kind":"probabilities","dtype":"uint8","quant":{"scale":0.00390625,"zero_point":0}}}`)
	b, err := os.ReadFile(c.conf)
	must(t, err)
	text := strings.ReplaceAll(string(b), "bundle: bundle", "bundle: coral")
	c.write(t, "heron.yaml", strings.ReplaceAll(text, fmt.Sprintf("command: %q", os.Args[0]), fmt.Sprintf("command: %q, engine_retry: 100ms", program)))
	for k, v := range map[string]string{"HERON_EDGETPU_LIB": double, "HERON_DOUBLE": c.control, "HERON_DOUBLE_SEES": "/sys/bus/usb/devices/" + strings.Join(ports, "\n/sys/bus/usb/devices/"), "HERON_SYSFS": c.sysfs} {
		c.env = append(c.env, k+"="+v)
	}
	for _, port := range ports {
		c.plug(port)
	}
	c.does("ok")
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// does changes what the sticks do from their next step on; where a port is named, what that one does.
func (c *coral) does(what string, port ...string) {
	c.write(c.t, "does.new", what)
	must(c.t, os.Rename(filepath.Join(c.dir, "does.new"), strings.Join(append([]string{c.control}, port...), ".")))
}

// plug puts a stick into its port; each time it gets another number.
func (c *coral) plug(port string) {
	c.number++
	for name, text := range map[string]string{"idVendor": "18d1", "idProduct": "9302", "busnum": "2", "devnum": strconv.Itoa(c.number)} {
		c.write(c.t, "sys/bus/usb/devices/"+port+"/"+name, text+"\n")
	}
	c.does("ok", port)
}

// pull takes a stick away while it does something.
func (c *coral) pull(port, what string) {
	c.does(what, port)
	must(c.t, os.RemoveAll(filepath.Join(c.sysfs, "bus/usb/devices", port)))
}

// on waits until the page's newest result comes from an engine, and says how long that took.
func (c *coral) on(engine string) time.Duration {
	c.t.Helper()
	t0 := time.Now()
	c.until(c.t, "results from "+engine, func(s *status.Snapshot) bool {
		l := s.Cameras[0].Last
		return s.Engine == engine && l != nil && l.Engine == engine && len(l.Top) > 0 && l.At.After(t0.Add(-100*time.Millisecond))
	})
	return time.Since(t0)
}

func TestFault_A1_A4_A5_StickFailsAndTheServiceGoesOn(t *testing.T) {
	c := newCoral(t, "2-1")
	s := c.start(t)
	c.on("edgetpu")
	for _, fault := range []string{"gone", "hang", "abort", "rubbish"} {
		c.pull("2-1", fault)
		took := c.on("tflite")
		snap := c.until(t, "the page names the engine that is missing", func(s *status.Snapshot) bool {
			return len(s.Models[0].Standby) == 1 && s.Models[0].Standby[0].Engine == "edgetpu" && strings.Contains(fmt.Sprint(s.Reasons), "engine-fallback")
		})
		if m := c.metrics(); !strings.Contains(m, `heron_engine_active{engine="tflite"} 1`) {
			t.Error("metrics do not name the engine in use")
		}
		c.plug("2-1")
		back := c.on("edgetpu")
		c.until(t, "nothing is missing", func(s *status.Snapshot) bool {
			return len(s.Models[0].Standby) == 0 && !strings.Contains(fmt.Sprint(s.Reasons), "engine-fallback")
		})
		t.Logf("%s: %s; results from the CPU after %.2f s, from the stick again after %.2f s", fault, snap.Models[0].Standby[0].Reason, took.Seconds(), back.Seconds())
	}
	if s.ProcessState != nil {
		t.Error("heron has ended")
	}
}

func (c *coral) metrics() string {
	r, err := http.Get("http://" + c.page + "/metrics")
	must(c.t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	must(c.t, err)
	return string(b)
}

// The long form (HERON_TORTURE) is the hundred cycles that the issue asks for.
func TestStickCyclesLeaveNothingBehind(t *testing.T) {
	cycles := 4
	if os.Getenv("HERON_TORTURE") != "" {
		cycles = 100
	}
	c := newCoral(t, "2-1")
	s := c.start(t)
	pid := s.Process.Pid
	var early holdings
	for i := range cycles {
		c.on("edgetpu")
		time.Sleep(700 * time.Millisecond) // a stick that works for a while is not one that flaps
		c.pull("2-1", []string{"gone", "abort", "hang", "rubbish"}[i%4])
		c.on("tflite")
		c.plug("2-1")
		if i == cycles/4 {
			early = usageOf(t, pid)
		}
	}
	c.on("edgetpu")
	late := usageOf(t, pid)
	t.Logf("after %d of %d cycles %+v, at the end %+v", cycles/4+1, cycles, early, late)
	if late.descriptors > early.descriptors+4 || late.threads > early.threads+6 || late.anonymous > early.anonymous+12<<10 {
		t.Errorf("grown: %+v → %+v", early, late)
	}
	if snap := c.snapshot(); snap == nil || snap.Vision.Fallbacks < uint64(cycles) || snap.Vision.Returns < uint64(cycles) {
		t.Errorf("counted otherwise: %+v", snap)
	}
}

// holdings is what a process holds.
type holdings struct{ descriptors, threads, anonymous int } // anonymous memory in kB

func usageOf(t *testing.T, pid int) (u holdings) {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	u.descriptors = len(list)
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
		switch key {
		case "Threads":
			u.threads = n
		case "RssAnon":
			u.anonymous = n
		}
	}
	return u
}

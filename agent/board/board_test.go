package board

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tree writes files below a new folder.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, dir, name, content)
	}
	return dir
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const word = "devices/platform/soc/soc:firmware/get_throttled"

func TestReadBoards(t *testing.T) {
	for _, c := range []struct {
		name  string
		sys   map[string]string
		zones []Zone
		cpu   string
		Throttle
	}{
		{name: "nothing"},
		{
			name:     "Raspberry Pi, fault R5",
			sys:      map[string]string{word: "0xE0008\n", "class/thermal/thermal_zone0/type": "cpu-thermal\n", "class/thermal/thermal_zone0/temp": "81234\n"},
			zones:    []Zone{{"cpu-thermal", 81.234}},
			cpu:      "cpu-thermal",
			Throttle: Throttle{yes(), no(), "soft temperature limit", []string{"frequency capped", "throttled", "soft temperature limit"}},
		},
		{name: "weak power", sys: map[string]string{word: "50005"}, Throttle: Throttle{yes(), yes(), "under-voltage, throttled", []string{"under-voltage", "throttled"}}},
		{name: "Raspberry Pi 5", sys: map[string]string{"devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "0\n"}, Throttle: Throttle{Throttled: no(), UnderVoltage: no()}},
		{name: "no word in the word", sys: map[string]string{word: "error=1"}},
		{
			name:     "the voltage alarm alone",
			sys:      map[string]string{"class/hwmon/hwmon1/name": "rpi_volt", "class/hwmon/hwmon1/in0_lcrit_alarm": "1\n", "class/hwmon/hwmon0/name": "other", "class/hwmon/hwmon0/in0_lcrit_alarm": "1"},
			Throttle: Throttle{UnderVoltage: yes(), Why: "the supply is below its lower critical voltage"},
		},
		{
			name: "Jetson",
			sys: map[string]string{
				"class/thermal/thermal_zone0/type": "CPU-therm", "class/thermal/thermal_zone0/temp": "52500",
				"class/thermal/thermal_zone1/type": "GPU-therm", "class/thermal/thermal_zone1/temp": "61000",
				"class/thermal/thermal_zone2/type": "PMIC-Die", "class/thermal/thermal_zone2/temp": "100000",
				"class/thermal/thermal_zone3/type": "cv0-thermal", "class/thermal/thermal_zone3/temp": "-256000",
				"class/thermal/thermal_zone4/type":   "cv1-thermal",
				"class/thermal/cooling_device0/type": "cpu-throttle-alert", "class/thermal/cooling_device0/cur_state": "1",
				"class/thermal/cooling_device1/type": "pwm-fan", "class/thermal/cooling_device1/cur_state": "3",
				"class/thermal/cooling_device2/type": "gpu-throttle-alert", "class/thermal/cooling_device2/cur_state": "0",
			},
			zones:    []Zone{{"GPU-therm", 61}, {"CPU-therm", 52.5}},
			cpu:      "CPU-therm",
			Throttle: Throttle{Throttled: yes(), Why: "cpu-throttle-alert is at work"},
		},
		{
			name: "PC with a Coral",
			sys: map[string]string{
				"class/thermal/thermal_zone0/type": "acpitz", "class/thermal/thermal_zone0/temp": "27800",
				"class/thermal/thermal_zone1/type": "acpitz", "class/thermal/thermal_zone1/temp": "29800",
				"class/thermal/thermal_zone2/type": "x86_pkg_temp", "class/thermal/thermal_zone2/temp": "64000",
				"class/apex/apex_0/temp": "71050\n",
				"devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "17",
			},
			zones:    []Zone{{"edgetpu", 71.05}, {"x86_pkg_temp", 64}, {"acpitz#2", 29.8}, {"acpitz", 27.8}},
			cpu:      "x86_pkg_temp",
			Throttle: Throttle{Throttled: no()},
		},
		{
			name:  "AMD without zones",
			sys:   map[string]string{"class/hwmon/hwmon0/name": "nvme", "class/hwmon/hwmon0/temp1_input": "90000", "class/hwmon/hwmon1/name": "k10temp", "class/hwmon/hwmon1/temp1_input": "48125"},
			zones: []Zone{{"k10temp", 48.125}}, cpu: "k10temp",
		},
	} {
		s := New(Config{Sysfs: tree(t, c.sys), Root: t.TempDir()}).Read(t.Context(), noon)
		if !reflect.DeepEqual(s.Zones, c.zones) {
			t.Errorf("%s: zones %+v, want %+v", c.name, s.Zones, c.zones)
		}
		if (s.CPU == nil) != (c.cpu == "") || s.CPU != nil && s.CPU.Name != c.cpu {
			t.Errorf("%s: CPU %+v, want %s", c.name, s.CPU, c.cpu)
		}
		if !reflect.DeepEqual(s.Throttle, c.Throttle) {
			t.Errorf("%s: %+v, want %+v", c.name, s.Throttle, c.Throttle)
		}
		if s.Since.IsZero() != !(isTrue(s.Throttled) || isTrue(s.UnderVoltage)) || s.Problem != "" {
			t.Errorf("%s: since %v, problem %q", c.name, s.Since, s.Problem)
		}
	}
}

func TestCountersTellThrottlingThatGoesOn(t *testing.T) {
	const count = "devices/system/cpu/cpu1/thermal_throttle/package_throttle_count"
	for _, name := range []string{count, "class/hwmon/hwmon3/oc1_event_cnt"} {
		sys := tree(t, map[string]string{name: "17"})
		r, now := New(Config{Sysfs: sys, Root: t.TempDir()}), noon
		for i, c := range []struct {
			count int
			want  bool
		}{{17, false}, {17, false}, {18, true}, {18, true}, {18, true}, {18, true}, {18, true}, {18, false}, {20, true}, {0, true}} {
			write(t, sys, name, strconv.Itoa(c.count))
			s := r.Read(t.Context(), now.Add(time.Duration(i)*time.Second))
			if s.Throttled == nil || *s.Throttled != c.want {
				t.Errorf("%s, second %d: %v, want %v", name, i, s.Throttled, c.want)
			}
			if i == 6 && !s.Since.Equal(now.Add(2*time.Second)) {
				t.Errorf("since %v", s.Since)
			}
		}
	}
}

func TestVcgencmdIsAskedWhereSysfsIsSilent(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "vcgencmd")
	ask := func(script, model string) State {
		if err := os.WriteFile(tool, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
		root := tree(t, map[string]string{"proc/device-tree/model": model + "\x00"})
		return New(Config{Sysfs: t.TempDir(), Root: root, Vcgencmd: tool, Timeout: 20 * time.Second}).Read(t.Context(), noon)
	}
	const pi = "Raspberry Pi 4 Model B Rev 1.4"
	if s := ask(`test "$1" = get_throttled && echo throttled=0x50005`, pi); !isTrue(s.Throttled) || !isTrue(s.UnderVoltage) {
		t.Errorf("%+v", s)
	}
	for name, s := range map[string]State{"fails": ask("echo throttled=0x50005; exit 1", pi), "says nonsense": ask("echo VCHI initialization failed", pi), "on another board": ask("echo throttled=0x50005", "NVIDIA Jetson")} {
		if s.Throttled != nil || s.UnderVoltage != nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestVcgencmdThatHangsIsKilled(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "vcgencmd")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho $$ > "+dir+"/pid\nexec sleep 600\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	root := tree(t, map[string]string{"proc/device-tree/model": "Raspberry Pi 3"})
	r := New(Config{Sysfs: t.TempDir(), Root: root, Vcgencmd: tool, Timeout: 4 * time.Second})
	if s := r.Read(t.Context(), noon); s.Throttled != nil {
		t.Errorf("%+v", s)
	}
	b, err := os.ReadFile(dir + "/pid")
	if err != nil {
		t.Skip("the machine is too slow to start a shell in two seconds") // then nothing was left behind either
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err == nil && syscall.Kill(pid, 0) == nil {
		t.Error("the tool still runs")
	}
}

// A FIFO that nobody writes to is a sensor that hangs.
func TestSensorThatHangsCostsTheReadingNotTheReader(t *testing.T) {
	sys := tree(t, map[string]string{"class/thermal/thermal_zone0/type": "cpu-thermal"})
	hung := filepath.Join(sys, "class/thermal/thermal_zone0/temp")
	if err := syscall.Mkfifo(hung, 0o600); err != nil {
		t.Skipf("no FIFO here: %v", err)
	}
	r := New(Config{Sysfs: sys, Root: t.TempDir(), Timeout: 50 * time.Millisecond})
	for i := range 3 {
		s := r.Read(t.Context(), noon.Add(time.Duration(i)*time.Minute))
		if len(s.Zones) != 0 || s.Throttled != nil || !strings.Contains(s.Problem, "has not answered for "+(time.Duration(i)*time.Minute).String()) {
			t.Errorf("reading %d: %+v", i, s)
		}
	}
	f, err := os.OpenFile(hung, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString("40000\n")
	f.Close()
	for end := time.Now().Add(20 * time.Second); ; {
		if s := r.Read(t.Context(), noon); s.Problem == "" {
			if len(s.Zones) != 1 || s.Zones[0].C != 40 {
				t.Errorf("%+v", s)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("the reader never came back")
		}
	}
}

func TestQuotaAndClocks(t *testing.T) {
	const stat = "fs/cgroup/system.slice/heron.service/cpu.stat"
	root := tree(t, map[string]string{"proc/self/cgroup": "0::/system.slice/heron.service\n"})
	sys := tree(t, map[string]string{"devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "600000", "devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "1800000"})
	r := New(Config{Sysfs: sys, Root: root})
	read := func(content string) *float64 {
		write(t, sys, stat, content)
		return r.Read(context.Background(), noon).Starved
	}
	if s := r.Read(t.Context(), noon); s.MHz != 600 || s.MaxMHz != 1800 || s.Starved != nil {
		t.Errorf("%+v", s)
	}
	for _, c := range []struct {
		content string
		want    float64 // −1 is unknown
	}{
		{"usage_usec 1\n", -1},
		{"nr_periods 100\nnr_throttled 50\nthrottled_usec 9\n", -1},
		{"nr_periods 110\nnr_throttled 59\n", 0.9},
		{"nr_periods 112\nnr_throttled 61\n", -1},
		{"nr_periods 120\nnr_throttled 61\n", 0.2},
		{"nr_periods 3\nnr_throttled 3\n", -1},
		{"nr_periods 13\nnr_throttled 3\n", 0},
		{"nr_periods x\nnr_throttled 3\n", -1},
	} {
		if got := read(c.content); (got == nil) != (c.want < 0) || got != nil && *got != c.want {
			t.Errorf("%q: %v, want %v", c.content, got, c.want)
		}
	}
	for own, want := range map[string]bool{"0::/": true, "1:cpu:/a\n0::/b\n": true, "0::/../../etc\n": false, "": false, "0::relative": false} {
		if _, ok := unified(own); ok != want {
			t.Errorf("%q: %v", own, ok)
		}
	}
}

// What stands in /sys comes from drivers: nothing in it may do harm.
func FuzzParsers(f *testing.F) {
	for _, s := range []string{"0xE0008", "throttled=0x50005\n", "50005", "", "81234", "-256000", "9223372036854775808", "nr_periods 5\nnr_throttled 3\n", "0::/a/b\n"} {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, s string) {
		if th, ok := parseThrottled(s); ok {
			if th.Throttled == nil || th.UnderVoltage == nil || len(th.SinceBoot) > 4 || (th.Why != "") != (*th.Throttled || *th.UnderVoltage) {
				t.Fatalf("%q: %+v", s, th)
			}
		} else if th.Throttled != nil || th.UnderVoltage != nil {
			t.Fatalf("%q: unknown, and yet %+v", s, th)
		}
		if c, ok := parseMilli(s); ok && !(c > coldest && c < hottest) {
			t.Fatalf("%q: %v °C", s, c)
		}
		if p, th, ok := parseQuota(s); ok && (p < 0 || th < 0) {
			t.Fatalf("%q: %v %v", s, p, th)
		}
		if path, ok := unified(s); ok && !strings.HasPrefix(filepath.Join("/r", path), "/r") {
			t.Fatalf("%q: %q", s, path)
		}
		for _, r := range plain(s) {
			if r <= ' ' || r > '~' {
				t.Fatalf("%q", plain(s))
			}
		}
		write(t, dir, "class/thermal/thermal_zone0/type", s)
		write(t, dir, "class/thermal/thermal_zone0/temp", "40000")
		if z := New(Config{Sysfs: dir, Root: dir}).zones(); len(z) > 1 {
			t.Fatalf("%+v", z)
		}
	})
}

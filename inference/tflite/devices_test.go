package tflite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
)

// tree writes a sysfs: path → content.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stick is a Coral's entry in sysfs.
func stick(port, vendor, product, devnum string) map[string]string {
	at := "bus/usb/devices/" + port + "/"
	return map[string]string{at + "idVendor": vendor, at + "idProduct": product, at + "busnum": "2", at + "devnum": devnum}
}

func TestDevices(t *testing.T) {
	files := map[string]string{"class/apex/apex_0/temp": "45750", "bus/usb/devices/1-1/idVendor": "046d", "bus/usb/devices/1-1/idProduct": "0825"}
	for _, s := range []map[string]string{stick("2-1.4", "18d1", "9302", "5"), stick("2-2", "1a6e", "089a", "17")} {
		for k, v := range s {
			files[k] = v
		}
	}
	want := []Device{{"usb:2-1.4", "/dev/bus/usb/002/005", true, 0}, {"usb:2-2", "/dev/bus/usb/002/017", false, 0}, {"pci:0", "/dev/apex_0", true, 45.75}}
	t.Setenv(sysfsEnv, tree(t, files))
	got := Devices()
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v; want %+v", got[i], want[i])
		}
	}
	if err := noDevice(got, ""); err != nil {
		t.Error(err)
	}
	err := noDevice(got, "usb:9-9")
	enginetest.CheckRefusal(t, err, inference.CodeUnavailable)
	if !strings.Contains(err.Error(), "no Edge TPU is at usb:9-9; there is usb:2-1.4, usb:2-2, pci:0") {
		t.Error(err)
	}
	if err := noDevice(nil, "usb:2-2"); !strings.Contains(err.Error(), "no Edge TPU is at usb:2-2; none is attached") {
		t.Error(err)
	}
	for _, d := range got {
		if engine, device, err := inference.ParseChoice(inference.Choice("edgetpu", d.Name)); err != nil || engine != "edgetpu" || device != d.Name {
			t.Errorf("%s cannot be written into a configuration: %q %q %v", d.Name, engine, device, err)
		}
	}
}

func TestReportWithNothingAttached(t *testing.T) {
	t.Setenv(sysfsEnv, t.TempDir())
	r := Report(t.Context())
	if len(r) != 2 || r[0].Engine != "tflite" || r[1].Engine != "edgetpu" {
		t.Fatalf("%+v", r)
	}
	if e := r[1]; e.Present || e.Usable || !strings.Contains(e.Reason, "no Edge TPU is attached") || e.NextStep == "" {
		t.Errorf("%+v", e)
	}
	if e := r[0]; e.Usable == (e.Reason != "") || !e.Usable && e.NextStep == "" {
		t.Errorf("%+v", e)
	}
}

func TestOption(t *testing.T) {
	seen := "/sys/bus/usb/devices/2-1.4\n/dev/apex_0\n/sys/bus/usb/devices/2-2\n"
	for name, want := range map[string]string{"": "", "usb:2-1.4": "usb:0", "usb:2-2": "usb:1", "pci:0": "pci:0"} {
		if got, ok := option(name, seen); !ok || got != want {
			t.Errorf("%s: %q, %v; want %q", name, got, ok, want)
		}
	}
	if got, ok := option("usb:3-1", seen); ok {
		t.Errorf("a stick that is not there: %q", got)
	}
}

// TestA2WhyNot: a device that is there and cannot be had: in use, no rights, no node.
func TestA2A3WhyNot(t *testing.T) {
	node := filepath.Join(t.TempDir(), "005")
	if err := os.WriteFile(node, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	proc := tree(t, map[string]string{"4711/comm": "frigate", "4711/fd/0": ""})
	if err := os.Symlink(node, filepath.Join(proc, "4711/fd/9")); err != nil {
		t.Fatal(err)
	}
	ds := []Device{{Name: "usb:2-1", Node: node}}
	check := func(proc, want string) {
		t.Helper()
		if what, next := whyNot(proc, ds); !strings.Contains(what, want) || next == "" {
			t.Errorf("says %q, %q; want %q", what, next, want)
		}
	}
	check(proc, "usb:2-1 is in use by process 4711 (frigate)")
	check(t.TempDir(), "another process")
	ds[0].Node += "x"
	check(proc, "does not exist")
	if os.Getuid() == 0 {
		t.Log("as root every file opens: the case without rights is left out")
		return
	}
	ds[0].Node = node
	if err := os.Chmod(node, 0); err != nil {
		t.Fatal(err)
	}
	check(proc, "may not open")
}

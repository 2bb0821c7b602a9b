package openvino

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSticks: both faces of a stick are found, other devices are not, and one that goes away while it is read is left out.
func TestSticks(t *testing.T) {
	sys := t.TempDir()
	for port, attributes := range map[string]map[string]string{
		"1-1":     {"idVendor": "03e7", "idProduct": "2485", "busnum": "1", "devnum": "4"},
		"2-1.3":   {"idVendor": "03e7", "idProduct": "f63b", "busnum": "2", "devnum": "17"},
		"1-2":     {"idVendor": "046d", "idProduct": "0825", "busnum": "1", "devnum": "5"},
		"1-3":     {"idVendor": "03e7", "idProduct": "2150", "busnum": "1", "devnum": "6"}, // the first generation, which 2022.3.1 does not drive
		"1-4":     {"idProduct": "2485"},
		"1-1:1.0": {},
	} {
		dir := filepath.Join(sys, "bus/usb/devices", port)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, v := range attributes {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(v+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := New(Config{Getenv: env(nil), Sysfs: sys}).Sticks()
	want := []Stick{{"1-1", false, "/dev/bus/usb/001/004"}, {"2-1.3", true, "/dev/bus/usb/002/017"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v; want %+v", got, want)
	}
	moved := New(Config{Getenv: env(map[string]string{"HERON_SYSFS": sys})})
	if len(moved.Sticks()) != 2 || len(New(Config{Getenv: env(nil), Sysfs: sys + "/none"}).Sticks()) != 0 {
		t.Error("the root does not move")
	}
}

// TestPresence: a stick that changes its face leaves the bus for a moment; that is no unplug.
func TestPresence(t *testing.T) {
	var p Presence
	unbooted, booted := []Stick{{Port: "1-2"}}, []Stick{{Port: "2-2", Booted: true}}
	for i, c := range []struct {
		at     time.Duration
		sticks []Stick
		want   bool
	}{
		{0, nil, false}, {1 * time.Second, unbooted, true}, {2 * time.Second, nil, true}, {3 * time.Second, booted, true},
		{60 * time.Second, booted, true}, {62 * time.Second, nil, true}, {64 * time.Second, unbooted, true}, // its program ended
		{73 * time.Second, nil, true}, {75 * time.Second, nil, false}, {80 * time.Second, booted, true},
	} {
		if got := p.Update(time.Unix(1000, 0).Add(c.at), c.sticks); got != c.want {
			t.Errorf("step %d, at %v: %v", i, c.at, got)
		}
	}
}

// Command vm runs inside the machine that scripts/test-vm.sh starts: it makes the faults of a V4L2 camera (the kernel's test driver vivid) and
// judges by the local page's JSON what the real heron and heron-vision do about them. It prints one line a case:
//
//	ok NAME SECONDS what was measured
//	not ok NAME SECONDS why
//
// It is root there; heron runs as an ordinary user of the group video, as it does on a device. All times are those of the machine inside.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// testCase is one fault and what must hold; what it returns is what was measured.
type testCase struct {
	name string
	run  func(*rig) (string, error)
}

func cases() []testCase {
	return []testCase{
		{"list", list},
		{"test", trial},
		{"controls", controls},
		{"frames", frames},
		{"stall", stall},
		{"error", streamError},
		{"unplug", unplug},
		{"renumber-usb", func(r *rig) (string, error) { return renumber(r, "usb:"+cameraName) }},
		{"renumber-v4l2", func(r *rig) (string, error) { return renumber(r, "v4l2:/dev/video0") }},
		{"renumber-decoy", decoy},
		{"busy", busy},
		{"denied", denied},
		{"oom", outOfMemory},
		{"starved", starved},
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "names" {
		for _, c := range cases() {
			fmt.Println(c.name)
		}
		return
	}
	if os.Getpid() == 1 || os.Getenv("HERON_VM") == "" {
		fmt.Fprintln(os.Stderr, "vm: unloads kernel modules and reboots nothing, but belongs inside the machine of make test-vm only")
		os.Exit(2)
	}
	bad := 0
	for _, c := range chosen(os.Args[1:]) {
		if !one(c) {
			bad++
		}
	}
	fmt.Printf("end %d\n", bad)
}

// chosen are the cases that are named, in their own order; all without names.
func chosen(names []string) []testCase {
	return slices.DeleteFunc(cases(), func(c testCase) bool { return len(names) > 0 && !slices.Contains(names, c.name) })
}

// one runs a case and cleans up after it, whatever it left.
func one(c testCase) bool {
	began := time.Now()
	r := &rig{name: c.name, dir: "/run/" + c.name}
	fmt.Fprintf(os.Stderr, "\n==== %s\n", c.name)
	said, err := c.run(r)
	if cerr := r.clean(); err == nil {
		err = cerr
	}
	took := time.Since(began).Seconds()
	if err != nil {
		fmt.Printf("not ok %s %.1f %s\n", c.name, took, oneLine(err.Error()))
		return false
	}
	fmt.Printf("ok %s %.1f %s\n", c.name, took, oneLine(said))
	return true
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Package measure is what the benchmark programs share: what a process costs, what a disk was given, what a link carried,
// a broker to send to, and one JSON line a figure.
package measure

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Figures is one line of results.jsonl; "figure" names it.
type Figures map[string]any

// Print writes f as one JSON line on stdout.
func (f Figures) Print() {
	b, err := json.Marshal(map[string]any(f))
	Must(err)
	fmt.Println(string(b))
}

// Must ends the program on an error: these are measuring tools, not services.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Log writes progress to stderr.
func Log(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// CPU is the user and system time of a process and its threads so far, in seconds. The kernel counts in steps of 10 ms.
func CPU(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}

// Memory of a process in MB (10^6).
type Memory struct{ Resident, Anonymous, Peak float64 }

// MemoryOf reads /proc/PID/status; zero when the process is gone.
func MemoryOf(pid int) Memory {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}
	}
	return Memory{field(b, "VmRSS:"), field(b, "RssAnon:"), field(b, "VmHWM:")}
}

func field(b []byte, name string) float64 {
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			n, _ := strconv.ParseFloat(f[1], 64)
			return Round(n*1024/1e6, 1)
		}
	}
	return 0
}

// Child finds a child of pid by its program's name; 0 is none.
func Child(pid int, name string) int {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		for _, c := range strings.Fields(string(b)) {
			comm, _ := os.ReadFile("/proc/" + c + "/comm")
			if strings.TrimSpace(string(comm)) == name {
				n, _ := strconv.Atoi(c)
				return n
			}
		}
	}
	return 0
}

// Round keeps so many decimals.
func Round(v float64, decimals int) float64 {
	p := math.Pow10(decimals)
	return math.Round(v*p) / p
}

// Median of the values; NaN of none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Until polls for a condition; false when it has not come true within limit.
func Until(limit time.Duration, done func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}

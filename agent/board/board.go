// Package board says how the board under Heron fares (heat, throttling, power, CPU quota) and how many frames it can bear.
//
// A Reader reads it from /sys; a Governor turns what was read, and how long inference takes, into a rate for each camera.
// What a board does not tell is unknown: absent, never zero.
package board

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config moves the roots, for tests.
type Config struct {
	Sysfs     string // default HERON_SYSFS, else /sys
	Root      string // default HERON_ROOT, else /; for /proc
	Vcgencmd  string // default: found on PATH where the board is a Raspberry Pi
	Timeout   time.Duration
	ReadEvery time.Duration // of vcgencmd, which starts a process; default 5 s
}

// Zone is one temperature.
type Zone struct {
	Name string
	C    float64 // °C
}

// Throttle says what a board does against heat or weak power; nil is unknown.
type Throttle struct {
	Throttled    *bool    // the firmware or the kernel holds the clocks back now
	UnderVoltage *bool    // the supply is too weak now
	Why          string   // of Throttled or UnderVoltage, in words
	SinceBoot    []string // what has happened since the board started
}

// State is what one reading found.
type State struct {
	At    time.Time
	Zones []Zone // hottest first
	CPU   *Zone  // that of the CPU, where the board names one
	Throttle
	Since   time.Time // since when Throttled or UnderVoltage has held; zero while neither does
	MHz     float64   // of the fastest core now; 0 is unknown
	MaxMHz  float64   // … and what it can do
	Starved *float64  // share of time slices, 0…1, in which Heron's cgroup ran out of its CPU quota
	Problem string    // the board did not answer in time, and since when
}

// Hottest is the hottest zone; false where no temperature is known.
func (s *State) Hottest() (Zone, bool) {
	if len(s.Zones) == 0 {
		return Zone{}, false
	}
	return s.Zones[0], true
}

// Reader reads the board. One goroutine calls Read.
type Reader struct {
	conf  Config
	pi    bool
	asked time.Time // when vcgencmd was
	told  Throttle  // … and what it said

	counts  map[string]uint64 // throttle counters by file, at the reading before
	raised  time.Time         // when one of them last grew
	quota   quota
	since   time.Time
	pending chan State // a reading that did not end in time
	begun   time.Time  // … and when it began
}

// New makes a Reader; nothing is read yet.
func New(c Config) *Reader {
	c.Sysfs = cmp.Or(c.Sysfs, os.Getenv("HERON_SYSFS"), "/sys")
	c.Root = cmp.Or(c.Root, os.Getenv("HERON_ROOT"), "/")
	c.Timeout = cmp.Or(c.Timeout, 2*time.Second)
	c.ReadEvery = cmp.Or(c.ReadEvery, 5*time.Second)
	return &Reader{conf: c, counts: map[string]uint64{}}
}

// Read reads everything. A sensor that does not answer in time costs the reading, and no second one is begun beside it:
// nothing can end a read that hangs in a driver, so its goroutine stays until the driver lets go.
func (r *Reader) Read(ctx context.Context, now time.Time) State {
	if r.pending == nil {
		done := make(chan State, 1)
		r.pending, r.begun = done, now
		go func() { done <- r.read(ctx, now) }()
	}
	timer := time.NewTimer(r.conf.Timeout)
	defer timer.Stop()
	select {
	case s := <-r.pending:
		r.pending = nil
		s.At = now
		return s
	case <-timer.C:
	case <-ctx.Done():
	}
	return State{At: now, Problem: "a sensor has not answered for " + now.Sub(r.begun).Round(time.Second).String()}
}

// read is one whole reading.
func (r *Reader) read(ctx context.Context, now time.Time) State {
	s := State{Zones: r.zones()}
	slices.SortStableFunc(s.Zones, func(a, b Zone) int { return cmp.Compare(b.C, a.C) })
	s.CPU = cpuZone(s.Zones)
	s.Throttle = r.throttle(ctx, now)
	if isTrue(s.Throttled) || isTrue(s.UnderVoltage) {
		if r.since.IsZero() {
			r.since = now
		}
	} else {
		r.since = time.Time{}
	}
	s.Since = r.since
	s.MHz, s.MaxMHz = r.clocks()
	s.Starved = r.quota.read(r.conf)
	return s
}

func isTrue(b *bool) bool { return b != nil && *b }

// glob lists files below /sys, in order.
func (r *Reader) glob(pattern string) []string {
	list, _ := filepath.Glob(filepath.Join(r.conf.Sysfs, pattern)) // the patterns are ours
	return list
}

// maxFile bounds what is read of one file: none of them is longer than a page.
const maxFile = 4096

// text is a small file's content without blanks around it; an error where it is absent or longer.
func text(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, maxFile)
	n, err := f.Read(b)
	if n == 0 && err != nil {
		return "", err
	}
	if n == maxFile {
		return "", errTooLong
	}
	return strings.Trim(string(b[:n]), " \t\r\n\x00"), nil
}

var errTooLong = errors.New("longer than a page")

// number reads a file that holds one.
func number(path string) (float64, bool) {
	s, err := text(path)
	if err != nil {
		return 0, false
	}
	return parseNumber(s)
}

// parseNumber reads an integer as the kernel writes it.
func parseNumber(s string) (float64, bool) {
	v, err := strconv.ParseInt(s, 10, 64)
	return float64(v), err == nil
}

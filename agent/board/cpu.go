package board

import (
	"path/filepath"
	"strconv"
	"strings"
)

// clocks are the fastest core's clock and its maximum, MHz: a hint for people; a slow clock may just be an idle one.
func (r *Reader) clocks() (now, most float64) {
	for _, dir := range r.glob("devices/system/cpu/cpufreq/policy*") {
		if v, ok := number(filepath.Join(dir, "scaling_cur_freq")); ok {
			now = max(now, v/1000)
		}
		if v, ok := number(filepath.Join(dir, "cpuinfo_max_freq")); ok {
			most = max(most, v/1000)
		} else if v, ok := number(filepath.Join(dir, "scaling_max_freq")); ok {
			most = max(most, v/1000)
		}
	}
	return now, most
}

// quota watches how often Heron's cgroup runs out of its CPU quota.
type quota struct {
	known              bool
	periods, throttled float64
}

// leastPeriods is how many time slices (of 100 ms) must have passed between two readings for a share to mean something.
const leastPeriods = 5

// read is the share of time slices since the reading before in which the quota ran out; nil where there is no quota or too little passed.
func (q *quota) read(c Config) *float64 {
	own, err := text(filepath.Join(c.Root, "proc/self/cgroup"))
	if err != nil {
		return nil
	}
	path, ok := unified(own)
	if !ok {
		return nil
	}
	stat, err := text(filepath.Join(c.Sysfs, "fs/cgroup", path, "cpu.stat"))
	if err != nil {
		return nil
	}
	periods, throttled, ok := parseQuota(stat)
	if !ok {
		return nil
	}
	before := *q
	if dp := periods - before.periods; before.known && dp >= 0 && dp < leastPeriods {
		return nil // the next reading counts from the same one
	}
	*q = quota{true, periods, throttled}
	dp, dt := periods-before.periods, throttled-before.throttled
	if !before.known || dp < leastPeriods || dt < 0 {
		return nil
	}
	share := min(dt/dp, 1)
	return &share
}

// unified is this process's cgroup in version 2: the line 0::/path. A path that climbs is not followed.
func unified(own string) (string, bool) {
	for line := range strings.Lines(own) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path, strings.HasPrefix(path, "/") && !strings.Contains(path, "..")
		}
	}
	return "", false
}

// parseQuota reads nr_periods and nr_throttled of cpu.stat; false where there is no quota.
func parseQuota(stat string) (periods, throttled float64, ok bool) {
	found := 0
	for line := range strings.Lines(stat) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			continue
		}
		switch key {
		case "nr_periods":
			periods, found = float64(v), found|1
		case "nr_throttled":
			throttled, found = float64(v), found|2
		}
	}
	return periods, throttled, found == 3
}

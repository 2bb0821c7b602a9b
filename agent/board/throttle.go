package board

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Bits of the Raspberry Pi firmware's word: now, and 16 higher the same since the board started.
const (
	bitUnderVoltage = 1 << iota
	bitCapped
	bitThrottled
	bitSoftLimit
)

var bitNames = []struct {
	bit  uint32
	name string
}{{bitUnderVoltage, "under-voltage"}, {bitCapped, "frequency capped"}, {bitThrottled, "throttled"}, {bitSoftLimit, "soft temperature limit"}}

// parseThrottled reads the firmware's word: hexadecimal, as 50005 (sysfs), 0x50005, or throttled=0x50005 (vcgencmd).
func parseThrottled(s string) (Throttle, bool) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "throttled=")
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 32)
	if err != nil {
		return Throttle{}, false
	}
	word := uint32(v)
	throttled, under := word&(bitCapped|bitThrottled|bitSoftLimit) != 0, word&bitUnderVoltage != 0
	t := Throttle{Throttled: &throttled, UnderVoltage: &under}
	var now []string
	for _, b := range bitNames {
		if word&b.bit != 0 {
			now = append(now, b.name)
		}
		if word&(b.bit<<16) != 0 {
			t.SinceBoot = append(t.SinceBoot, b.name)
		}
	}
	t.Why = strings.Join(now, ", ")
	return t, true
}

// throttle asks every source that this board has. Where several speak of one thing, trouble in one is trouble.
func (r *Reader) throttle(ctx context.Context, now time.Time) (t Throttle) {
	if t, ok := r.firmware(ctx, now); ok {
		return t
	}
	for _, path := range r.glob("class/hwmon/hwmon*/in0_lcrit_alarm") {
		if name, err := text(filepath.Join(filepath.Dir(path), "name")); err == nil && name == "rpi_volt" {
			if v, ok := number(path); ok {
				t.under(v != 0, "the supply is below its lower critical voltage")
			}
		}
	}
	for _, dir := range r.glob("class/thermal/cooling_device*") {
		kind, err := text(filepath.Join(dir, "type"))
		v, ok := number(filepath.Join(dir, "cur_state"))
		if err == nil && ok && holdsClocks(kind) {
			t.throttled(v > 0, plain(kind)+" is at work")
		}
	}
	r.counters(&t, now)
	return t
}

// holdsClocks tells cooling devices that slow the processor down from fans.
func holdsClocks(kind string) bool {
	return strings.HasSuffix(kind, "throttle-alert") || strings.HasPrefix(kind, "thermal-cpufreq") || strings.HasPrefix(kind, "cpufreq-")
}

func (t *Throttle) throttled(yes bool, why string) { t.note(&t.Throttled, yes, why) }
func (t *Throttle) under(yes bool, why string)     { t.note(&t.UnderVoltage, yes, why) }

func (t *Throttle) note(fact **bool, yes bool, why string) {
	if yes && !isTrue(*fact) {
		if t.Why != "" {
			t.Why += ", "
		}
		t.Why += why
	}
	both := yes || isTrue(*fact)
	*fact = &both
}

// counterHold is how long a counter that grew stands for "now": throttling comes in bursts.
const counterHold = 5 * time.Second

// counters watches counters of throttling: those of Intel's processors and those of a Jetson's over-current and heat alerts.
func (r *Reader) counters(t *Throttle, now time.Time) {
	known := false
	for _, pattern := range []string{"devices/system/cpu/cpu[0-9]*/thermal_throttle/package_throttle_count",
		"class/hwmon/hwmon*/oc*_event_cnt", "class/hwmon/hwmon*/oc*_throt_cnt", "class/hwmon/hwmon*/device/oc*_throt_cnt"} {
		for _, path := range r.glob(pattern) {
			v, ok := number(path)
			if !ok || v < 0 {
				continue
			}
			known = true
			if before, seen := r.counts[path]; seen && uint64(v) > before {
				r.raised = now
			}
			r.counts[path] = uint64(v)
		}
	}
	if known {
		t.throttled(!r.raised.IsZero() && now.Sub(r.raised) < counterHold, "its throttle counter grows")
	}
}

// firmware is what the Raspberry Pi's firmware says: by sysfs; else by its own tool, where /sys has no alarm of the supply either.
func (r *Reader) firmware(ctx context.Context, now time.Time) (Throttle, bool) {
	for _, path := range r.glob("devices/platform/soc*/*firmware/get_throttled") {
		if s, err := text(path); err == nil {
			if t, ok := parseThrottled(s); ok {
				return t, true
			}
		}
	}
	if !r.onPi() {
		return Throttle{}, false
	}
	if r.asked.IsZero() || now.Sub(r.asked) >= r.conf.ReadEvery {
		r.asked, r.told = now, Throttle{}
		if t, ok := r.vcgencmd(ctx); ok {
			r.told = t
		}
	}
	return r.told, r.told.Throttled != nil
}

func (r *Reader) onPi() bool {
	if r.pi {
		return true
	}
	model, err := text(filepath.Join(r.conf.Root, "proc/device-tree/model"))
	r.pi = err == nil && strings.Contains(model, "Raspberry Pi")
	return r.pi
}

// vcgencmd asks the Raspberry Pi's own tool.
func (r *Reader) vcgencmd(ctx context.Context) (Throttle, bool) {
	path := r.conf.Vcgencmd
	if path == "" {
		var err error
		if path, err = exec.LookPath("vcgencmd"); err != nil {
			return Throttle{}, false
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.conf.Timeout/2)
	defer cancel()
	c := exec.CommandContext(ctx, path, "get_throttled")
	c.WaitDelay = r.conf.Timeout / 4
	out, err := c.Output()
	if err != nil || len(out) > maxFile {
		return Throttle{}, false
	}
	return parseThrottled(string(out))
}

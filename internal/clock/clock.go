// Package clock tells what wall time cannot: time since boot, which boot this is, and whether the wall clock is synchronised.
package clock

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is CLOCK_BOOTTIME: it goes on during suspend and never steps.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// BootID is the first six characters of the kernel's boot id, enough to tell one boot from the next on one device.
var BootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	id := strings.ReplaceAll(strings.TrimSpace(string(b)), "-", "")
	if err != nil || len(id) < 6 {
		return "000000"
	}
	return id[:6]
})

// Quality says how far the wall clock can be trusted.
type Quality struct {
	Sync  bool  `json:"sync"`             // the kernel says that something disciplines it (adjtimex)
	ErrMS int64 `json:"err_ms,omitempty"` // the kernel's estimate of the maximum error; meaningless when not in sync
}

// Now reads the clock's quality from the kernel.
func Now() Quality {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil || state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return Quality{}
	}
	return Quality{Sync: true, ErrMS: (int64(t.Maxerror) + 999) / 1000}
}

// Sleep waits for d, which may be none. It says whether ctx is still going on.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

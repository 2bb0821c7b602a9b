package budget

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever clocks and power do: a day's budget is not given more often than once in 22 hours of measured time (the first is there at the
// start), not a byte is forgotten in a kill and at most a block a kill is lost, and after 25 hours of measured time the next budget is there.
func TestNothingForFreeAndNothingForEver(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := newDevice(t, Config{PerDay: mib, Path: filepath.Join(memory(t), "budget")})
		given, _ := d.spend(1)                // the ledger is there
		kills, real := int64(0), 12*time.Hour // it is installed at noon
		actions := map[string]func(*rapid.T){
			"spend": func(rt *rapid.T) {
				got, _ := d.spend(rapid.Int64Range(1, 2*mib).Draw(rt, "bytes"))
				given += got
			},
			"pass": func(rt *rapid.T) {
				h := time.Duration(rapid.Int64Range(1, 30*60).Draw(rt, "minutes")) * time.Minute
				real += h
				d.pass(h)
			},
			"kill": func(*rapid.T) { kills++; d.kill() },
			"end":  func(*rapid.T) { d.end() },
			"step of the clock": func(rt *rapid.T) {
				if !d.synced { // what it shows when it is in sync again is believed to be the time that the device was off
					rt.Skip()
				}
				d.b.Check(t.Context())
				d.wall = d.wall.Add(time.Duration(rapid.Int64Range(-24*400, 24*400).Draw(rt, "hours")) * time.Hour)
				d.b.Check(t.Context())
			},
			"sync": func(rt *rapid.T) { d.synced = rapid.Bool().Draw(rt, "synced") },
			"off": func(rt *rapid.T) {
				h := time.Duration(rapid.Int64Range(0, 72).Draw(rt, "hours")) * time.Hour
				real += h
				d.off(h)
				d.b.Check(t.Context())
			},
		}
		rt.Repeat(actions)
		if most := mib * (1 + int64(real/dayLeast)); given > most {
			rt.Fatalf("%d bytes in %v of measured time, at most %d may be", given, real, most)
		}
		if s := d.b.State(); s.Day < 0 {
			rt.Fatalf("%+v", s)
		}
		d.pass(dayMost)
		if got, why := d.spend(mib - kills*block); got < mib-kills*block-ask && kills < 4 {
			rt.Fatalf("after a day without a byte: %d bytes, then %q", got, why)
		}
	})
}

// memory is a folder whose syncs cost nothing.
func memory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "heron-budget-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

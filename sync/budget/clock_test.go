package budget

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// Clocks that jump give nothing away, and block nothing for ever.
func TestFault_C1_C2_C3_ClocksThatJump(t *testing.T) {
	day := 24 * time.Hour
	for name, story := range map[string]func(d *device){
		"back an hour": func(d *device) {
			d.wall = d.wall.Add(-time.Hour)
			d.cannot("at 00:00")
			d.pass(13 * time.Hour)
			d.can(mib)
		},
		"back ten years": func(d *device) { // the day has another date, and is too young
			d.wall = d.wall.AddDate(-10, 0, 0)
			d.cannot("is spent; goes on at")
			d.pass(25 * time.Hour)
			d.can(mib)
			d.cannot("is spent")
		},
		"forward ten years, and back": func(d *device) {
			d.pass(12 * time.Hour) // the first new day, with the ledger's first full right to it
			d.can(mib)
			d.wall = d.wall.AddDate(10, 0, 0)
			d.cannot("is spent")
			d.pass(time.Hour)
			d.wall = d.wall.AddDate(-10, 0, 0)
			d.cannot("is spent; goes on at 00:00")
			d.pass(23 * time.Hour)
			d.can(mib)
		},
		"1970 at boot, then NTP, the same day": func(d *device) {
			now := d.wall
			d.off(time.Hour)
			d.wall, d.synced = time.Unix(0, 0), false
			d.cannot("the clock is not in sync")
			d.pass(time.Minute)
			d.wall, d.synced = now.Add(time.Hour+time.Minute), true
			d.cannot("at 00:00")
		},
		"1970 at boot, then NTP, the next day": func(d *device) {
			now := d.wall
			d.off(20 * time.Hour)
			d.wall, d.synced = time.Unix(0, 0), false
			d.cannot("the clock is not in sync")
			d.wall, d.synced = now.Add(20*time.Hour), true
			d.can(mib)
			d.cannot("at 00:00")
		},
		"never a clock": func(d *device) { // reboots every five hours
			d.wall, d.synced = time.Unix(0, 0), false
			for h := 12; h < 25; h += 5 { // the day is twelve hours old
				d.cannot("is spent; goes on in")
				d.pass(5 * time.Hour)
				d.off(0)
			}
			d.can(mib)
			d.cannot("is spent; goes on in 25 h")
		},
		"off for days, a clock in sync": func(d *device) {
			d.off(3 * day)
			d.can(mib)
			d.cannot("at 00:00")
			d.pass(12 * time.Hour) // it began at noon, as of 00:00
			d.can(mib)
		},
		"forward ten hours, then killed, then without a clock": func(d *device) { // the jump is no time that the device was off
			d.wall = d.wall.Add(10 * time.Hour)
			d.cannot("is spent")
			d.kill()
			d.synced = false
			d.off(2 * time.Hour)
			d.synced = true
			d.cannot("is spent")
			d.pass(12 * time.Hour)
			d.can(mib)
		},
		"another time zone": func(d *device) {
			d.pass(12 * time.Hour)
			d.can(mib)
			d.wall = d.wall.In(time.FixedZone("Auckland", 13*3600)).Add(24 * time.Hour).Add(-24 * time.Hour)
			d.cannot("is spent")
			d.pass(25 * time.Hour)
			d.can(mib)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, Config{PerDay: mib})
			d.can(mib)
			d.cannot("is spent")
			d.t = t
			story(d)
		})
	}
}

// The days on which the clock is set are days.
func TestFault_C5_SummerTime(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Skip(err)
	}
	d := newDevice(t, Config{PerDay: mib})
	d.wall = time.Date(2026, 10, 23, 23, 59, 0, 0, paris)
	d.can(mib)
	for range 4 { // over the 25th, which has 25 hours
		midnight := time.Date(d.wall.Year(), d.wall.Month(), d.wall.Day()+1, 0, 0, 0, 0, paris)
		d.pass(midnight.Sub(d.wall) - time.Second)
		d.cannot("at 00:00")
		d.pass(time.Second)
		d.can(mib)
	}
	d.pass(time.Date(2027, 3, 28, 0, 0, 0, 0, paris).Sub(d.wall))
	d.can(mib) // and over the 28th, which has 23
	d.pass(23*time.Hour - time.Second)
	d.cannot("at 00:00")
	d.pass(time.Second)
	d.can(mib)
}

// A power cut costs at most a quarter of an hour of the measured time, however often it comes.
func TestMeasuredTimeSurvivesPowerCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, Config{PerDay: mib})
		d.synced = false
		d.can(mib)
		boots := 0
		for ; boots < 20; boots++ {
			d.since = time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			b, done := d.b, make(chan error, 1)
			go func() { done <- b.Run(ctx) }()
			time.Sleep(110 * time.Minute)
			synctest.Wait()
			ledger, err := os.ReadFile(d.cfg.Path)
			cancel()
			if err = errors.Join(err, <-done, os.WriteFile(d.cfg.Path, ledger, 0o600)); err != nil { // as if it never had an end
				t.Fatal(err)
			}
			d.mono, d.since = 10*time.Second, time.Time{}
			d.boots++
			d.kill()
			if _, why := d.b.Allow(context.Background(), ask); why == "" {
				break
			}
		}
		if boots != 14 { // 25 h in pieces of 105 minutes
			t.Errorf("a new day after %d boots", boots)
		}
	})
}

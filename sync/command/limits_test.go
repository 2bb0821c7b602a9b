package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"heron/sync/message"
)

// K3: ten thousand commands cost little, are told once, and leave the next honest one its chance.
func TestK3Flood(t *testing.T) {
	d := start(t, journalPath(t), func(_ *device, c *Config) { c.Rate, c.Burst = 5, 20 }).run()
	defer d.stop()
	began := time.Now()
	const n = 10000
	for i := range n {
		d.command("ping", fmt.Sprint("f", i))
	}
	took := time.Since(began)
	t.Logf("%d commands: %v, %v each", n, took, took/n)
	s := d.Stats()
	if s.RateLimited < n-20-5*uint64(took.Seconds()+1) || s.Accepted > 20+5*uint64(took.Seconds()+1) {
		t.Errorf("%+v", s)
	}
	if told := strings.Count(d.answers(), codeRate); told != 1 {
		t.Errorf("told %d times", told)
	}
	d.mu.Lock()
	audits := strings.Count(strings.Join(d.audits, ","), "rejected")
	d.mu.Unlock()
	if audits > 1+20 {
		t.Errorf("%d audit records of refusals", audits)
	}
	deadline := time.Now().Add(20 * time.Second)
	for i := 0; ; i++ {
		id := fmt.Sprint("honest", i)
		d.command("ping", id)
		time.Sleep(300 * time.Millisecond)
		d.mu.Lock()
		ok := d.last[id].Status == message.StatusSucceeded
		d.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no command is taken after the flood")
		}
	}
}

// K4 and U6: what conflicts is done one after the other or refused with the reason.
func TestK4Conflicts(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Value
		busy.Store("")
		updates := 0
		rollback := counting("rollback", &updates, 10*time.Second)
		rollback.Blocked = func() string { return busy.Load().(string) }
		d := start(t, path, nil, rollback, Act{Type: "reboot", Returns: true, Reboots: true, Every: time.Hour, Do: func(context.Context, json.RawMessage, func(string, int)) (any, error) { return nil, nil }}).run()
		d.command("rollback", "1")
		synctest.Wait()
		d.command("rollback", "2")
		d.command("reboot", "3")
		d.command("rollback", "4")
		d.command("reboot", "5")
		busy.Store("the model of slot main is being switched")
		time.Sleep(11 * time.Second)
		d.want("rollback/1 accepted, rollback/1 running, rollback/2 accepted, reboot/3 accepted, rollback/4 rejected conflict, reboot/5 rejected conflict, rollback/1 succeeded, rollback/2 rejected conflict, reboot/3 running")
		if m := d.answer("4").Message; !strings.Contains(m, "reboot 3") {
			t.Errorf("reason %q", m)
		}
		if m := d.answer("2").Message; m != busy.Load() || updates != 1 {
			t.Errorf("reason %q, %d rollbacks", m, updates)
		}
		d.command("ping", "6")
		d.stop() // the device goes down
		if got := d.answers(); !strings.HasSuffix(got, "reboot/3 running, ping/6 rejected conflict") {
			t.Error(got)
		}
	})
}

func TestFullQueueIsBusy(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		n := 0
		d := start(t, path, nil, counting("slow", &n, 50*time.Second)).run()
		defer d.stop()
		d.command("slow", "a")
		synctest.Wait()
		for i := range maxQueue + 2 {
			d.command("ping", fmt.Sprint(i))
		}
		if s := d.Stats(); s.Queued != maxQueue || s.Running != "slow/a" || d.answer("17").Code != codeBusy || d.answer("16").Code != codeBusy || d.answer("15").Status != message.StatusAccepted {
			t.Errorf("%+v, %+v", s, d.answer("17"))
		}
		time.Sleep(time.Minute)
		if d.answer("15").Status != message.StatusSucceeded || d.answer("16").Status != message.StatusRejected {
			t.Error(d.answers())
		}
	})
}

// reboot is the act as the agent has it.
func reboot(n *int) Act {
	return Act{Type: "reboot", Returns: true, Reboots: true, Every: time.Hour, Do: func(context.Context, json.RawMessage, func(string, int)) (any, error) { *n++; return nil, nil }}
}

// What cannot be done is refused before it counts: a slip of the pen costs no hour.
func TestBadArgumentsDoNotCountAsBegun(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		n, good := 0, false
		act := reboot(&n)
		act.Check = func(json.RawMessage) error {
			if !good {
				return Error{"args", "args: unknown field \"x\""}
			}
			return nil
		}
		d := start(t, path, nil, act).run()
		d.command("reboot", "1")
		good = true
		d.command("reboot", "2")
		synctest.Wait()
		d.stop()
		if got := d.answers(); got != "reboot/1 rejected args, reboot/2 accepted, reboot/2 running" || n != 1 {
			t.Errorf("%s, %d reboots", got, n)
		}
	})
}

// K5: commanded every minute, the device reboots once an hour, whatever the reboots do to its memory and its clock.
func TestK5RebootsAtMostHourly(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		n, boots := 0, 0
		var up time.Time
		boot := func() *device {
			d := start(t, path, nil, reboot(&n))
			boots++
			up = time.Now()
			d.journal.boot, d.journal.up = fmt.Sprint("boot", boots), func() time.Duration { return time.Since(up) }
			d.synced = boots%2 == 0 // every other boot, no clock
			return d.run()
		}
		d := boot()
		soon := 0
		for minute := range 5 * 60 {
			before := n
			d.command("reboot", fmt.Sprint("r", minute))
			synctest.Wait()
			if n > before {
				d.stop()
				d = boot()
				synctest.Wait()
				if a := d.answer(fmt.Sprint("r", minute)); a.Status != message.StatusSucceeded {
					t.Errorf("after the boot: %+v", a)
				}
			} else if d.answer(fmt.Sprint("r", minute)).Code == codeTooSoon {
				soon++
			}
			time.Sleep(time.Minute)
		}
		d.stop()
		if n != 5 || soon != 295 || boots != 6 {
			t.Errorf("%d reboots in five hours, %d refusals", n, soon)
		}
	})
}

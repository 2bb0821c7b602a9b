package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/agent/status"
	"heron/inference"
)

// newCorals makes a device with two cameras, each with a slot on a stick of its own or, without it, on the CPU.
func newCorals(t *testing.T) *coral {
	t.Helper()
	c := newCoral(t, "2-1", "2-2")
	b, err := os.ReadFile(c.conf)
	must(t, err)
	text := strings.Replace(string(b), "cameras: [", `cameras: [{name: back, source: "testcard:", fps: 20}, `, 1)
	c.write(t, "heron.yaml", strings.Replace(text, "models: [{bundle: coral}]", `models:
  - {slot: one, bundle: coral, engine: [edgetpu:usb:2-1, tflite], cameras: [front]}
  - {slot: two, bundle: coral, engine: ["edgetpu:usb:2-2", tflite], cameras: [back]}`, 1))
	return c
}

// run runs a command in the device's world.
func (c *coral) run(args ...string) (out, msg string, code int) {
	c.t.Helper()
	cmd := command(append(args, "--config", c.conf)...)
	cmd.Env = append(cmd.Env, c.env...)
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if gone := (*exec.ExitError)(nil); err != nil && !errors.As(err, &gone) {
		c.t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// slots waits until both slots answer frames of now on these engines, as heron.yaml names them, and says how long slot one was without an answer at most.
func (c *coral) slots(one, two string) (gap time.Duration) {
	c.t.Helper()
	begun := time.Now()
	var last time.Time
	c.until(c.t, "slots on "+one+" and "+two, func(s *status.Snapshot) bool {
		if len(s.Models) != 2 || len(s.Cameras) != 2 {
			return false
		}
		at := map[string]time.Time{}
		for _, cam := range s.Cameras {
			if cam.Last != nil && len(cam.Last.Top) > 0 {
				at[cam.Name+" "+cam.Last.Engine] = cam.Last.At
				if cam.Name == "front" && cam.Last.At.After(last) {
					if !last.IsZero() {
						gap = max(gap, cam.Last.At.Sub(last))
					}
					last = cam.Last.At
				}
			}
		}
		engine := func(choice string) string { name, _, _ := strings.Cut(choice, ":"); return name }
		for i, want := range []string{one, two} {
			if m := s.Models[i]; m.State != "live" || inference.Choice(m.Engine, m.Device) != want || at[[]string{"front ", "back "}[i]+engine(want)].Before(begun) {
				return false
			}
		}
		return true
	})
	return gap
}

// accelerators are the sticks as heron accel list shows them: "usb:2-1 in use".
func (c *coral) accelerators() (list []string) {
	c.t.Helper()
	out, msg, code := c.run("accel", "list", "--json", "--vision", c.program)
	var rows []accelRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 {
		c.t.Fatalf("exit %d: %s%s", code, out, msg)
	}
	for _, r := range rows {
		if r.Engine == "edgetpu" {
			list = append(list, fmt.Sprintf("%s present=%v usable=%v in_use=%v", r.Device, r.Present, r.Usable, r.InUse))
		}
	}
	return list
}

// TestFault_A1_A4_A5_OneStickOfTwoFails: its slot goes to the CPU and comes back, the other slot keeps its stick.
func TestFault_A1_A4_A5_OneStickOfTwoFails(t *testing.T) {
	c := newCorals(t)
	c.start(t)
	c.slots("edgetpu:usb:2-1", "edgetpu:usb:2-2")
	if got := c.accelerators(); !slices.Equal(got, []string{"usb:2-1 present=true usable=true in_use=true", "usb:2-2 present=true usable=true in_use=true"}) {
		t.Errorf("both in use: %q", got)
	}
	for _, fault := range []string{"gone", "hang", "abort", "rubbish"} {
		c.pull("2-2", fault)
		out := c.slots("edgetpu:usb:2-1", "tflite")
		s := c.until(t, "the page names the stick that is missing", func(s *status.Snapshot) bool {
			return len(s.Models[1].Standby) == 1 && s.Models[1].Standby[0].Engine == "edgetpu:usb:2-2" && strings.Contains(fmt.Sprint(s.Reasons), "engine-fallback")
		})
		if len(s.Models[0].Standby) != 0 {
			t.Errorf("%s: the other slot, too: %+v", fault, s.Models[0].Standby)
		}
		if m := c.metrics(); !strings.Contains(m, `device="usb:2-1",engine="edgetpu"`) || strings.Contains(m, `device="usb:2-2"`) {
			t.Errorf("metrics name other devices:\n%s", m)
		}
		if got := c.accelerators(); !slices.Equal(got, []string{"usb:2-1 present=true usable=true in_use=true"}) {
			t.Errorf("one left: %q", got)
		}
		c.plug("2-2")
		back := c.slots("edgetpu:usb:2-1", "edgetpu:usb:2-2")
		t.Logf("%s: %s; the other slot was without results for %.2f s, and %.2f s on the return", fault, s.Models[1].Standby[0].Reason, out.Seconds(), back.Seconds())
	}
}

// TestAnyStickIsAFreeOne: two slots that want any have one each, and the stick that is left serves both when it must.
func TestAnyStickIsAFreeOne(t *testing.T) {
	c := newCorals(t)
	c.write(t, "heron.yaml", strings.NewReplacer("edgetpu:usb:2-1", "edgetpu", `"edgetpu:usb:2-2", tflite`, "edgetpu").Replace(c.text()))
	c.start(t)
	c.slots("edgetpu:usb:2-1", "edgetpu:usb:2-2")
	c.pull("2-2", "gone")
	c.slots("edgetpu:usb:2-1", "edgetpu:usb:2-1")
	c.pull("2-1", "gone")
	c.until(t, "one on the CPU, the other refused", func(s *status.Snapshot) bool {
		return len(s.Models) == 2 && s.Models[0].Engine == "tflite" && s.Models[1].State == "refused"
	})
	c.plug("2-2")
	c.slots("edgetpu:usb:2-2", "edgetpu:usb:2-2")
}

// TestSlotComesBackToASharedStick: a glitch that only one of two slots on a stick has met. No trial can have the stick, since the other slot has it.
func TestSlotComesBackToASharedStick(t *testing.T) {
	for _, order := range []string{"edgetpu:usb:2-1", "edgetpu"} {
		t.Run(order, func(t *testing.T) {
			c := newCorals(t)
			c.pull("2-2", "gone")
			c.write(t, "heron.yaml", strings.NewReplacer("edgetpu:usb:2-1", order, `"edgetpu:usb:2-2"`, order).Replace(c.text()))
			c.start(t)
			c.slots("edgetpu:usb:2-1", "edgetpu:usb:2-1")
			c.does("gone", "2-1")
			c.until(t, "a loss", func(s *status.Snapshot) bool { return s.Vision.Fallbacks > 0 })
			c.does("ok", "2-1")
			c.until(t, "the way back", func(s *status.Snapshot) bool { return s.Vision.Returns > 0 })
			c.slots("edgetpu:usb:2-1", "edgetpu:usb:2-1")
		})
	}
}

// TestStickByName: heron classify and heron accel bench on one of two sticks, one that somebody else has, and one that is not there.
func TestStickByName(t *testing.T) {
	c := newCorals(t)
	picture := filepath.Join(c.dir, "pictures/1.png")
	classify := func(engine string, code int, says string) {
		t.Helper()
		out, msg, got := c.run("classify", "--vision", c.program, "--model", filepath.Join(c.dir, "coral"), "--engine", engine, picture)
		if got != code || !strings.Contains(out+msg, says) {
			t.Errorf("%s: exit %d, want %d; says %q, want %q", engine, got, code, out+msg, says)
		}
	}
	c.does("gone", "2-1") // it can be opened, and fails
	classify("edgetpu:usb:2-2", 0, "(edgetpu, ")
	classify("edgetpu:usb:2-1", 1, "the double was unplugged")
	classify("edgetpu", 0, "(edgetpu, ") // any that works
	classify("edgetpu:usb:2-9", 1, "no Edge TPU is at usb:2-9; there is usb:2-1, usb:2-2")
	classify("edgetpu:2-1", exitUsage, "such as edgetpu:usb:2-1")
	classify("tflite:usb:2-1", exitUsage, "write tflite alone")
	c.does("ok", "2-1")
	out, msg, code := c.run("accel", "bench", "--json", "--vision", c.program, "--model", filepath.Join(c.dir, "coral"), "--engine", "edgetpu:usb:2-2", "--for", "1s")
	var rows []benchRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || len(rows) != 1 || rows[0].Engine != "edgetpu" || rows[0].Device != "usb:2-2" || rows[0].Frames == 0 {
		t.Errorf("bench: exit %d: %s%s", code, out, msg)
	}
	out, _, _ = c.run("accel", "list", "--vision", c.program)
	if !strings.Contains(out, "edgetpu:usb:2-1") || !strings.Contains(out, "edgetpu:usb:2-2") {
		t.Errorf("for people: %s", out)
	}
	c.write(t, "heron.yaml", strings.Replace(c.text(), "[edgetpu:usb:2-1, tflite]", "edgetpu:usb:2-1", 1))
	s := c.start(t)
	c.slots("edgetpu:usb:2-1", "edgetpu:usb:2-2")
	classify("edgetpu:usb:2-1", 1, "the Edge TPU cannot be opened")
	s.end(t, syscall.SIGTERM)
	classify("edgetpu:usb:2-1", 0, "(edgetpu, ")
	c.write(t, "heron.yaml", strings.Replace(c.text(), `"edgetpu:usb:2-2"`, "edgetpu:usb", 1))
	if _, msg, code := c.run("check"); code != exitUsage || !strings.Contains(msg, "models[1].engine[0]") || !strings.Contains(msg, "such as edgetpu:usb:2-1") {
		t.Errorf("check: exit %d, %s", code, msg)
	}
}

func (c *coral) text() string {
	b, err := os.ReadFile(c.conf)
	must(c.t, err)
	return string(b)
}

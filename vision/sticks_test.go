package vision_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"heron/inference"
	"heron/vision"
)

// sticks are two in their ports, as the engine "edgetpu" knows them.
func sticks(t testing.TB) (one, two *port) {
	one = newPort(t)
	two = &port{t: t, file: one.file, sysfs: one.sysfs}
	one.at, two.at = "1-1", "1-2"
	one.plug()
	two.plug()
	return one, two
}

// onSticks runs a Client with a slot and a camera for each order of engines; slots are called 0, 1, …
func onSticks(t testing.TB, p *port, orders ...[]string) *eyes {
	t.Helper()
	cmd, env := self("serve")
	c := vision.ClientConfig{Command: cmd, Env: append(env, p.env()...), EngineRetry: 200 * time.Millisecond}
	dir := twoEngines(t, "edgetpu")
	for i, order := range orders {
		cam := card(25)
		cam.Name, cam.Slot = fmt.Sprint("cam", i), fmt.Sprint(i)
		c.Config.Cameras = append(c.Config.Cameras, cam)
		c.Config.Slots = append(c.Config.Slots, vision.SlotConfig{Slot: cam.Slot, Bundle: dir, Engines: order})
	}
	return look(t, c)
}

// runs waits until the slots run on these engines, as orders name them, each with results from now on; and nothing else is missing.
func (e *eyes) runs(want ...string) vision.ClientStats {
	e.t.Helper()
	var before []vision.SlotStats
	return e.until(fmt.Sprint("slots on ", want), func(s vision.ClientStats) bool {
		ok := s.State == vision.StateRunning && len(s.Slots) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = inference.Choice(s.Slots[i].Engine, s.Slots[i].Device) == want[i]
		}
		if !ok {
			before = nil
		} else if before == nil {
			before = slices.Clone(s.Slots)
		}
		for i := 0; ok && i < len(want); i++ {
			ok = s.Slots[i].Inferred > before[i].Inferred
		}
		return ok
	})
}

// TestFault_A_OneStickOfTwo: what happens to one says nothing of the other.
func TestFault_A_OneStickOfTwo(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"gone", "hang", "abort", "rubbish"} {
		t.Run(fault, func(t *testing.T) {
			if fault != "gone" && os.Getenv("HERON_SLOW") == "" {
				t.Skip("as with one stick; HERON_SLOW=1 runs it, and make test does")
			}
			one, two := sticks(t)
			e := onSticks(t, one, []string{"edgetpu:usb:1-1", "scripted"}, []string{"edgetpu:usb:1-2", "scripted"})
			e.runs("edgetpu:usb:1-1", "edgetpu:usb:1-2")
			for _, o := range e.observations() {
				if o.Engine != "edgetpu" {
					t.Fatalf("an observation names the engine %q", o.Engine)
				}
			}
			two.pull(fault)
			s := e.runs("edgetpu:usb:1-1", "scripted")
			if len(s.Standby) != 1 || s.Standby[0].Slot != "1" || s.Standby[0].Engine != "edgetpu:usb:1-2" || s.Restarts != 1 {
				t.Errorf("%+v", s)
			}
			one.plug() // the other one, anew: nothing that would bring this one back
			time.Sleep(time.Second)
			e.runs("edgetpu:usb:1-1", "scripted")
			two.plug()
			s = e.runs("edgetpu:usb:1-1", "edgetpu:usb:1-2")
			if len(s.Standby) != 0 || s.Returns != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// The other stick may be the next in the order.
func TestFault_A1_FromStickToStick(t *testing.T) {
	t.Parallel()
	one, two := sticks(t)
	e := onSticks(t, one, []string{"edgetpu:usb:1-1", "edgetpu:usb:1-2", "scripted"})
	e.runs("edgetpu:usb:1-1")
	one.pull("gone")
	e.runs("edgetpu:usb:1-2")
	two.pull("gone")
	if s := e.runs("scripted"); len(s.Standby) != 2 || s.Fallbacks != 2 || s.Standby[0].Engine != "edgetpu:usb:1-1" || s.Standby[1].Engine != "edgetpu:usb:1-2" {
		t.Errorf("%+v", s)
	}
	two.plug()
	e.runs("edgetpu:usb:1-2")
	one.plug()
	if s := e.runs("edgetpu:usb:1-1"); len(s.Standby) != 0 {
		t.Errorf("%+v", s)
	}
}

// A stick that stays plugged in, passes its trials and kills the process again and again: of two, the right one is found.
func TestFault_A5_OneStickOfTwoKillsTheProcess(t *testing.T) {
	t.Parallel()
	one, two := sticks(t)
	e := onSticks(t, one, []string{"edgetpu:usb:1-1", "scripted"}, []string{"edgetpu:usb:1-2", "scripted"})
	e.runs("edgetpu:usb:1-1", "edgetpu:usb:1-2")
	two.does("abort-later")
	e.until("the second slot off its stick, the first on its own", func(s vision.ClientStats) bool {
		return s.State == vision.StateRunning && len(s.Standby) == 1 && s.Standby[0].Slot == "1" && s.Standby[0].Lost && s.Slots[0].Engine == "edgetpu" && s.Slots[1].Engine == "scripted"
	})
	two.does("ok")
	e.runs("edgetpu:usb:1-1", "edgetpu:usb:1-2")
}

// A model that takes over on a stick can fall back like the one before it; one that takes over while the stick is lost gets it when it returns.
func TestFault_A_FallbackAfterAPromotion(t *testing.T) {
	t.Parallel()
	takesOver := func(e *eyes) {
		t.Helper()
		must(t, second(e.Stage(t.Context(), vision.SlotConfig{Slot: "main", Bundle: twoEngines(t, "stick")}, 1)))
		must(t, e.Promote(t.Context(), "main"))
	}
	p := newPort(t)
	p.plug()
	e := onStick(t, p, 200*time.Millisecond)
	e.engine("stick")
	takesOver(e)
	p.pull("gone")
	e.engine("scripted")
	takesOver(e)
	p.plug()
	e.engine("stick")
	p.pull("hang")
	e.engine("scripted")
	if s := e.Stats(); s.Fallbacks != 2 || s.Returns != 1 || len(s.Standby) != 1 {
		t.Errorf("%+v", s)
	}
}

func second[T any](_ T, err error) error { return err }

package vision

import (
	"testing"
	"time"

	"heron/inference"
)

// A stick that passes its trial and is gone again when the new process opens it: that is no return, and after three times a plug no longer brings
// the next one about at once.
func TestComingBackInVainIsDamped(t *testing.T) {
	const retry = time.Second
	now := at(0)
	p := &course{order: []string{"stick", "cpu"}, active: "stick", since: now}
	if !p.lose("main", "stick", CauseEngine, "gone", now, retry) {
		t.Fatal("the slot has another engine")
	}
	here := &loaded{Slot: "main", Engine: "cpu", Skipped: []skipped{{Engine: "stick", Code: inference.CodeUnavailable, Reason: "gone again"}}}
	for vain := 1; vain <= 6; vain++ {
		p.coming, p.find("stick").Lost = "stick", false
		if p.loaded(here, now, retry) {
			t.Errorf("%d: loading on the CPU is told as the stick's return", vain)
		}
		p.plugged(now)
		wait := p.find("stick").retryAt.Sub(now)
		if short := vain+1 < freeShort; short && wait != plugSettle || !short && wait < retry {
			t.Errorf("%d: tried again %v after a plug", vain, wait)
		}
	}
	if wait := p.find("stick").wait; wait != 16*retry {
		t.Errorf("after six times the wait is %v; want it doubled with each", wait)
	}
	p.coming = "stick"
	if !p.loaded(&loaded{Slot: "main", Engine: "stick"}, now, retry) || len(p.standby) != 0 {
		t.Errorf("the return is not told: %+v", p)
	}
	if p.loaded(&loaded{Slot: "main", Engine: "stick"}, now, retry) {
		t.Error("a second load is told as a second return")
	}
}

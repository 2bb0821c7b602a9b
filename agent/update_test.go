package agent

import (
	"errors"
	"fmt"
	"testing"

	"heron/sync/models"
	"heron/sync/trust"
	"heron/vision"
)

// Expired metadata is told until metadata is good again; a server that is not reached takes nothing back.
func TestExpiredMetadataIsTold(t *testing.T) {
	u := &updates{}
	for i, c := range []struct {
		err  error
		told bool
	}{{errors.New("not reachable"), false}, {fmt.Errorf("read: %w: timestamp", trust.ErrExpired), true}, {errors.New("not reachable"), true}, {nil, false}} {
		u.note(c.err)
		if told := u.stale() != ""; told != c.told {
			t.Errorf("%d: after %v: told %v", i, c.err, told)
		}
	}
	if none := (*updates)(nil).stale(); none != "" {
		t.Error(none)
	}
}

// A process that ends itself while nothing is loaded counts against whatever is on probation; one that was killed from outside does not.
func TestAProcessThatEndedItselfCounts(t *testing.T) {
	c, err := vision.NewClient(vision.ClientConfig{Command: []string{"heron-vision"}, Config: vision.Config{Slots: []vision.SlotConfig{{Slot: "main", Bundle: t.TempDir()}}}})
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{vision: c, updates: &updates{meter: models.NewMeter()}}
	a.conf.Models = []Model{{Slot: "main"}, {Slot: "lid"}}
	for i, s := range []struct {
		stats     vision.ClientStats
		main, lid int
	}{
		{vision.ClientStats{Restarts: 1, LastCause: vision.CauseExit}, 0, 0},
		{vision.ClientStats{Restarts: 2, LastCause: vision.CauseExit, LastOwn: true}, 1, 1},
		{vision.ClientStats{Restarts: 2, LastCause: vision.CauseExit, LastOwn: true}, 1, 1},
		{vision.ClientStats{Restarts: 3, LastCause: vision.CauseInference, LastSlot: "lid"}, 1, 2},
	} {
		a.watchModels(s.stats)
		if main, lid := a.updates.meter.Live("main").Losses, a.updates.meter.Live("lid").Losses; main != s.main || lid != s.lid {
			t.Errorf("%d: main %d, lid %d; want %d and %d", i, main, lid, s.main, s.lid)
		}
	}
}

// What a trial's process was lost for is the check that a model struck out by it fails.
func TestATrialsLossNamesTheCheck(t *testing.T) {
	lost := errors.New("it uses 1100 MiB of memory, more than the 1024 MiB allowed")
	for cause, want := range map[string]string{vision.CauseExit: models.CheckCrash, vision.CauseMemory: models.CheckMemory, vision.CauseInference: models.CheckHang,
		vision.CauseLoad: models.CheckHang, vision.CauseBeat: models.CheckHang} {
		var f *models.Fault
		if err := fault(lost, cause); !errors.As(err, &f) || f.Check != want || !errors.Is(err, lost) {
			t.Errorf("%s: %v, want %s", cause, err, want)
		}
	}
	verdict := &models.Refusal{Check: models.CheckLatency}
	if err := fault(verdict, vision.CauseMemory); err != error(verdict) {
		t.Errorf("a verdict is not kept: %v", err)
	}
}

package agent

import (
	"testing"
	"time"

	"heron/sync/desired"
	"heron/sync/message"
	"heron/sync/uplink"
)

// What is on its way goes on when a rollout no longer reaches this device, and is told as what it is; it ends when documents ask for nothing
// in its slot any more.
func TestWhatIsOnItsWayWhenTheDocumentChanges(t *testing.T) {
	t.Parallel()
	h := newHerd(t)
	h.pack("1.0.0", "good")
	h.publish("1.1.0", "good")
	h.start("dev-1")
	a := h.devices["dev-1"].a
	if err := a.updates.models.Hold(time.Hour, "technician anna"); err != nil {
		t.Fatal(err)
	}
	slot := func() message.ReportedSlot { return a.reported().Slots[0] }
	tell := func(text string) { a.handle(uplink.Message{Topic: "_all/desired", Payload: []byte(text)}) }
	tell(`{"v":1,"rev":57,"models":[{"slot":"main","target":"bottles/1.1.0","rollout":{"percent":100}}]}`)
	h.until("it is held", func() bool { s := slot(); return s.Rev == 57 && s.Decision == "deferred" })
	if s := a.updates.models.State()[0]; s.Doc != 57 {
		t.Errorf("the wish is of document %d", s.Doc)
	}
	tell(`{"v":1,"rev":58,"models":[{"slot":"main","target":"bottles/1.1.0","rollout":{"percent":0}}]}`)
	h.until("acted upon", func() bool { return a.reported().GroupRev == 58 })
	if s := slot(); s.Decision == desired.NotSelected || s.Staged == nil {
		t.Errorf("it goes on, and this is said: %+v", s)
	}
	tell(`{"v":1,"rev":59,"models":[]}`)
	h.until("withdrawn", func() bool { return slot().Staged == nil })
	if s := slot(); s.Step != message.StepConfirmed || s.Active == nil || s.Active.Version != "1.0.0" || s.Error != "" {
		t.Errorf("%+v", s)
	}
}

package fleet

import (
	"context"
	"encoding/json"
	"testing"

	"heron/internal/freeport"
	"heron/sync/message"
)

// A device that was told something of its own follows its group again once it is released: in that slot alone, and also where it was offline
// meanwhile or the broker has lost the document.
func TestReleaseDevice(t *testing.T) {
	t.Parallel()
	address := freeport.Address(t)
	embedded(t, address)
	h := newHerd(t, address, 4)
	err := h.with(ctxFor(t), "anna", func(ctx context.Context, m *Manager, inv *Inventory) error {
		find := func(id string) Device {
			d, err := inv.Find("acme", id)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		own := m.link.conf.Topic("acme", "dev-001", "desired")
		first := message.Desired{V: 1, Rev: 4, Models: []message.DesiredModel{{Slot: "lid", Target: "lids/2"}}, Config: &message.DesiredConfig{Rev: 1, Patch: json.RawMessage(`{"log":{"level":"debug"}}`)}}
		if err := m.publish(ctx, own, first); err != nil {
			return err
		}
		for _, id := range []string{"dev-001", "dev-002", "dev-003"} {
			eventually(t, id, func() bool { return find(id).Reported != nil && (id != "dev-001" || find(id).Desired != nil) })
			rev, err := m.PushDevice(ctx, id, "main", "bottles/9.0.0", plan(100))
			if err != nil {
				return err
			}
			eventually(t, id+" has it", func() bool { return DeviceFate(find(id), "main", rev).Outcome == Confirmed })
		}
		h.change(func(list map[string]*simulated) { list["dev-002"].offline = true })
		if err := m.link.PublishSeen(ctx, m.link.conf.Topic("acme", "dev-003", "desired"), true, nil); err != nil { // the broker loses it, the device does not hear of that
			return err
		}
		eventually(t, "the loss", func() bool { return find("dev-003").Desired == nil })
		for id, want := range map[string]int64{"dev-000": 0, "dev-001": 6, "dev-002": 2, "dev-003": 2} {
			rev, err := m.ReleaseDevice(ctx, id, "main")
			if err != nil || rev != want {
				t.Errorf("%s: rev %d, %v; want %d", id, rev, err, want)
			}
			if d := find(id); want > 0 && (d.Desired == nil || d.Desired.Rev != want || target(d.Desired, "main") != "" || d.Desired.IssuedBy != "anna") {
				t.Errorf("%s: %+v is kept for it", id, d.Desired)
			}
			if rev, err := m.ReleaseDevice(ctx, id, "main"); err != nil || rev != 0 {
				t.Errorf("%s, again: rev %d, %v", id, rev, err)
			}
		}
		if d := find("dev-001").Desired; target(d, "lid") != "lids/2" || d.Config == nil {
			t.Errorf("the rest of the document: %+v", d)
		}
		for id, slot := range map[string]string{"dev-009": "main", "dev-001": "mian"} {
			if rev, err := m.ReleaseDevice(ctx, id, slot); err == nil || rev != 0 {
				t.Errorf("%s of %s: rev %d, no error", slot, id, rev)
			}
		}
		if _, err := m.Begin(ctx, "main", "bottles/1.4.2", plan(100)); err != nil {
			return err
		}
		return m.Drive(ctx, func(r Rollout, _ []Device) {
			if r.State == Done && (r.Counts.Own != 1 || r.Counts.Confirmed != 3) { // the one that is offline has heard of nothing
				t.Errorf("%+v", r.Counts)
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := h.running("bottles/1.4.2"); n != 3 {
		t.Errorf("%d devices follow their group, want 3", n)
	}
}

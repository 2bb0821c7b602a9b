package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"heron/sync/message"
)

// Drive takes the rollout through its waves until it is done or stops, calling observe after each look. When ctx ends it leaves the
// rollout running where it is, for Resume. A *TakenOverError says that another manager goes on.
func (m *Manager) Drive(ctx context.Context, observe func(Rollout, []Device)) error {
	err := m.drive(ctx, observe)
	if ctx.Err() == nil {
		return err
	}
	if other := (*TakenOverError)(nil); errors.As(err, &other) {
		return err
	}
	return m.leave(ctx)
}

// leave says that nobody drives any more, after ctx has ended.
func (m *Manager) leave(ctx context.Context) error {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	m.doc.Owner.Driving = false
	if m.mine(last) == nil {
		_ = m.write(last) // if it fails, the next manager waits for the lease
	}
	return context.Cause(ctx)
}

func (m *Manager) drive(ctx context.Context, observe func(Rollout, []Device)) error {
	beat, gen, still := time.Now(), m.link.Generation(), stall{}
	for {
		if g := m.link.Generation(); g != gen {
			gen = g
			if err := m.greet(ctx); err != nil {
				return err
			}
		}
		if err := m.mine(ctx); err != nil {
			return err
		}
		changed, err := m.look(ctx)
		if err != nil {
			return err
		}
		observe(m.doc, m.inv.Devices())
		if m.doc.State != Running {
			return nil
		}
		if !changed && time.Since(beat) >= m.pace.heartbeat {
			if err := m.write(ctx); err != nil {
				return err
			}
			changed = true
		}
		if changed {
			beat = time.Now()
		}
		if still.over(m.doc, m.pace, time.Now()) {
			if err := m.lookAgain(ctx, &still); err != nil {
				return err
			}
		}
		if err := m.nap(ctx); err != nil {
			return err
		}
	}
}

// nap until something changes, or it is time to look at the clock. Changes come in crowds: they are given a moment to gather.
func (m *Manager) nap(ctx context.Context) error {
	timer := time.NewTimer(m.pace.tick)
	defer timer.Stop()
	select {
	case <-m.inv.Changes():
		select {
		case <-time.After(m.pace.tick / 5):
		case <-ctx.Done():
		}
	case <-timer.C:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// greet a broker that we lost: it may have lost what it kept. What another wrote meanwhile is heard first.
func (m *Manager) greet(ctx context.Context) error {
	if err := m.link.Settle(ctx); err != nil {
		return err
	}
	if err := m.mine(ctx); err != nil {
		return err
	}
	if err := m.write(ctx); err != nil {
		return err
	}
	desired, _, _ := m.inv.Group(m.group)
	if desired == nil || desired.Rev != m.doc.At.Rev {
		return nil // look sees to it
	}
	return m.publish(ctx, m.topic("desired"), *desired)
}

// look at the fleet, decide, write the decision, and see that the group's desired document says the same: in this order, so that whoever
// goes on after a cut finds the decision and repeats the act, which does nothing the second time.
func (m *Manager) look(ctx context.Context) (changed bool, err error) {
	if changed, err = m.strangers(ctx); changed || err != nil {
		return changed, err
	}
	if err := m.ensureDesired(ctx); err != nil {
		return false, err
	}
	c, failed := m.doc.Count(m.group, m.inv.Devices())
	if !m.doc.Next(now(), c, failed) {
		return false, nil
	}
	if m.doc.At.Rev == 0 {
		m.doc.At.Rev = m.nextRev()
	}
	m.doc.Owner.Driving = m.doc.State == Running
	if err := m.write(ctx); err != nil {
		return true, err
	}
	if m.doc.State != Running {
		return true, nil
	}
	if err := m.mine(ctx); err != nil {
		return true, err
	}
	return true, m.ensureDesired(ctx)
}

// strangers: somebody else wrote the group's desired document. If it still asks for the same, the rollout goes on under its rev; if not, it stops.
func (m *Manager) strangers(ctx context.Context) (bool, error) {
	desired, _, err := m.inv.Group(m.group)
	if err != nil || desired == nil || desired.Rev <= m.doc.At.Rev {
		return false, err
	}
	if wave, ok := m.doc.waveOf(desired); ok && wave >= m.doc.At.Wave {
		if wave > m.doc.At.Wave { // ours, of a document that the broker did not show us
			m.doc.At.Wave, m.doc.At.Since = wave, now()
		}
		m.doc.At.Rev = desired.Rev
		return true, m.write(ctx)
	}
	m.doc.stop(now(), "somebody else (%q) wrote rev %d of the group's desired document, which asks for %q in slot %s", Clean(desired.IssuedBy), desired.Rev, target(desired, m.doc.Slot), m.doc.Slot)
	m.doc.Owner.Driving = false
	return true, m.write(ctx)
}

// waveOf says which wave a document asks for, if it asks for the rollout's target in the rollout's way.
func (r Rollout) waveOf(d *message.Desired) (int, bool) {
	for _, o := range d.Models {
		if o.Slot == r.Slot && o.Target == r.Target && o.Rollout != nil && o.Rollout.Percent != nil && o.Rollout.Salt == r.Plan.Salt {
			wave := slices.Index(r.Plan.Percent, *o.Rollout.Percent)
			return wave, wave >= 0
		}
	}
	return 0, false
}

// ensureDesired writes the group's desired document unless it is there.
func (m *Manager) ensureDesired(ctx context.Context) error {
	desired, _, err := m.inv.Group(m.group)
	if err != nil {
		return err
	}
	if desired != nil && desired.Rev >= m.doc.At.Rev {
		return nil
	}
	before := message.Desired{}
	if desired != nil {
		before = *desired
	}
	return m.publish(ctx, m.topic("desired"), m.doc.desired(before, m.doc.At.Rev))
}

func (m *Manager) publish(ctx context.Context, topic string, d message.Desired) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("desired: %w", err)
	}
	b, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("desired: %w", err)
	}
	return m.link.PublishSeen(ctx, topic, true, b)
}

// PushDevice tells one device, by a document of its own, which then counts more than its group's, what to run in a slot.
func (m *Manager) PushDevice(ctx context.Context, id, slot, to string, p Plan) (rev int64, err error) {
	d, before, rev, err := m.own(id, slot)
	if err != nil {
		return 0, err
	}
	model := message.DesiredModel{Slot: slot, Target: to, Shadow: p.Shadow, Probation: p.Probation}
	if !p.NotBefore.IsZero() || p.Window != "" {
		model.Rollout = &message.Rollout{NotBefore: p.NotBefore, Window: p.Window}
	}
	return rev, m.publish(ctx, m.link.conf.Topic(m.group, d.ID, "desired"), withModel(before, model, rev, m.by, now()))
}

// ReleaseDevice takes a slot out of a device's own document, so that its group's counts there again; rev 0: it does already. The document stays,
// with what else is in it or with nothing: of one that was deleted, a device that is offline would never hear.
func (m *Manager) ReleaseDevice(ctx context.Context, id, slot string) (rev int64, err error) {
	d, before, rev, err := m.own(id, slot)
	if err != nil {
		return 0, err
	}
	if s := d.Slot(slot); target(d.Desired, slot) == "" && (s == nil || s.Source != "device" || d.Desired != nil && d.Reported.Rev < d.Desired.Rev) {
		return 0, nil
	}
	return rev, m.publish(ctx, m.link.conf.Topic(m.group, id, "desired"), withModel(before, message.DesiredModel{Slot: slot}, rev, m.by, now()))
}

// own is a device with its own document, empty where it has none, and the rev of the next.
func (m *Manager) own(id, slot string) (d Device, before message.Desired, rev int64, err error) {
	if d, err = m.inv.Find(m.group, id); err != nil {
		return d, before, 0, err
	}
	if d.Desired != nil {
		before, rev = *d.Desired, d.Desired.Rev
	}
	if d.Reported != nil {
		rev = max(rev, d.Reported.Rev)
		if len(d.Reported.Slots) > 0 && d.Slot(slot) == nil {
			return d, before, 0, fmt.Errorf("device %s has no slot %s: heron fleet show %s lists those that it has", id, slot, id)
		}
	}
	return d, before, rev + 1, nil
}

// DeviceFate is what became of rev of a device's own document in a slot.
func DeviceFate(d Device, slot string, rev int64) Fate {
	f := Fate{Outcome: Unanswered}
	if d.Reported == nil || d.Reported.Rev < rev {
		return f
	}
	f.Current = true
	s := d.Slot(slot)
	if s == nil || s.Source != "device" {
		f.Outcome, f.Detail = Failed, Clean(d.Reported.Error)
		if f.Detail == "" {
			f.Detail = "the device has no slot " + slot
		}
		return f
	}
	f.judge(s, d.Reported.Hold)
	return f
}

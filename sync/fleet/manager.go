package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"heron/sync/message"
)

// TakenOverError: another manager has written the rollout since. There is only one at a time.
type TakenOverError struct{ Doc Rollout }

func (e *TakenOverError) Error() string {
	switch e.Doc.State {
	case Running:
		return fmt.Sprintf("taken over by %s (%s)", e.Doc.Owner.By, e.Doc.Owner.Manager)
	case Paused:
		return fmt.Sprintf("paused by %s: %s", e.Doc.Owner.By, cmp.Or(e.Doc.Reason, "no reason given"))
	}
	return fmt.Sprintf("ended by %s: %s", e.Doc.Owner.By, e.Doc.State)
}

// pace of a manager; tests make it shorter.
type pace struct {
	tick, heartbeat time.Duration
	lease           time.Duration // without a heartbeat for so long, a manager is gone
	claim           time.Duration // after taking a rollout, before the first act: two that begin at once see each other
	stall, refresh  time.Duration // nothing has moved for so long: look again; each time it takes twice as long, at most refresh
}

func defaultPace() pace {
	return pace{tick: time.Second, heartbeat: 15 * time.Second, lease: 45 * time.Second, claim: 2 * time.Second, stall: 15 * time.Second, refresh: 5 * time.Minute}
}

// Manager writes what a group should run. Not for concurrent use.
type Manager struct {
	link  *Link
	inv   *Inventory
	group string
	by    string // person, for the audit
	pace  pace
	doc   Rollout
}

// NewManager of a group; by names the person. The link must hand its messages to inv, with inv.Subs.
func NewManager(l *Link, inv *Inventory, group, by string) *Manager {
	return &Manager{link: l, inv: inv, group: group, by: clip(by, 200), pace: defaultPace()}
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// Rollout as last written or read.
func (m *Manager) Rollout() Rollout { return m.doc }

func (m *Manager) topic(below string) string { return m.link.conf.Topic(m.group, everyone, below) }

// plausible is the highest rev that is believed of a device; times in milliseconds fit. One stolen password would else use up the
// revs of its whole group, which end at 2^53, by answering one that nobody wrote.
const plausible = 1 << 42

// nextRev is above all that was ever written or answered, also where the broker has forgotten the document.
func (m *Manager) nextRev() int64 {
	desired, r, _ := m.inv.Group(m.group)
	rev := m.doc.At.Rev
	if desired != nil {
		rev = max(rev, desired.Rev)
	}
	if r != nil {
		rev = max(rev, r.At.Rev)
	}
	for _, d := range m.inv.Devices() {
		if d.Group == m.group && d.Reported != nil && d.Reported.GroupRev <= plausible {
			rev = max(rev, d.Reported.GroupRev)
		}
	}
	return rev + 1
}

// Begin starts a rollout, or goes on with the one that is there if it is of the same target. Nothing reaches a device before Drive.
func (m *Manager) Begin(ctx context.Context, slot, to string, p Plan) (resumed bool, err error) {
	desired, old, err := m.inv.Group(m.group)
	if err != nil {
		return false, fmt.Errorf("%w; mend or clear it first", err)
	}
	if old != nil && old.Active() {
		if old.Target == to && old.Slot == slot {
			return true, m.Resume(ctx, ResumeOptions{})
		}
		return false, fmt.Errorf("a rollout of %s in slot %s is %s (wave %d of %d, by %s): heron fleet abort ends it", old.Target, old.Slot, old.State, old.At.Wave+1, len(old.Plan.Percent), old.Owner.By)
	}
	t := now()
	m.doc = Rollout{V: 1, ID: t.Format("20060102t150405") + "-" + randomHex(2), Slot: slot, Target: to, Plan: p, State: Running, Started: t, Updated: t, At: Position{Since: t}}
	if old != nil {
		m.doc.Seq = old.Seq
	}
	if err := m.someHave(slot); err != nil {
		return false, err
	}
	m.doc.Previous = before(desired, old, slot, to)
	m.doc.At.Rev = m.nextRev()
	m.doc.At.FirstRev = m.doc.At.Rev
	m.doc.note(t, m.by, "began %s in slot %s: waves of %v%%", to, slot, p.Percent)
	if err := m.doc.Validate(); err != nil {
		return false, err
	}
	return false, m.claim(ctx)
}

// someHave says no to a slot that no device of the group has, of those that name theirs: a mistyped one would only fail everywhere.
func (m *Manager) someHave(slot string) error {
	has := map[string]bool{}
	for _, d := range m.inv.Devices() {
		if d.Group == m.group && d.Reported != nil {
			for _, s := range d.Reported.Slots {
				has[s.Slot] = true
			}
		}
	}
	if len(has) == 0 || has[slot] {
		return nil
	}
	return fmt.Errorf("no device of group %s has a slot %s; what they have: %s", m.group, slot, some(slices.Sorted(maps.Keys(has))))
}

// before is what a group should run again where to is given up: what its document asks for, but not what was given up itself, which perhaps no
// device has run. Empty: nothing is known.
func before(desired *message.Desired, old *Rollout, slot, to string) string {
	was := target(desired, slot)
	last := old != nil && old.Slot == slot && old.Target == was
	if last && (was == to || old.State == Aborted) {
		was = old.Previous
	}
	if was == to {
		return ""
	}
	return was
}

// ResumeOptions of Resume.
type ResumeOptions struct {
	TakeOver  bool // do not wait to see whether another manager is at it
	MaxFailed *int // a new limit, for a rollout that stopped by itself
}

// Resume takes the group's rollout as it is and sets it running.
func (m *Manager) Resume(ctx context.Context, o ResumeOptions) error {
	r, err := m.present()
	if err != nil {
		return err
	}
	if !r.Active() {
		return fmt.Errorf("the last rollout of group %s (%s) is %s: there is nothing to resume", m.group, r.Target, r.State)
	}
	if r.Owner.Driving && !o.TakeOver {
		if err := m.alone(ctx, *r); err != nil {
			return err
		}
		if r, err = m.present(); err != nil {
			return err
		}
	}
	m.doc = *r
	if o.TakeOver {
		m.doc.Seq += overrule
	}
	m.doc.note(now(), m.by, "resumed in wave %d (%g%%), was %s", r.At.Wave+1, r.Percent(), r.State)
	m.doc.State, m.doc.Reason = Running, ""
	if o.MaxFailed != nil {
		m.doc.Plan.MaxFailed = *o.MaxFailed
	}
	return m.claim(ctx)
}

func (m *Manager) present() (*Rollout, error) {
	_, r, err := m.inv.Group(m.group)
	if err == nil && r == nil {
		err = fmt.Errorf("there is no rollout in group %s", m.group)
	}
	return r, err
}

// alone waits until a manager that says it is driving has been silent for longer than a living one ever is.
func (m *Manager) alone(ctx context.Context, r Rollout) error {
	end := time.Now().Add(m.pace.lease)
	if time.Since(r.Updated) > m.pace.lease {
		return nil // if our clock is wrong, the other sees us and stops
	}
	for time.Now().Before(end) {
		select {
		case <-time.After(m.pace.tick / 4):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if _, cur, _ := m.inv.Group(m.group); cur != nil && cur.Seq != r.Seq {
			if !cur.Owner.Driving {
				return nil
			}
			return fmt.Errorf("%s (%s) is driving this rollout: watch it with heron fleet rollout, or take it over with --take-over", cur.Owner.By, cur.Owner.Manager)
		}
	}
	return nil
}

// Pause stops the waves where they are; devices already selected go on.
func (m *Manager) Pause(ctx context.Context, reason string) error {
	return m.end(ctx, Paused, reason)
}

// Abort ends the rollout. With rollback the group is told to run the target before, or the one given in to.
func (m *Manager) Abort(ctx context.Context, rollback bool, to string) error {
	if !rollback {
		return m.giveUp(ctx)
	}
	r, err := m.present()
	if err != nil {
		return err
	}
	if to = cmp.Or(to, r.Previous); to == "" {
		return fmt.Errorf("nothing was asked of slot %s before %s, so there is nothing to go back to by itself: name it with --to, for example --to bottles/1.4.1; heron fleet abort alone leaves devices as they are and asks no others", r.Slot, r.Target)
	}
	if !message.IsTarget(to) {
		return fmt.Errorf("%q names no entry of a repository, such as bottles/1.4.1", to)
	}
	m.doc = *r
	m.doc.Previous, m.doc.State, m.doc.Reason = to, RolledBack, ""
	m.doc.At.Rev = m.nextRev()
	m.doc.note(now(), m.by, "aborted in wave %d (%g%%): back to %s", r.At.Wave+1, r.Percent(), to)
	if err := m.insist(ctx); err != nil {
		return err
	}
	return m.ensureDesired(ctx)
}

// giveUp leaves the group's document as it is; but where it asked for nothing before, it asks for nothing again: devices that have the target keep it.
func (m *Manager) giveUp(ctx context.Context) error {
	if err := m.end(ctx, Aborted, ""); err != nil || m.doc.Previous != "" {
		return err
	}
	desired, _, err := m.inv.Group(m.group)
	if err != nil || target(desired, m.doc.Slot) != m.doc.Target {
		return err
	}
	m.doc.At.Rev = m.nextRev()
	if err := m.write(ctx); err != nil {
		return err
	}
	return m.ensureDesired(ctx)
}

func (m *Manager) end(ctx context.Context, state, reason string) error {
	r, err := m.present()
	if err != nil {
		return err
	}
	if !r.Active() {
		return fmt.Errorf("the last rollout of group %s (%s) is %s already", m.group, r.Target, r.State)
	}
	m.doc = *r
	m.doc.State, m.doc.Reason = state, clip(reason, 500)
	m.doc.note(now(), m.by, "%s in wave %d (%g%%) %s", state, r.At.Wave+1, r.Percent(), m.doc.Reason)
	return m.insist(ctx)
}

// insist writes until a manager that is driving has seen it: one that was just writing when our document came would have covered it.
func (m *Manager) insist(ctx context.Context) error {
	m.doc.Owner = Owner{By: m.by, Manager: m.link.ID()}
	m.doc.Seq += overrule
	var err error
	for range 5 {
		if err = m.write(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(m.pace.claim):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		other := (*TakenOverError)(nil)
		if err = m.mine(ctx); err == nil {
			return m.write(ctx) // ours counts for whoever saw both; what the broker keeps may be the other's, if that came last
		}
		if !errors.As(err, &other) {
			return err
		}
		m.doc.Seq = other.Doc.Seq + overrule
	}
	return err
}

// overrule is added to the number of a document that is to win over what a driving manager writes at the same moment.
const overrule = 10

// claim makes the rollout ours. When ctx ends on the way, it is left as Drive leaves it: the next manager need not wait for the lease.
func (m *Manager) claim(ctx context.Context) error {
	err := m.take(ctx)
	if other := (*TakenOverError)(nil); ctx.Err() != nil && !errors.As(err, &other) {
		return m.leave(ctx)
	}
	return err
}

// take writes the rollout as ours, and finds out whether another manager did the same at the same moment.
func (m *Manager) take(ctx context.Context) error {
	m.doc.Owner = Owner{By: m.by, Manager: m.link.ID(), Driving: true}
	if err := m.write(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(m.pace.claim):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := m.mine(ctx); err != nil {
		return err
	}
	return m.write(ctx) // what the broker keeps may be the loser's, if that came last
}

// write publishes the document with the next number and sees it come back.
func (m *Manager) write(ctx context.Context) error {
	m.doc.Seq++
	m.doc.Updated = now()
	b, err := json.Marshal(m.doc)
	if err != nil {
		return fmt.Errorf("encode the rollout: %w", err)
	}
	return m.link.PublishSeen(ctx, m.topic("rollout"), true, b)
}

// mine says whether the document that counts is ours.
func (m *Manager) mine(ctx context.Context) error {
	_, cur, err := m.inv.Group(m.group)
	switch {
	case err != nil:
		return err
	case cur == nil:
		return errors.New("somebody took the rollout's document away: heron fleet push begins anew")
	case cur.Owner.Manager == m.link.ID():
		return nil
	case m.doc.over(*cur): // ours has not come back yet
		return m.write(ctx)
	}
	return &TakenOverError{*cur}
}

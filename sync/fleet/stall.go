package fleet

import (
	"context"
	"math/bits"
	"time"
)

// stall notices that nothing moves. No message is ever waited for as if it had to come: a broker may lose one, or give an old document to
// whoever asks just then, so what stands still is looked at again, and asked again.
type stall struct {
	counts Counts
	at     Position
	since  time.Time
	wait   time.Duration
	times  uint // in this wave
}

// over says whether nothing has moved for so long that it is time to look again; each time in a wave it takes twice as long.
func (s *stall) over(r Rollout, p pace, now time.Time) bool {
	if s.wait == 0 || r.At.Wave != s.at.Wave {
		s.times, s.wait = 0, p.stall
	}
	if r.Counts != s.counts || r.At != s.at {
		s.counts, s.at, s.since = r.Counts, r.At, now
		return false
	}
	if now.Sub(s.since) < s.wait {
		return false
	}
	s.since, s.wait = now, min(2*s.wait, p.refresh)
	s.times++
	return true
}

// lookAgain asks the broker for all that it has kept. Where that is not enough, what is wanted is said again under a new rev: who missed
// it hears it, and who did not has to answer anew. It costs each device one document, so it happens at the second such time, the
// fourth, the eighth…; where all have answered and are only not done, which takes its time, from the fourth.
func (m *Manager) lookAgain(ctx context.Context, s *stall) error {
	_ = m.link.Refresh(ctx) // a lost connection is healed elsewhere
	first := uint(2)
	if m.doc.answered(m.doc.Counts) {
		first = 4
	}
	if m.doc.enough(m.doc.Counts) || s.times < first || bits.OnesCount(s.times) != 1 {
		return nil
	}
	m.doc.At.Rev = m.nextRev()
	if err := m.write(ctx); err != nil {
		return err
	}
	if err := m.mine(ctx); err != nil {
		return err
	}
	return m.ensureDesired(ctx)
}

// PushAgain is for when nothing is heard of rev of a device's own document: the broker is asked for what it has kept, and a device that is
// online and has not answered is told again, under a new rev. It returns the one that counts.
func (m *Manager) PushAgain(ctx context.Context, id, slot, to string, p Plan, rev int64) (int64, error) {
	_ = m.link.Refresh(ctx) // a lost connection is healed elsewhere
	d, err := m.inv.Find(m.group, id)
	if err != nil || !d.Online() || DeviceFate(d, slot, rev).Outcome != Unanswered {
		return rev, err
	}
	return m.PushDevice(ctx, id, slot, to, p)
}

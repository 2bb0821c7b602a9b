package models

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// boot decides what the slot runs at a start.
func (s *slot) boot() Bundle {
	s.m.mu.Lock()
	s.configured = s.openConfigured()
	s.m.mu.Unlock()
	if p := s.rec.Probation; p != nil {
		s.countStart(p)
	}
	if a := s.rec.Active; a != nil {
		if _, err := checkFolder(s.m.store.folder(a.Digest), a.Manifest, false); err != nil {
			s.backFromDamage(err)
		}
	}
	s.setRunning()
	s.replace = false
	return s.running
}

// countStart notes a start on probation before it happens, and goes back at the third without a minute of health between. A start that cannot be
// noted would not be counted, and might be one of thousands: then the model before runs.
func (s *slot) countStart(p *probation) {
	if p.Starts+1 >= crashStarts {
		s.back(*refuse(CheckCrash, "started %d times without %v of health", p.Starts+1, s.m.pace.healthy), "heron", true)
		return
	}
	if err := s.put(StepProbation, func(r *record) { r.Probation.Starts++ }); err != nil {
		s.back(*refuse(CheckJournal, "on probation, and its start could not be noted: %s", oneLine(err)), "heron", false)
	}
}

// openConfigured finds the bundle that the configuration names. Manager.mu is held.
func (s *slot) openConfigured() Bundle {
	path := s.m.cfg.Slots[s.name]
	if path == "" {
		return Bundle{}
	}
	dir, err := Open(path, filepath.Join(s.m.cfg.Dir, "configured"))
	if err != nil {
		s.trouble = oneLine(err)
		return Bundle{}
	}
	b := Bundle{Dir: dir}
	if root, err := os.OpenRoot(dir); err == nil {
		if m, err := readManifest(root, ""); err == nil {
			b.Model, b.Labels = m.model(), m.labels()
		}
		_ = root.Close()
	}
	return b
}

// setRunning makes the record's live model the one to run.
func (s *slot) setRunning() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.show(s.rec)
}

// show makes a record, and what it runs, the one that others see. Manager.mu is held.
func (s *slot) show(r *record) {
	s.rec, s.running = r, s.configured
	if r.Active != nil {
		s.running = s.m.placed(*r.Active)
	}
}

// switched journals that the next model is live. If that fails the one before is put back: after a power cut that one would run, and what
// runs must be what is written.
func (s *slot) switched() {
	n := s.rec.Next
	b := n.Bundle
	b.Since = s.m.cfg.Now()
	p := &probation{Want: n.Wish.Probation, Wish: n.Wish, Offer: n.Offer, Ref: n.Ref, Same: b.Labels != "" && b.Labels == s.running.Labels}
	if live := s.m.cfg.Watcher.Live(s.name).Sample; live.Frames >= someFrames && (p.Ref == nil || p.Ref.Frames < min(manyFrames, live.Frames)) {
		p.Ref = &live // a short shadow run, or one that its share kept slow, saw too few frames of it to judge by
	}
	err := s.put(StepProbation, func(r *record) {
		if r.Probation == nil {
			r.Previous, r.Older = r.Active, r.Previous
		}
		if r.Previous != nil && r.Previous.Digest == b.Digest { // back by a wish
			r.Previous, r.Older = r.Older, nil
		}
		r.Active, r.Probation, r.Next = &b, p, nil
		r.Counts.Installed++
		r.Unsaid = append(r.Unsaid, s.entry(n.Wish, "install", b.Digest, "ok", b.Model+" on "+or(b.Engine, "its engine")))
	})
	s.staged = ""
	if err != nil {
		s.replace = true
		s.fail(err, func(n *next) { n.Step = StepShadow })
		return
	}
	s.m.cfg.Watcher.Reset(s.name, false)
	s.m.mu.Lock()
	s.watch, s.retryAt = watch{}, time.Time{}
	s.m.mu.Unlock()
	if p.Want == 0 {
		s.confirm()
	}
}

// watch is what the loop remembers of a probation between two looks.
type watch struct {
	digest        string
	accept        Acceptance
	by            against
	began, last   time.Time
	spent, saved  time.Duration
	frames        int
	losses, total int // as the Watcher last said; in all
	lastLoss      string
	again         time.Time // when to try to write again
}

// probe looks at a model on probation.
func (s *slot) probe() {
	p := s.rec.Probation
	if p == nil || s.replace || s.job != nil && s.job.firm {
		return
	}
	w := &s.watch
	if w.digest != s.rec.Active.Digest {
		s.beginWatch(p)
	}
	live := s.m.cfg.Watcher.Live(s.name)
	now := time.Now()
	if live.Frames != w.frames { // time without frames proves nothing
		s.m.mu.Lock()
		w.spent += min(now.Sub(w.last), 5*s.m.pace.tick)
		s.m.mu.Unlock()
	}
	w.last, w.frames = now, live.Frames
	if live.Losses > w.losses {
		w.total += live.Losses - w.losses
		w.lastLoss = live.LastLoss
	}
	w.losses = live.Losses
	no := w.accept.judge(live.Sample, w.by)
	if w.total >= w.accept.Losses {
		no = refuse(CheckCrash, "it cost heron-vision %d processes: %s", w.total, w.lastLoss)
	}
	switch {
	case no != nil:
		s.back(*no, "heron", true)
	case w.spent >= p.Want && now.After(w.again):
		s.confirm()
	default:
		s.save(p, now)
	}
}

func (s *slot) beginWatch(p *probation) {
	now := time.Now()
	w := watch{digest: s.rec.Active.Digest, began: now, last: now, spent: p.Spent, saved: p.Spent, total: p.Losses, lastLoss: "before the last start"}
	c, err := parseCustom(p.Offer.Custom)
	if err != nil { // it was read before; standards otherwise
		c.Acceptance = c.Acceptance.orStandard()
	}
	w.accept = c.Acceptance
	w.by = against{ref: p.Ref, same: p.Same}
	w.by.budgetMS, w.by.base = about(s.running.Dir)
	s.m.mu.Lock()
	s.watch = w
	s.m.mu.Unlock()
}

// save journals how far a probation is: at each loss, once healthy, and every minute.
func (s *slot) save(p *probation, now time.Time) {
	w := &s.watch
	healthy := p.Starts > 0 && now.Sub(w.began) >= s.m.pace.healthy && w.losses == 0
	if w.total == p.Losses && !healthy && w.spent-w.saved < s.m.pace.save || now.Before(w.again) {
		return
	}
	err := s.put(StepProbation, func(r *record) {
		r.Probation.Spent, r.Probation.Losses = w.spent, w.total
		if healthy {
			r.Probation.Starts = 0
		}
	})
	w.saved = w.spent
	if err != nil {
		w.again = now.Add(s.m.pace.patience / 2)
	}
}

// confirm ends a probation well.
func (s *slot) confirm() {
	p, b := s.rec.Probation, *s.rec.Active
	err := s.put(StepConfirmed, func(r *record) {
		r.Probation, r.Older = nil, nil
		r.Last = s.outcome(p.Wish, b, StepConfirmed, "", "")
		r.Counts.Confirmed++
		r.Unsaid = append(r.Unsaid, s.entry(p.Wish, "confirm", b.Digest, "ok", s.drift()))
	})
	if err != nil {
		s.watch.again = time.Now().Add(s.m.pace.patience / 2)
		return
	}
	s.keepGood(b)
	kick(s.m.sweep)
}

// drift is told of a confirmed model: how its answers differ from those in training.
func (s *slot) drift() string {
	live := s.m.cfg.Watcher.Live(s.name)
	if s.watch.by.base == nil || live.Frames < manyFrames {
		return ""
	}
	return fmt.Sprintf("drift from the baseline (PSI) %.2f", psi(live.Labels, s.watch.by.base.Labels))
}

// back replaces the live model by the one before it. This direction needs no journal: where it cannot be written it is done all the same,
// and written when that is possible.
func (s *slot) back(no Refusal, who string, forGood bool) {
	s.breakOff()
	old := Bundle{}
	if s.rec.Active != nil {
		old = *s.rec.Active
	}
	w := Wish{Target: old.Target, Who: who}
	at := StepConfirmed
	if p := s.rec.Probation; p != nil {
		w.Rev, w.Doc, at = p.Wish.Rev, p.Wish.Doc, StepProbation
	}
	active, previous, note := s.wayBack()
	stop := Stop{Stopped: at, Check: no.Check}
	no.Reason += note
	reason := oneLine(&no)
	if forGood && isDigest(old.Digest) {
		s.noteRefused(Refused{Digest: old.Digest, Target: old.Target, Slot: s.name, Step: at, Stop: stop, Reason: reason, At: s.m.cfg.Now()})
	}
	change := func(r *record) {
		r.Active, r.Previous, r.Older, r.Probation = active, previous, nil, nil
		r.Last = s.outcome(w, old, StepRolledBack, at, reason)
		r.Last.Stop = stop
		r.Counts.RolledBack++
		r.Unsaid = append(r.Unsaid, s.entry(w, "rollback", old.Digest, stop.Where(), reason))
	}
	if err := s.put(StepRolledBack, change); err != nil {
		r := s.rec.clone()
		change(r)
		s.m.mu.Lock()
		s.show(r)
		s.dirty = true
		s.m.mu.Unlock()
	}
	s.replace = true
	kick(s.m.sweep)
}

// wayBack finds what to go back to: the newest of the earlier models that is whole; nil is the configured one, or none.
func (s *slot) wayBack() (active, previous *Bundle, note string) {
	before := []*Bundle{s.rec.Previous, s.rec.Older}
	for i, b := range before {
		if b == nil {
			break
		}
		if _, err := checkFolder(s.m.store.folder(b.Digest), b.Manifest, false); err != nil {
			note += fmt.Sprintf("; %s, to which it would go back, is damaged: %v", or(b.Model, b.Target), err)
			continue
		}
		if i == 0 {
			previous = before[1]
		}
		return b, previous, note
	}
	return nil, nil, note
}

func (s *slot) goBackByHand(who string) {
	if s.supersede(Wish{Target: "a rollback"}) != nil {
		return
	}
	if s.rec.Active != nil {
		s.back(Refusal{Reason: "rolled back by " + who}, who, false)
	}
}

// lookAtFiles compares every byte of the models that the slot may run with their manifests.
func (s *slot) lookAtFiles() {
	if a := s.rec.Active; a != nil {
		if _, err := checkFolder(s.m.store.folder(a.Digest), a.Manifest, false); err != nil {
			s.backFromDamage(err)
		}
	}
	for _, b := range []*Bundle{s.rec.Previous, s.rec.Older} {
		if b == nil {
			continue
		}
		if _, err := checkFolder(s.m.store.folder(b.Digest), b.Manifest, false); err != nil {
			s.m.mu.Lock()
			s.trouble = oneLine(fmt.Errorf("%s, to which this slot would go back, is damaged: %w", or(b.Model, b.Target), err))
			s.m.mu.Unlock()
		}
	}
}

// backFromDamage leaves a model whose files are not whole any more, and asks for it again.
func (s *slot) backFromDamage(cause error) {
	a := *s.rec.Active
	s.back(*refuse(CheckFiles, "its files are damaged: %v", cause), "heron", false)
	if s.rec.Next != nil || a.Target == "" || checkName(a.Target) != nil {
		return
	}
	w := Wish{Target: a.Target, Who: "heron", Probation: 15 * time.Minute, Retry: true}
	_ = s.put(StepOffered, func(r *record) { r.Next = &next{Wish: w, Step: StepOffered} }) // or the fleet asks again
}

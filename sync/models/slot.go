package models

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"heron/internal/atomicfile"
	"heron/internal/backoff"
)

// slot is one model slot: a loop that owns its record, and at most one job beside it.
type slot struct {
	m      *Manager
	name   string
	kicked chan struct{}

	// Manager.mu guards these: the loop alone changes rec, others read it.
	rec          *record
	wish         *Wish  // asked for and not yet taken up
	rollback     string // who asked for it
	withdrawn    bool   // documents ask for nothing here any more
	look         bool   // the live model's files are to be looked at
	configured   Bundle
	fromGoodFile Bundle
	trouble      string
	unnoted      string // why the confirmed model is not noted beside the journal
	failed       string // of the last try, where not even that could be journalled
	job          *job
	deferred     string
	percent      int
	waitsFor     string // why the job does not get on
	running      Bundle // what heron-vision has

	// the loop's own
	retry     backoff.Backoff
	vain      backoff.Backoff // after whole transfers that were of no use
	retryAt   time.Time
	dirty     bool           // rec is newer than the journal
	talks     bool           // audit entries may be handed over
	unwritten map[string]any // refused digests that the journal does not have
	replace   bool           // heron-vision is to be given running
	staged    string         // digest of what heron-vision has staged
	watch     watch
	gate      gate
	noteAt    time.Time // when to note the confirmed model again
}

// job is one step under way.
type job struct {
	doing  string
	cancel context.CancelFunc
	done   chan result
	firm   bool        // must not be broken off
	gated  bool        // a hold breaks it off
	queued atomic.Bool // until other slots and the collector let it begin
}

// result of a job: the step that is complete, and what it found out.
type result struct {
	at     Step // where it began
	step   Step
	change func(*next)
	err    error
}

func newSlot(m *Manager, name string) *slot {
	s := &slot{m: m, name: name, rec: &record{V: 1}, kicked: make(chan struct{}, 1)}
	s.pauses()
	return s
}

// pauses begins the waits between tries at their shortest.
func (s *slot) pauses() {
	p := s.m.pace
	s.retry, s.vain = backoff.Backoff{Min: p.retryMin, Max: p.retryMax}, backoff.Backoff{Min: p.vainMin, Max: p.vainMax}
}

// adopt takes a record over. Manager.mu is held.
func (s *slot) adopt(r *record) {
	s.rec = r
	s.pauses()
	if n := r.Next; n != nil {
		var wait, vain time.Duration
		for range min(n.Attempts, 12) {
			wait = s.retry.Next()
		}
		for range min(n.Vain, 12) {
			vain = s.vain.Next()
		}
		s.retryAt = time.Now().Add(max(wait, vain))
		if n.Step == StepSwitching { // it did not come to pass, or nobody knows
			n.Step = StepShadow
		}
	}
}

// put journals a change of the record, then makes it. The two points are where a kill would hurt most.
// Refused digests go with it, in the same transaction.
func (s *slot) put(step Step, fn func(*record)) error {
	r := s.rec.clone()
	fn(r)
	s.m.point("before:" + string(step))
	ch := change{bucketSlots: {s.name: r}}
	if len(s.unwritten) > 0 {
		ch[bucketRefused] = s.unwritten
	}
	if err := s.m.put(ch); err != nil {
		s.m.mu.Lock()
		s.failed = err.Error()
		s.m.mu.Unlock()
		s.m.cfg.Changed()
		return err
	}
	s.m.point("after:" + string(step))
	s.m.mu.Lock()
	s.show(r)
	s.dirty, s.failed, s.unwritten = false, "", nil
	s.m.mu.Unlock()
	s.m.cfg.Changed()
	s.say()
	return nil
}

// say hands over the audit entries of the record, and then journals that it did: after a kill in between they come again.
func (s *slot) say() {
	if !s.talks || len(s.rec.Unsaid) == 0 {
		return
	}
	for _, e := range s.rec.Unsaid {
		s.m.cfg.Audit(e)
	}
	r := s.rec.clone()
	r.Unsaid = nil
	err := s.m.put(change{bucketSlots: {s.name: r}})
	s.m.mu.Lock()
	s.rec, s.dirty = r, err != nil
	s.m.mu.Unlock()
}

// run is the loop. It ends with ctx, and its job with it.
func (s *slot) run(ctx context.Context) {
	s.talks = true
	s.say()
	s.m.mu.Lock()
	s.look = true // once, all of it: what lies here for months can rot
	s.m.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer s.breakOff()
	for ctx.Err() == nil {
		timer.Reset(s.turn(ctx))
		var done chan result
		if s.job != nil {
			done = s.job.done
		}
		select {
		case <-ctx.Done():
		case <-s.kicked:
		case <-timer.C:
		case r, ok := <-done:
			if !ok {
				return // a test's crash
			}
			s.endJob()
			s.finished(r)
		}
	}
}

// turn does what is due, and says how long nothing else is.
func (s *slot) turn(ctx context.Context) time.Duration {
	s.orders()
	s.noteAgain()
	if s.dirty {
		_ = s.put(s.step(), func(*record) {}) // tried again in the next turn
	}
	if s.replace && (s.job == nil || !s.job.firm) {
		s.breakOff()
		s.giveVision()
	}
	s.probe()
	if s.replace && s.job == nil {
		s.giveVision()
	}
	if s.rec.Next != nil && s.job == nil {
		s.begin(ctx)
	}
	if s.rec.Probation != nil || s.dirty || s.replace || s.job != nil && s.job.doing == doingShadow {
		return s.m.pace.tick
	}
	if s.rec.Next != nil && s.job == nil {
		return max(min(time.Until(s.retryAt), s.m.pace.patience/2), s.m.pace.tick)
	}
	if s.unnoted != "" {
		return s.m.pace.patience
	}
	return time.Hour
}

func (s *slot) step() Step {
	switch {
	case s.rec.Next != nil:
		return s.rec.Next.Step
	case s.rec.Probation != nil:
		return StepProbation
	case s.rec.Last != nil:
		return s.rec.Last.Step
	}
	return StepConfirmed
}

// orders takes up what was asked for meanwhile.
func (s *slot) orders() {
	s.m.mu.Lock()
	wish, rollback, look, withdrawn := s.wish, s.rollback, s.look, s.withdrawn
	if s.job != nil && s.job.firm {
		wish, rollback, look, withdrawn = nil, "", false, false // after the switch
	} else {
		s.wish, s.rollback, s.look, s.withdrawn = nil, "", false, false
	}
	held := s.m.held() > 0
	s.m.mu.Unlock()
	if held && s.job != nil && s.job.gated && !s.job.firm {
		s.breakOff()
	}
	if rollback != "" {
		s.goBackByHand(rollback)
	}
	if withdrawn {
		s.takeBack()
	}
	if wish != nil {
		s.accept(*wish)
	}
	if look {
		s.lookAtFiles()
	}
}

func (s *slot) outcome(w Wish, b Bundle, step, at Step, reason string) *Outcome {
	return &Outcome{Target: w.Target, Rev: w.Rev, Doc: w.Doc, Digest: b.Digest, Model: b.Model, Step: step, At: at, Reason: reason, When: s.m.cfg.Now()}
}

func (s *slot) entry(w Wish, what, digest, result, detail string) Entry {
	return Entry{When: s.m.cfg.Now(), Slot: s.name, Who: w.Who, What: what, Target: w.Target, Rev: w.Doc, Digest: digest, Result: result, Detail: detail}
}

// breakOff ends a job and takes back what it staged. A strike that was noted for it is no strike.
func (s *slot) breakOff() {
	if s.job == nil {
		return
	}
	s.job.cancel()
	r, ok := <-s.job.done
	s.endJob()
	if !ok {
		return
	}
	if r.err == nil && r.step == StepProbation {
		s.finished(r) // it was faster
		return
	}
	s.unstage()
	if n := s.rec.Next; n != nil && n.Strikes > 0 {
		_ = s.put(n.Step, func(r *record) { r.Next.Strikes-- })
	}
}

func (s *slot) endJob() {
	s.job.cancel()
	s.m.mu.Lock()
	s.job, s.percent, s.waitsFor = nil, 0, ""
	s.m.mu.Unlock()
}

func (s *slot) unstage() {
	if s.staged != "" {
		s.m.cfg.Eyes.Discard(s.name)
		s.staged = ""
	}
}

// giveVision makes heron-vision run what the record says.
func (s *slot) giveVision() {
	s.staged = "" // it goes with its process
	if err := s.m.cfg.Eyes.Replace(s.name, s.running); err != nil {
		s.m.mu.Lock()
		s.failed = "exchange the live model: " + err.Error()
		s.m.mu.Unlock()
		return
	}
	s.replace = false
	s.m.cfg.Watcher.Reset(s.name, false)
	s.m.cfg.Changed()
}

func (s *slot) goodPath() string { return filepath.Join(s.m.cfg.Dir, "good-"+s.name+".json") }

// fromGood is the record of a slot of which the journal knows nothing.
func (s *slot) fromGood() *record {
	r := &record{V: 1}
	b, err := os.ReadFile(s.goodPath())
	good := &Bundle{}
	if err != nil || json.Unmarshal(b, good) != nil || !isDigest(good.Digest) {
		return r
	}
	if _, err := checkFolder(s.m.store.folder(good.Digest), good.Manifest, false); err == nil {
		r.Active, s.fromGoodFile = good, *good
	}
	return r
}

// keepGood notes the confirmed model beside the journal. That it could not is no reason to stop; it is done when the disk can.
func (s *slot) keepGood(b Bundle) {
	text, err := json.Marshal(b)
	if err == nil {
		err = atomicfile.Write(s.goodPath(), append(text, '\n'), 0o644)
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if err != nil {
		s.unnoted, s.noteAt = fmt.Sprintf("note the confirmed model: %v", err), time.Now().Add(s.m.pace.patience)
		return
	}
	s.fromGoodFile, s.unnoted = b, ""
}

// noteAgain does what keepGood could not.
func (s *slot) noteAgain() {
	if s.unnoted == "" || time.Now().Before(s.noteAt) || s.rec.Active == nil || s.rec.Probation != nil {
		return
	}
	s.keepGood(*s.rec.Active)
	s.m.cfg.Changed()
}

// state is what State shows. Manager.mu is held.
func (s *slot) state() SlotState {
	r := s.rec
	out := SlotState{Slot: s.name, Active: s.running, Step: s.step(), Rev: r.Rev, Doc: r.Doc, Counts: r.Counts, Error: s.failed, Deferred: s.deferred, Percent: s.percent}
	if r.Next == nil {
		out.Deferred = ""
	} else if s.gate.putOff != "" || s.deferred != "" && r.Next.Step == StepReserved { // by a budget, or by a hold
		out.Percent = s.gate.come
	}
	out.Previous = s.configured
	if r.Previous != nil {
		out.Previous = s.m.placed(*r.Previous)
	} else if r.Active == nil {
		out.Previous = Bundle{}
	}
	if n := r.Next; n != nil {
		out.Staged, out.Target = n.Bundle, n.Wish.Target
		out.Staged.Digest = n.Offer.SHA256
		out.Error = cmp.Or(out.Error, s.waitsFor, n.Error)
		out.RetryIn = max(0, time.Until(s.retryAt))
	}
	if s.job != nil {
		out.Doing = s.job.doing
		if s.job.queued.Load() {
			out.Doing = "waiting for another slot"
		}
	}
	if p := r.Probation; p != nil {
		out.Probation = max(0, p.Want-s.watch.spent)
	}
	if r.Last != nil {
		out.Last = *r.Last
		if r.Last.At != "" {
			out.Last.Stop = r.Last.Stop.after(r.Last.At)
		}
	}
	out.Trouble = s.m.trouble
	out.Trouble = cmp.Or(s.trouble, s.unnoted, out.Trouble)
	return out
}

// placed is a bundle with its folder.
func (m *Manager) placed(b Bundle) Bundle {
	b.Dir = m.store.folder(b.Digest)
	return b
}

package models

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"
)

const promoteLimit = time.Minute

// stage is one leg of the way.
type stage struct {
	doing string
	run   func(context.Context, next) (Step, func(*next), error)
	risky bool // a strike is noted before it
	heavy bool // one slot at a time
	gated bool // a hold and the window keep it waiting
	firm  bool // local activity keeps it waiting, and it is not to be broken off
	most  int  // strikes, if something speaks against the model
	write Step // what is journalled before it begins, if it is risky
}

// mostStops is how often a step may be cut short by the device or Heron stopping, with no word against the model. One that takes the board down
// with it must come to an end; one that is switched off with its machine, now and then in the midst of a shadow run, must not be refused for it.
const mostStops = 5

// limit is how many strikes end the wish.
func (st stage) limit(n next) int {
	if n.Error == "" {
		return max(st.most, mostStops)
	}
	return st.most
}

// way is what comes after a step.
func (s *slot) way(at Step) stage {
	switch at {
	case StepOffered:
		return stage{doing: "reading metadata", run: s.resolve}
	case StepMetadata:
		return stage{doing: "making room", run: s.reserve, gated: true}
	case StepReserved:
		return stage{doing: "fetching", run: s.fetch, heavy: true, gated: true}
	case StepFetched:
		return stage{doing: "verifying", run: s.verify, heavy: true}
	case StepVerified:
		return stage{doing: "storing", run: s.keep, heavy: true}
	case StepStored:
		return stage{doing: "trying", run: s.try, heavy: true, gated: true, risky: true, most: 3, write: StepStored}
	case StepTried:
		if s.running.IsNone() || s.rec.Next.Wish.Shadow == 0 {
			return stage{doing: "going on", run: func(context.Context, next) (Step, func(*next), error) { return StepShadow, nil, nil }}
		}
		return stage{doing: doingShadow, run: s.shadow, gated: true, risky: true, most: 2, write: StepTried} // each costs the live model two seconds
	}
	return stage{doing: "switching", run: s.promote, gated: true, risky: true, most: 3, firm: true, write: StepSwitching}
}

// begin starts the next step's job, if nothing speaks against it now.
func (s *slot) begin(ctx context.Context) {
	n := s.rec.Next
	st := s.way(n.Step)
	why, shown := s.closed(st, n)
	s.m.mu.Lock()
	changed := s.deferred != shown
	s.deferred = shown
	s.m.mu.Unlock()
	if changed {
		s.m.cfg.Changed()
	}
	if why != "" || time.Until(s.retryAt) > 0 {
		return
	}
	if st.risky {
		if n.Strikes >= st.limit(*n) {
			s.refuse(*n, struckOut(st, *n))
			return
		}
		if err := s.put(st.write, func(r *record) { r.Next.Strikes++; r.Next.Step = st.write }); err != nil {
			s.later(err)
			return
		}
	}
	s.start(ctx, st)
}

// start runs one stage beside the loop.
func (s *slot) start(ctx context.Context, st stage) {
	n := *s.rec.clone().Next
	n.live = s.running
	ctx, cancel := context.WithCancel(ctx)
	j := &job{doing: st.doing, cancel: cancel, done: make(chan result, 1), firm: st.firm, gated: st.gated}
	s.m.mu.Lock()
	s.job, s.percent = j, 0
	s.m.mu.Unlock()
	s.m.cfg.Changed()
	go func() {
		defer close(j.done)
		r := result{at: n.Step}
		if st.heavy {
			j.queued.Store(true)
			release, err := s.m.take(ctx)
			if err != nil {
				r.err = err
				j.done <- r
				return
			}
			defer release()
			j.queued.Store(false)
			s.m.cfg.Changed()
		}
		r.step, r.change, r.err = st.run(ctx, n)
		j.done <- r
	}()
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// finished journals what a job came to.
func (s *slot) finished(r result) {
	n := s.rec.Next
	if n == nil {
		return
	}
	var no *Refusal
	var later *Later
	var unsigned *notSigned
	var which *unsure
	s.replace = s.replace || errors.As(r.err, &which)
	switch {
	case r.err == nil && r.step == StepProbation:
		s.switched()
	case r.err == nil:
		err := s.put(r.step, func(rec *record) {
			rec.Next.Step, rec.Next.Strikes, rec.Next.Attempts, rec.Next.Vain, rec.Next.Error, rec.Next.Check = r.step, 0, 0, 0, "", ""
			if r.change != nil {
				r.change(rec.Next)
			}
		})
		if err != nil {
			s.later(err)
			return
		}
		s.retry.Reset()
		s.vain.Reset()
		s.refusedBefore()
	case errors.As(r.err, &no):
		s.refuse(*n, *no)
	case errors.As(r.err, &later):
		s.putOff(later)
	case errors.As(r.err, &unsigned):
		s.m.store.forget(n.Offer.SHA256)
		s.fail(r.err, func(n *next) { n.Step, n.Strikes = StepReserved, 0 })
	default:
		s.unstage()
		s.fail(r.err, func(n *next) {
			if n.Step == StepSwitching {
				n.Step = StepShadow
			}
			if n.Strikes > 0 && errors.Is(r.err, ErrUnavailable) {
				n.Strikes--
			}
		})
	}
}

// refusedBefore ends a wish for a digest that was refused, with the old reason.
func (s *slot) refusedBefore() {
	n := s.rec.Next
	if n == nil || n.Step != StepMetadata {
		return
	}
	s.m.mu.Lock()
	old, ok := s.m.refused[n.Offer.SHA256]
	s.m.mu.Unlock()
	if !ok {
		return
	}
	s.end(*n, old, "refused before: "+strings.TrimPrefix(old.Reason, "refused before: "))
}

// fail notes an error that is to be tried again.
func (s *slot) fail(err error, fn func(*next)) {
	fault, vain := &Fault{}, (*InVain)(nil)
	errors.As(err, &fault)
	if e := s.put(s.rec.Next.Step, func(r *record) {
		r.Counts.Failures++
		r.Next.Attempts++
		if errors.As(err, &vain) {
			r.Next.Vain++
		}
		r.Next.Error, r.Next.Check = oneLine(err), fault.Check
		fn(r.Next)
	}); e != nil {
		err = e
	}
	s.later(err)
}

// later waits before the next try.
func (s *slot) later(err error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	wait, vain := s.retry.Next(), (*InVain)(nil)
	if errors.As(err, &vain) {
		wait = max(wait, s.vain.Next())
	}
	s.retryAt = time.Now().Add(wait)
	if s.rec.Next == nil || s.rec.Next.Error != oneLine(err) {
		s.failed = oneLine(err)
	}
}

func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "") + "…"
	}
	return text
}

// struckOut is the verdict on a model with which a step began again and again and never ended well.
func struckOut(st stage, n next) Refusal {
	no := Refusal{Check: n.Check}
	switch {
	case n.Error == "":
		no.Check = CheckLost
		no.Reason = fmt.Sprintf("%s began %d times, and each time the device or heron stopped", st.doing, n.Strikes)
	case n.Check == CheckCrash:
		no.Reason = fmt.Sprintf("it crashed heron-vision in each of %d tries: %s", n.Strikes, n.Error)
	case n.Check == CheckHang:
		no.Reason = fmt.Sprintf("it hung in each of %d tries: %s", n.Strikes, n.Error)
	default:
		no.Reason = fmt.Sprintf("%s began %d times and never ended well: %s", st.doing, n.Strikes, n.Error)
	}
	return no
}

// refuse ends a wish with a verdict on its digest.
func (s *slot) refuse(n next, no Refusal) {
	s.unstage()
	r := Refused{Digest: n.Offer.SHA256, Target: n.Wish.Target, Slot: s.name, Step: n.Step, Stop: Stop{n.Step.next(), no.Check}, Reason: oneLine(&no), At: s.m.cfg.Now()}
	if isDigest(r.Digest) {
		s.noteRefused(r)
	}
	s.end(n, r, r.Reason)
}

// end journals a refusal. Where that fails the model is not tried again either: it stands at its step, and is refused in the next turn.
func (s *slot) end(n next, r Refused, reason string) {
	err := s.put(StepRefused, func(rec *record) {
		rec.Last = s.outcome(n.Wish, n.Bundle, StepRefused, r.Step, reason)
		rec.Last.Digest, rec.Last.Stop = n.Offer.SHA256, r.Stop.after(r.Step)
		rec.Next = nil
		rec.Counts.Refused++
		rec.Unsaid = append(rec.Unsaid, s.entry(n.Wish, "refuse", n.Offer.SHA256, rec.Last.Where(), reason))
	})
	if err != nil {
		s.later(err)
		return
	}
	kick(s.m.sweep)
}

// noteRefused refuses a digest from now on; the next put journals it.
func (s *slot) noteRefused(r Refused) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.unwritten == nil {
		s.unwritten = map[string]any{}
	}
	maps.Copy(s.unwritten, s.m.refuse(r))
}

// whole is the stored bundle of n, checked once more: what heron-vision is given is what was verified.
func (s *slot) whole(n next) (Bundle, error) {
	b := s.m.placed(n.Bundle)
	if _, err := checkFolder(b.Dir, b.Manifest, true); err != nil {
		return Bundle{}, &notSigned{"the stored bundle is not what was verified: " + err.Error()}
	}
	return b, nil
}

func (s *slot) try(ctx context.Context, n next) (Step, func(*next), error) {
	b, err := s.whole(n)
	if err != nil {
		return "", nil, err
	}
	t, err := s.m.cfg.Eyes.Try(ctx, s.name, b)
	if fault := (*Fault)(nil); errors.As(err, &fault) {
		return "", nil, fault // the wish's target is told beside it
	}
	if err != nil {
		return "", nil, fmt.Errorf("try %s: %w", n.Wish.Target, err)
	}
	root, err := os.OpenRoot(b.Dir)
	if err != nil {
		return "", nil, fmt.Errorf("try %s: %w", n.Wish.Target, err)
	}
	defer root.Close()
	m, err := readManifest(root, b.Manifest)
	if err != nil {
		return "", nil, &notSigned{err.Error()}
	}
	if most := m.Budget.LatencyMS; most > 0 && t.LatencyMS > most {
		return "", nil, &Refusal{Check: CheckLatency, Reason: fmt.Sprintf("too slow here: %.1f ms on %s, its budget is %.1f ms", t.LatencyMS, t.Engine, most)}
	}
	if most := m.Budget.RSSMB; most > 0 && t.RSSMB > most {
		return "", nil, &Refusal{Check: CheckMemory, Reason: fmt.Sprintf("too large here: %.0f MB of memory on %s, its budget is %.0f MB", t.RSSMB, t.Engine, most)}
	}
	return StepTried, func(n *next) { n.Bundle.Engine = t.Engine }, nil
}

// unsure is an error after which nobody knows which model is live. The one before is put back: two seconds, and a state that is known.
type unsure struct{ error }

func (e *unsure) Unwrap() error { return e.error }

// promote makes the staged model the live one.
func (s *slot) promote(ctx context.Context, n next) (Step, func(*next), error) {
	b, err := s.whole(n)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, promoteLimit)
	defer cancel()
	eyes := s.m.cfg.Eyes
	if n.live.IsNone() {
		if err := eyes.Replace(s.name, b); err != nil {
			return "", nil, &unsure{fmt.Errorf("start %s: %w: %w", n.Wish.Target, ErrUnavailable, err)}
		}
		return StepProbation, nil, nil
	}
	if s.staged != b.Digest || s.m.cfg.Watcher.Shadow(s.name).Lost != "" {
		if err := eyes.Stage(ctx, s.name, b, s.m.cfg.Share); err != nil {
			return "", nil, fmt.Errorf("stage %s: %w", n.Wish.Target, err)
		}
	}
	if err := eyes.Promote(ctx, s.name); err != nil {
		return "", nil, &unsure{fmt.Errorf("switch to %s: %w", n.Wish.Target, err)}
	}
	return StepProbation, nil, nil
}

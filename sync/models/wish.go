package models

import (
	"errors"
	"time"
)

// accept makes a wish the next one. Where it cannot be journalled it is asked for again.
func (s *slot) accept(w Wish) {
	n := s.rec.Next
	entry := s.entry(w, "offer", "", "ok", "")
	switch {
	case n != nil && n.Wish.Target == w.Target && n.Wish.File == w.File && n.Wish.Retry == w.Retry:
		err := s.put(n.Step, func(r *record) { r.Next.Wish = w; r.asked(w) })
		s.asked(w, err)
		s.soon()
		return
	case s.rec.Active != nil && s.rec.Active.Target == w.Target && w.File == "" && !w.Retry:
		if s.supersede(w) != nil {
			s.asked(w, errors.New("later"))
			return
		}
		s.asked(w, s.put(s.step(), func(r *record) {
			r.asked(w)
			if r.Probation != nil {
				r.Probation.Wish.Rev, r.Probation.Wish.Doc = r.Rev, r.Doc
			} else {
				r.Last = s.outcome(w, *r.Active, StepConfirmed, "", "it runs already")
			}
		}))
		return
	}
	if s.supersede(w) != nil {
		s.asked(w, errors.New("later"))
		return
	}
	err := s.put(StepOffered, func(r *record) {
		r.Next = &next{Wish: w, Step: StepOffered}
		r.asked(w)
		r.Counts.Offers++
		r.Unsaid = append(r.Unsaid, entry)
	})
	s.asked(w, err)
	if err == nil {
		s.soon()
		s.retry.Reset()
		s.vain.Reset()
	}
}

// soon ends the wait for another try.
func (s *slot) soon() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.retryAt = time.Time{}
}

// asked puts a wish back that could not be journalled, unless there is a newer one.
func (s *slot) asked(w Wish, err error) {
	if err == nil {
		return
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.wish == nil {
		s.wish = &w
	}
	s.retryAt = time.Now().Add(s.retry.Next())
	time.AfterFunc(s.m.pace.tick, func() { kick(s.kicked) })
}

// takeBack drops what a document asked for, because none does any more.
func (s *slot) takeBack() {
	if n := s.rec.Next; n == nil || n.Wish.Rev == 0 {
		return
	}
	if s.drop("withdrawn: no document asks for it any more", "no document asks for it any more") != nil {
		s.m.mu.Lock()
		s.withdrawn = true // put has told why; tried again in the next turn
		s.m.mu.Unlock()
	}
}

// supersede drops what is on its way for another wish.
func (s *slot) supersede(by Wish) error {
	return s.drop("superseded by "+by.Target, "by "+by.Target)
}

// drop drops what is on its way.
func (s *slot) drop(reason, detail string) error {
	n := s.rec.Next
	if n == nil {
		return nil
	}
	s.breakOff()
	if n = s.rec.Next; n == nil { // it came to its end in that moment
		return nil
	}
	err := s.put(StepSuperseded, func(r *record) {
		r.Last = s.outcome(n.Wish, n.Bundle, StepSuperseded, n.Step, reason)
		r.Last.Digest = n.Offer.SHA256
		r.Next = nil
		r.Counts.Superseded++
		r.Unsaid = append(r.Unsaid, s.entry(n.Wish, "supersede", n.Offer.SHA256, string(n.Step), detail))
	})
	if err == nil {
		kick(s.m.sweep)
	}
	return err
}
